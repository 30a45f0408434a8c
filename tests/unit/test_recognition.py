"""The vote over frames, as a table of stories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.domain.quality import Look
from pipeline.domain.recognition import Recognised
from pipeline.domain.tracks import Place
from tests.unit.recognition_stories import (
    ANN,
    ASLEEP,
    BLURRED,
    BOB,
    BYSTANDER,
    DARK,
    DISTANT,
    JUMPED,
    JUMPED_BUT_ALIKE,
    NEW_BOB,
    NEW_STRANGER,
    NEW_STRONG_BOB,
    NOBODY,
    POLICY,
    POOR,
    SMALL,
    STRANGER,
    STRONG,
    STRONG_BUT_THIN,
    THIN,
    TURNED,
    Shot,
    face,
    run,
    seen,
    told,
)


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
        # each gate says what to do, and its frame is no vote
        ([(ASLEEP,), (ANN,), (ASLEEP,), (ANN,)], ["open_eyes", None, None, "=ann"]),
        ([(DARK,), (TURNED,), (BLURRED,), (DISTANT,)], ["better_light", "look_here", "hold_still", "come_closer"]),
        ([(ANN,), (DARK,), (DARK,), (ANN,)], [None, "better_light", None, "=ann"]),
        # refused again and again: the person is not kept waiting for ever
        ([(ASLEEP,)] * 7, ["open_eyes", *[None] * 4, "use_pin!", None]),
        ([(DARK,)] * 6 + [(STRONG,)], ["better_light", *[None] * 4, "use_pin!", None]),
        # seen badly: three votes instead of two
        ([(POOR,), (POOR,), (POOR,)], [None, None, "=ann"]),
        ([(POOR,), (ANN,)], [None, "=ann"]),
        # bystanders outside the zone do not exist, however large
        ([(BYSTANDER,), (BYSTANDER, ANN), (ANN, BYSTANDER)], ["look_here", None, "=ann"]),
        # a jump: the same face only if it matches itself as a payer must
        ([(ANN,), (JUMPED,)], [None, None]),
        ([(ANN,), (JUMPED_BUT_ALIKE,)], [None, "=ann"]),
        # a long silence, and frames that hide a jump, are jumps too
        ([seen(ANN), seen(face("ann", last=0.4), at_ms=1600), seen(ANN, at_ms=1800)], [None, None, "=ann"]),
        ([seen(ANN), seen(face("ann", last=0.4), at_ms=1400)], [None, "=ann"]),
        (
            [(ANN,), (replace(DARK, place=Place(600, 100, 90, 90)),), (face("ann", last=0.4),)],
            [None, "better_light", None],
        ),
        # without a comparison it is another face
        ([(ANN,), (face("ann", last=None),)], [None, None]),
        # a picture shown before: no vote, and after three of them a PIN
        ([(ANN,), seen(ANN, repeated=True), (ANN,)], [None, "look_here", "=ann"]),
        ([(ANN,), *[seen(STRONG, repeated=True)] * 4, (ANN,)], [None, "look_here", None, "use_pin!", None, None]),
        # two cameras of one lane: each has its own attempt
        ([seen(ANN), seen(ANN, camera="b"), seen(ANN, at_ms=200)], [None, None, "=ann"]),
        ([seen(ANN), seen(BOB, camera="b"), seen(ANN, at_ms=200)], [None, None, "one_person_please"]),
        # what the other camera sees at the same time counts: several people, or somebody after all
        ([seen(ANN, BOB, camera="b"), seen(STRONG)], ["one_person_please", None]),
        ([seen(ANN, BOB, camera="b"), seen(STRONG, at_ms=1001)], ["one_person_please", "=ann"]),
        ([seen(ANN, BOB, camera="b"), seen(ANN, camera="b"), seen(STRONG)], ["one_person_please", None, "=ann"]),
        ([seen(ANN), seen(camera="b"), seen(SMALL, camera="b", at_ms=1500)], [None, None, "come_closer"]),
        # failed attempts count on all cameras together
        (
            [seen(NEW_STRANGER if n else STRANGER, camera="ab"[n % 2], at_ms=n) for n in range(7)],
            ["hold_still", *[None] * 5, "too_many_attempts!"],
        ),
        # a row of faces: the fifth failed attempt closes the face for this intent
        (
            [(STRANGER,), *[(NEW_STRANGER,)] * 5, (NEW_STRONG_BOB,)],
            ["hold_still", None, None, None, None, "too_many_attempts!", None],
        ),
    ],
)
def test_a_story_of_frames(frames: list[Shot], expected: list[str | None]) -> None:
    """Frames from left to right; what is said after each."""
    assert [told(answer) for answer in run(frames)[1]] == expected


@pytest.mark.parametrize("votes", [1, 2, 3, 4, 5])
def test_frames_are_counted_however_much_they_weigh(votes: int) -> None:
    """Full weight makes up for no frame that is missing."""
    policy = replace(POLICY, votes=votes, patience=9)
    answers = [told(answer) for answer in run([(ANN,)] * votes, policy)[1]]
    assert answers == [None] * (votes - 1) + ["=ann"]


def test_five_attempts_that_ran_out_close_the_face() -> None:
    """Five strangers of `patience` frames each: the last one hears that face is over."""
    frames: list[Shot] = []
    for _ in range(5):
        frames += [(NEW_STRANGER,), *[(STRANGER,)] * 3]
    answers = [told(answer) for answer in run(frames)[1]]
    assert answers.count("not_recognised!") == 4
    assert answers[-1] == "too_many_attempts!"


def test_a_decision_reports_its_weakest_frame() -> None:
    """Similarity, margin and quality are never better than the worst evidence used."""
    worse = Look(eye_distance_px=40, yaw=0.225)
    frames: list[Shot] = [
        (face("ann", 0.5, ahead=0.4, live=0.9),),
        (face("ann", 0.3, live=0.9),),
        (face("ann", 0.625, ahead=0.125, live=0.9, look=worse),),
    ]
    answer = run(frames)[1][-1]
    assert answer == Recognised(
        payer_id="ann",
        camera="cam-1",
        similarity=0.5,
        threshold=0.475,
        margin=0.125,
        quality=0.75,
        frames_used=2,
        frames_seen=3,
        liveness=0.9,
        eyes_open=True,
    )


@pytest.mark.parametrize(
    ("eyes", "expected"), [((True, True), True), ((True, None), None), ((None, True), None), ((None, None), None)]
)
def test_eyes_are_open_only_if_every_vote_saw_them_open(eyes: tuple[bool | None, ...], expected: bool | None) -> None:
    """One frame that cannot tell leaves the whole unknown, and unknown means a PIN."""
    answer = run([(face("ann", eyes=each),) for each in eyes])[1][-1]
    assert isinstance(answer, Recognised)
    assert answer.eyes_open is expected


def test_liveness_of_a_decision_is_unproven_when_one_frame_has_none() -> None:
    """None, not the score of the other frame."""
    answer = run([(face("ann", live=0.99),), (face("ann"),)])[1][-1]
    assert isinstance(answer, Recognised)
    assert answer.liveness is None


@pytest.mark.parametrize(
    ("lives", "expected"),
    [
        # one strong frame at the threshold, and below it
        ([0.85], ["=ann"]),
        ([0.84], [None]),
        # together they reach it, or not
        ([0.8, 0.95], [None, "=ann"]),
        ([0.8, 0.8], [None, None]),
        # a frame below the floor is no vote, and its evidence stays: an attack does not choose its best frames
        ([0.49, 0.9], ["hold_still", None]),
        ([0.49, 0.95, 0.97], ["hold_still", None, "=ann"]),
        ([0.01, 0.9, 0.99, 0.99], ["hold_still", None, None, "use_pin!"]),
        # a missing or broken score is no proof of life
        ([None, 0.99], ["hold_still", None]),
        ([float("nan"), 0.99], ["hold_still", None]),
        ([2.0], [None]),
    ],
)
def test_where_liveness_is_required_the_attempt_must_be_live(
    lives: list[float | None], expected: list[str | None]
) -> None:
    """Each frame above the floor, and all judged frames together at the threshold."""
    policy = replace(POLICY, live_threshold=0.85, live_floor=0.5)
    assert [told(answer) for answer in run([(face("ann", 0.7, live=live),) for live in lives], policy)[1]] == expected


@pytest.mark.parametrize("broken", [float("nan"), -1.0])
def test_a_broken_similarity_never_votes(broken: float) -> None:
    """NaN compares false with everything: it must fall on the safe side of each comparison."""
    assert told(run([(face("ann", broken),)])[1][0]) == "hold_still"
    assert told(run([(face("ann", 0.9, ahead=broken),)])[1][0]) == "hold_still"
