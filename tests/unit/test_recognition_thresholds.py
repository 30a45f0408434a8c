"""The vote among many templates: thresholds that rise with their number, and the claim that is asked for beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest

from pipeline.domain.fmr import FmrModel, FmrPoint
from pipeline.domain.recognition import Advice, Recognised, SeenFace
from tests.unit.recognition_stories import ANN, ASLEEP, DARK, POLICY, STRANGER, TURNED, face, run, seen, told

MODEL = FmrModel(
    data="invented people",
    people=1001,
    comparisons=1_001_000,
    pairs=500_500,
    points=(
        FmrPoint(threshold=0.3, fmr=1e-2, low=8e-3, high=1.2e-2),
        FmrPoint(threshold=0.5, fmr=1e-5, low=0.0, high=4e-5),
    ),
    per_decade=0.05,
)
LIMITED = replace(POLICY, fmr=MODEL)
"""Four judged frames in each of five attempts, 1e-2 per transaction: 2502 templates with 2e-7, 50 with 1e-5."""

Claim = Literal["none", "last_four", "full_number"]


def told_among(
    templates: int | None, *faces: SeenFace, claim: Claim = "none", policy: object = LIMITED
) -> Sequence[str | None]:
    """The answers to these faces, one a frame, compared with so many templates."""
    frames = [replace(seen(one, at_ms=200 * k), templates=templates, claim=claim) for k, one in enumerate(faces)]
    return [told(answer) for answer in run(frames, policy)[1]]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("templates", "similarity", "expected"),
    [
        (1, 0.475, [None, "=ann"]),
        (30, 0.493, [None, "=ann"]),
        (50, 0.499, ["hold_still", None]),
        (50, 0.501, [None, "=ann"]),
        (500, 0.549, ["hold_still", None]),
        (500, 0.551, [None, "=ann"]),
        (2502, 0.584, ["hold_still", None]),
        (2502, 0.586, [None, "=ann"]),
        (2502, 0.65, ["=ann"]),
    ],
)
def test_the_match_threshold_rises_with_the_templates(
    templates: int, similarity: float, expected: list[str | None]
) -> None:
    """A decade more templates ask for a tenth of the false matches; never less than the manifest asks."""
    assert told_among(templates, *[face("ann", similarity)] * len(expected)) == expected


def test_strong_frames_must_reach_the_risen_threshold_too() -> None:
    """Where it has risen above `strong`, one frame decides from there on."""
    weak_strong = replace(LIMITED, strong_threshold=0.55)
    assert told_among(2502, face("ann", 0.57), policy=weak_strong) == ["hold_still"]
    assert told_among(2502, face("ann", 0.59), policy=weak_strong) == ["=ann"]


@pytest.mark.parametrize("unseen", [DARK, ASLEEP, TURNED])
def test_a_claim_is_asked_for_before_anything_else(unseen: SeenFace) -> None:
    """Whoever stands there need not open their eyes first, only to be sent to the keys."""
    assert told_among(10**9, unseen) == ["enter_number!"]
    assert told_among(None, unseen) == [told(run([(unseen,)])[1][0])]


def test_a_decision_names_the_threshold_that_was_in_force() -> None:
    """The highest one of its frames: the gallery may have grown between them."""
    frames = [replace(seen(face("ann", 0.6)), templates=n) for n in (50, 500)]
    answer = run(frames, LIMITED)[1][-1]
    assert isinstance(answer, Recognised)
    assert answer.threshold == pytest.approx(0.55)
    assert answer.similarity == 0.6


@pytest.mark.parametrize(
    ("templates", "claim", "expected"),
    [
        (2503, "none", "enter_last_four!"),
        (25_020_000, "none", "enter_last_four!"),
        (25_020_001, "none", "enter_number!"),
        (2503, "last_four", "enter_number!"),
        (2503, "full_number", "use_pin!"),
        (None, "none", "enter_number!"),
        (None, "full_number", "use_pin!"),
    ],
)
def test_too_many_templates_ask_for_a_claim(templates: int | None, claim: Claim, expected: str) -> None:
    """Once: not even a perfect frame decides among more than the data support."""
    perfect = face("ann", 0.99, ahead=0.9)
    assert told_among(templates, perfect, perfect, claim=claim) == [expected, None]


@pytest.mark.parametrize(("claim", "then"), [("none", "=ann"), ("full_number", None)])
def test_a_claim_that_arrives_with_later_frames_is_heard(claim: Claim, then: str | None) -> None:
    """Of a camera that knows of no claims the first frame may be; beyond the PIN there is nothing to wait for."""
    perfect = face("ann", 0.99, ahead=0.9)
    frames = [
        replace(seen(perfect), templates=10_000, claim=claim),
        replace(seen(perfect, at_ms=200), templates=3, claim="full_number"),
    ]
    answers = [told(answer) for answer in run(frames, LIMITED)[1]]
    assert answers[1] == then


@pytest.mark.parametrize("claim", ["last_four", "full_number"])
def test_a_claim_that_leaves_few_lets_the_face_decide(claim: Claim) -> None:
    """And one that leaves nobody is a face that nobody knows, as always."""
    assert told_among(3, ANN, ANN, claim=claim) == [None, "=ann"]
    assert told_among(0, *[face(None)] * 4, claim=claim)[-1] == "not_recognised!"


def test_an_embedder_without_a_model_of_its_errors_limits_nothing() -> None:
    """As before: its thresholds alone speak."""
    assert told_among(None, ANN, ANN, policy=POLICY) == [None, "=ann"]
    assert told_among(10**9, ANN, ANN, policy=POLICY) == [None, "=ann"]


def test_bystanders_and_crowds_are_told_what_they_were_told_before() -> None:
    """Who asks for a claim must know whose payment it is."""
    assert told_among(10**9, face("ann", zone=False)) == ["look_here"]
    crowd = replace(seen(ANN, face("bob", x=400)), templates=10**9)
    assert run([crowd], LIMITED)[1] == [Advice("one_person_please")]


def test_no_transaction_is_judged_more_often_than_was_counted() -> None:
    """Somebody who steps in again and again begins the attempt anew, and still has only so many frames."""
    frames = []
    for number in range(40):
        pair = (STRANGER, face("bob", x=400)) if number % 3 == 2 else (STRANGER,)
        frames.append(seen(*pair, at_ms=200 * number))
    vote, answers = run(frames)
    assert vote.judged == POLICY.patience * POLICY.max_attempts
    assert vote.closed
    assert [told(answer) for answer in answers if answer is not None][-1] == "too_many_attempts!"


@pytest.mark.parametrize("flags", [(True, True), (True, False), (False, True), (False, False)])
def test_a_lookalike_goes_through_and_says_so(flags: tuple[bool, bool]) -> None:
    """The face decides nothing less; the rules of risk ask for the PIN."""
    frames = []
    for number, flag in enumerate(flags):
        assert ANN.candidate is not None
        candidate = replace(ANN.candidate, lookalike=flag)
        frames.append(seen(replace(ANN, candidate=candidate), at_ms=200 * number))
    answer = run(frames)[1][-1]
    assert isinstance(answer, Recognised)
    assert answer.lookalike is any(flags)
