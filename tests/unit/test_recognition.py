"""The vote over frames, as a table of stories and as laws that hold for every story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.recognition import Advice, Answer, Candidate, Policy, Recognised, SeenFace, Vote, advance

POLICY = Policy(match_threshold=0.475, strong_threshold=0.65, margin=0.08, votes=2, min_face_px=48, patience=4)

Frame = tuple[SeenFace, ...]


def face(
    payer: str | None = None,
    similarity: float = 0.55,
    *,
    ahead: float = 0.3,
    width: float = 90,
    last: float | None = 0.8,
    live: float | None = None,
) -> SeenFace:
    """A face that resembles `payer`, and the next payer by `ahead` less."""
    candidate = None
    if payer is not None:
        candidate = Candidate(payer_id=payer, similarity=similarity, runner_up=similarity - ahead)
    return SeenFace(width_px=width, candidate=candidate, similarity_to_last=last, live=live)


ANN, BOB = face("ann"), face("bob")
STRONG = face("ann", 0.7)
THIN = face("ann", 0.6, ahead=0.05)
STRONG_BUT_THIN = face("ann", 0.9, ahead=0.05)
STRANGER = face("ann", 0.3)
NOBODY = face(None)
SMALL = face("ann", 0.9, width=47)
NEW_BOB = face("bob", last=0.1)
NEW_STRANGER = face("ann", 0.3, last=0.1)
NEW_STRONG_BOB = face("bob", 0.9, last=0.1)


def run(frames: Sequence[Frame], policy: Policy = POLICY) -> tuple[Vote, list[Answer]]:
    """The vote after all frames, and each answer."""
    vote, answers = Vote(), []
    for frame in frames:
        vote, answer = advance(vote, frame, policy)
        answers.append(answer)
    return vote, answers


def told(answer: Answer) -> str | None:
    """An answer in one word: the payer, or the advice with ! when it is final."""
    if isinstance(answer, Recognised):
        return f"={answer.payer_id}"
    return None if answer is None else answer.code + ("!" if answer.final else "")


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        # two frames decide, one strong frame may
        ([(ANN,), (ANN,)], [None, "=ann"]),
        ([(STRONG,)], ["=ann"]),
        ([(face("ann", 0.475, ahead=0.08),), (ANN,)], [None, "=ann"]),
        ([(face("ann", 0.4749),), (ANN,), (ANN,)], ["hold_still", None, "=ann"]),
        # a decision is made once
        ([(STRONG,), (STRONG,), (NEW_STRONG_BOB,)], ["=ann", None, None]),
        # an unclear frame in between costs nothing
        ([(ANN,), (STRANGER,), (ANN,)], [None, "hold_still", "=ann"]),
        ([(ANN,), (), (ANN,)], [None, "look_here", "=ann"]),
        ([(ANN,), (SMALL,), (ANN,)], [None, "come_closer", "=ann"]),
        # bystanders too small to judge do not disturb
        ([(ANN, SMALL), (SMALL, ANN)], [None, "=ann"]),
        # two people never decide, and what was gathered is void
        ([(STRONG, BOB)], ["one_person_please"]),
        ([(ANN,), (ANN, BOB), (ANN,), (ANN,)], [None, "one_person_please", None, "=ann"]),
        # nobody, too far away
        ([(), (), (SMALL,), ()], ["look_here", None, "come_closer", "look_here"]),
        # not enrolled: final after `patience` frames, then silence for this face
        ([(STRANGER,)] * 6, ["hold_still", None, None, "not_recognised!", None, None]),
        ([(NOBODY,)] * 4, ["hold_still", None, None, "not_recognised!"]),
        ([(STRANGER,)] * 4 + [(STRONG,)], ["hold_still", None, None, "not_recognised!", None]),
        # twins: a thin lead abstains, however similar
        ([(THIN,)] * 4, ["hold_still", None, None, "use_pin!"]),
        ([(STRONG_BUT_THIN,)] * 4, ["hold_still", None, None, "use_pin!"]),
        # one face that votes for two payers decides for neither
        ([(ANN,), (BOB,), (ANN,), (ANN,)], [None, None, None, "use_pin!"]),
        ([(ANN,), (face("bob", 0.9),), (BOB,), (BOB,)], [None, None, None, "use_pin!"]),
        # a change of face starts again
        ([(ANN,), (NEW_BOB,), (BOB,)], [None, None, "=bob"]),
        ([(ANN,), (NEW_BOB,), (face("ann", last=0.1),), (ANN,)], [None, None, None, "=ann"]),
        ([(STRANGER,)] * 4 + [(NEW_BOB,), (BOB,)], ["hold_still", None, None, "not_recognised!", None, "=bob"]),
        # a row of faces: the fifth failed attempt closes the face for this intent
        (
            [(STRANGER,), *[(NEW_STRANGER,)] * 5, (NEW_STRONG_BOB,)],
            ["hold_still", None, None, None, None, "too_many_attempts!", None],
        ),
    ],
)
def test_a_story_of_frames(frames: list[Frame], expected: list[str | None]) -> None:
    """Frames from left to right; what is said after each."""
    assert [told(answer) for answer in run(frames)[1]] == expected


def test_five_attempts_that_ran_out_close_the_face() -> None:
    """Five strangers of `patience` frames each: the last one hears that face is over."""
    frames: list[Frame] = []
    for _ in range(5):
        frames += [(NEW_STRANGER,), *[(STRANGER,)] * 3]
    answers = [told(answer) for answer in run(frames)[1]]
    assert answers.count("not_recognised!") == 4
    assert answers[-1] == "too_many_attempts!"


def test_a_decision_reports_its_weakest_frame() -> None:
    """Similarity, margin and liveness are never better than the worst evidence used."""
    frames = [
        (face("ann", 0.5, ahead=0.4, live=0.99),),
        (STRANGER,),
        (face("ann", 0.625, ahead=0.125, live=0.9),),
    ]
    answer = run(frames)[1][-1]
    assert answer == Recognised(
        payer_id="ann",
        similarity=0.5,
        margin=0.125,
        frames_used=2,
        frames_seen=3,
        liveness=0.9,
    )


def test_liveness_of_a_decision_is_unproven_when_one_frame_has_none() -> None:
    """None, not the score of the other frame."""
    answer = run([(face("ann", live=0.99),), (face("ann"),)])[1][-1]
    assert isinstance(answer, Recognised)
    assert answer.liveness is None


@pytest.mark.parametrize(
    ("live", "expected"), [(0.85, "=ann"), (0.84, "hold_still"), (None, "hold_still"), (float("nan"), "hold_still")]
)
def test_where_liveness_is_required_a_frame_without_it_does_not_vote(live: float | None, expected: str) -> None:
    """A missing or broken score is no proof of life."""
    policy = replace(POLICY, live_threshold=0.85)
    assert told(run([(face("ann", 0.7, live=live),)], policy)[1][0]) == expected


@pytest.mark.parametrize("broken", [float("nan"), -1.0])
def test_a_broken_similarity_never_votes(broken: float) -> None:
    """NaN compares false with everything: it must fall on the safe side of each comparison."""
    assert told(run([(face("ann", broken),)])[1][0]) == "hold_still"
    assert told(run([(face("ann", 0.9, ahead=broken),)])[1][0]) == "hold_still"


# --- laws
# ---------------------------------------------------------------------------------------------------------------------

FACES = st.builds(
    face,
    st.sampled_from([None, "ann", "bob", "cat"]),
    st.sampled_from([0.2, 0.4, 0.48, 0.55, 0.64, 0.7, 0.9]),
    ahead=st.sampled_from([0.0, 0.05, 0.1, 0.4]),
    width=st.sampled_from([20, 47, 48, 200]),
    last=st.sampled_from([None, 0.1, 0.5, 0.9]),
)
FRAMES = st.lists(st.lists(FACES, max_size=3).map(tuple), max_size=30)


def lone(frame: Frame) -> SeenFace | None:
    """The only eligible face of a frame."""
    eligible = [seen for seen in frame if seen.width_px >= POLICY.min_face_px]
    return eligible[0] if len(eligible) == 1 else None


@given(FRAMES, st.integers(1, 4))
def test_it_never_decides_without_enough_votes_or_a_strong_one(frames: list[Frame], votes: int) -> None:
    """Whoever is recognised has `votes` clear frames, or a clear strong one, among the frames since the last change of
    face.
    """
    policy = replace(POLICY, votes=votes)
    _, answers = run(frames, policy)
    for index, answer in enumerate(answers):
        if not isinstance(answer, Recognised):
            continue
        evidence: list[SeenFace] = []
        for frame in frames[: index + 1]:
            seen = lone(frame)
            if seen is None:
                evidence = [] if sum(f.width_px >= POLICY.min_face_px for f in frame) > 1 else evidence
                continue
            if seen.similarity_to_last is not None and seen.similarity_to_last < policy.same_face:
                evidence = []
            evidence.append(seen)
        clear = [
            seen.candidate
            for seen in evidence
            if seen.candidate is not None
            and seen.candidate.similarity >= policy.match_threshold
            and seen.candidate.margin >= policy.margin
        ]
        assert {candidate.payer_id for candidate in clear} == {answer.payer_id}
        assert len(clear) >= votes or any(c.similarity >= policy.strong_threshold for c in clear)


@given(FRAMES)
def test_two_eligible_faces_never_decide(frames: list[Frame]) -> None:
    """With a second person in every frame there is no recognition, whatever else is seen."""
    _, answers = run([(*frame, face("cat", 0.9), face("bob", 0.9)) for frame in frames])
    assert not any(isinstance(answer, Recognised) for answer in answers)


@given(st.lists(st.sampled_from([ANN, STRONG, STRANGER, THIN, NOBODY]), max_size=3), st.randoms())
def test_the_order_of_frames_of_one_face_does_not_matter(frames: list[SeenFace], shuffler: object) -> None:
    """Fewer frames than `patience`, one payer: the same frames in another order end in the same decision or none."""
    shuffled = list(frames)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]

    def payer(of: list[SeenFace]) -> str | None:
        return next((a.payer_id for a in run([(f,) for f in of])[1] if isinstance(a, Recognised)), None)

    assert payer(frames) == payer(shuffled)


@given(FRAMES)
def test_it_speaks_only_when_something_changes_and_never_after_the_end(frames: list[Frame]) -> None:
    """No advice twice in a row; at most one recognition; silence once closed; attempts stay within the bound."""
    vote, answers = Vote(), []
    for frame in frames:
        was_closed = vote.closed
        vote, answer = advance(vote, frame, POLICY)
        assert not (was_closed and answer is not None)
        if answer is not None:
            answers.append(answer)
    advice = [answer for answer in answers if isinstance(answer, Advice)]
    assert all(one != two for one, two in pairwise(advice))
    kinds = Counter(type(answer) for answer in answers)
    assert kinds[Recognised] <= 1
    assert vote.failed_attempts <= POLICY.max_attempts
    assert vote.closed == (kinds[Recognised] == 1 or vote.failed_attempts == POLICY.max_attempts)
