"""Laws of the vote that hold for every story: who may vote, and that nothing else decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.quality import Look
from pipeline.domain.recognition import Advice, Frame, Policy, Recognised, SeenFace, Vote, advance
from tests.unit.recognition_stories import (
    ANN,
    BLURRED,
    BOB,
    CLEAR,
    DARK,
    DISTANT,
    NOBODY,
    POLICY,
    STRANGER,
    STRONG,
    THIN,
    TURNED,
    Shot,
    face,
    run,
    seen,
)

LOOKS = st.sampled_from([CLEAR, Look(eye_distance_px=20, sharpness=10), *(f.look for f in (DARK, TURNED, BLURRED))])
FACES = st.builds(
    face,
    st.sampled_from([None, "ann", "bob", "cat"]),
    st.sampled_from([0.2, 0.4, 0.48, 0.55, 0.64, 0.7, 0.9]),
    ahead=st.sampled_from([0.0, 0.05, 0.1, 0.4]),
    width=st.sampled_from([20, 47, 48, 200]),
    last=st.sampled_from([None, 0.1, 0.5, 0.9]),
    look=LOOKS,
    eyes=st.sampled_from([True, True, None, False]),
    zone=st.sampled_from([True, True, True, False]),
    x=st.sampled_from([200.0, 230.0, 600.0]),
    live=st.sampled_from([None, 0.3, 0.7, 0.99]),
)
FRAMES = st.lists(
    st.builds(
        lambda faces, camera, repeated, at: Frame(
            camera=camera, at_us=at * 200_000, faces=tuple(faces), repeated=repeated
        ),
        st.lists(FACES, max_size=3),
        st.sampled_from(["cam-1", "cam-1", "cam-2"]),
        st.sampled_from([False, False, False, True]),
        st.integers(0, 50),
    ),
    max_size=14,
).map(lambda frames: [replace(frame, at_us=n * 200_000) for n, frame in enumerate(frames)])


def eligible(frame: Frame) -> list[SeenFace]:
    """The faces of a frame that could pay."""
    return [each for each in frame.faces if each.in_zone and each.place.w >= POLICY.min_face_px]


def good(seen_face: SeenFace) -> bool:
    """Seen well enough, told again in other words than the code's."""
    return seen_face.look.brightness > 0.1 and abs(seen_face.look.yaw) < 0.46 and seen_face.look.sharpness > 9


def votes_for(seen_face: SeenFace, policy: Policy) -> str | None:
    """Whom a lone face in a new picture votes for, told again."""
    who = seen_face.candidate
    if who is None or not good(seen_face) or seen_face.eyes_open is False:
        return None
    alive = policy.live_threshold is None or (seen_face.live or 0.0) >= policy.live_floor
    clear = who.similarity >= policy.match_threshold and who.similarity - who.runner_up >= policy.margin
    return who.payer_id if alive and clear else None


@given(FRAMES, st.integers(1, 4), st.sampled_from([None, 0.6]))
def test_it_decides_only_on_enough_votes_of_one_track(
    frames: list[Frame], votes: int, live_threshold: float | None
) -> None:
    """Whoever is recognised has `votes` ballots, or a strong one, among one camera's frames since the face there last
    changed: frames of two tracks or two cameras, refused, repeated or crowded frames never add up.
    """
    policy = replace(POLICY, votes=votes, live_threshold=live_threshold)
    _, answers = run(frames, policy)
    for index, answer in enumerate(answers):
        if not isinstance(answer, Recognised):
            continue
        ballots: list[SeenFace] = []
        for frame in frames[: index + 1]:
            found = eligible(frame)
            if frame.camera != answer.camera or not found:
                continue
            if len(found) > 1:
                ballots = []
                continue
            if frame.repeated or not good(found[0]):
                continue
            alike = found[0].similarity_to_last
            if alike is None or alike < policy.same_face:
                ballots = []
            if votes_for(found[0], policy) is not None:
                ballots.append(found[0])
        assert {votes_for(ballot, policy) for ballot in ballots} == {answer.payer_id}
        similar = [ballot.candidate.similarity for ballot in ballots if ballot.candidate is not None]
        assert answer.frames_used <= len(ballots)
        assert answer.frames_used >= votes or max(similar) >= policy.strong_threshold


RIGHT = face("ann", 0.9, live=0.99)
"""Passes every gate, and alone would decide at once."""
WRONG = [
    seen(face("ann", 0.9, live=0.99, width=47)),
    seen(face("ann", 0.9, live=0.99, zone=False)),
    seen(RIGHT, face("bob", 0.3)),
    seen(RIGHT, repeated=True),
    *(seen(replace(RIGHT, look=wrong.look)) for wrong in (DARK, TURNED, BLURRED, DISTANT)),
    seen(replace(RIGHT, eyes_open=False)),
    *(seen(replace(RIGHT, live=live)) for live in (None, 0.49, float("nan"))),
    seen(face("ann", 0.47, live=0.99)),
    seen(face("ann", 0.9, live=0.99, ahead=0.07)),
    seen(face(None, live=0.99)),
]
"""The same with one thing wrong."""


@given(st.lists(st.sampled_from([seen(RIGHT), *WRONG]), max_size=20))
def test_a_frame_that_fails_a_gate_never_adds_a_ballot(frames: list[Frame]) -> None:
    """Small, outside the zone, not alone, shown before, seen badly, asleep, not live, unlike or unclear: no ballot."""
    policy = replace(POLICY, live_threshold=0.6, votes=99, strong_threshold=2.0, patience=99, refusal_patience=99)
    vote = Vote()
    for number, frame in enumerate(frames):
        before = sum(len(eye.attempt.ballots) for eye in vote.eyes.values())
        vote, _ = advance(vote, replace(frame, at_us=number), policy)
        after = sum(len(eye.attempt.ballots) for eye in vote.eyes.values())
        assert after <= before + (frame not in WRONG)


@given(
    FRAMES, st.lists(st.builds(face, st.just("bob"), st.just(0.9), width=st.just(300), zone=st.just(False))), st.data()
)
def test_bystanders_change_nothing(frames: list[Frame], others: list[SeenFace], data: st.DataObject) -> None:
    """However many people stand outside the zone, and in whatever order the faces of a frame come."""
    crowded = [replace(f, faces=tuple(data.draw(st.permutations([*f.faces, *others])))) for f in frames]
    assert run(frames)[1] == run(crowded)[1]


@given(FRAMES)
def test_two_eligible_faces_never_decide(frames: list[Frame]) -> None:
    """With a second person in every frame there is no recognition, whatever else is seen."""
    crowded = [replace(frame, faces=(*frame.faces, face("cat", 0.9), face("bob", 0.9))) for frame in frames]
    assert not any(isinstance(answer, Recognised) for answer in run(crowded)[1])


SURE = st.lists(st.sampled_from([ANN, STRONG, face("ann", 0.9)]), min_size=2, max_size=6)
"""Faces of one person any two of which decide."""


@given(SURE)
def test_two_eligible_faces_on_one_camera_silence_the_others(faces: list[SeenFace]) -> None:
    """A second camera that sees two people all the time: the first one decides nothing, however sure it is."""
    story: list[Shot] = []
    for number, each in enumerate(faces):
        story += [seen(ANN, BOB, camera="wide", at_ms=number * 200), seen(each, at_ms=number * 200)]
    assert not any(isinstance(answer, Recognised) for answer in run(story)[1])
    assert any(isinstance(answer, Recognised) for answer in run([(each,) for each in faces])[1])


@given(SURE)
def test_without_a_look_at_the_eyes_they_stay_unknown(faces: list[SeenFace]) -> None:
    """Null in every frame is null in the recognition."""
    answers = run([(replace(each, eyes_open=None),) for each in faces])[1]
    decided = [answer for answer in answers if isinstance(answer, Recognised)]
    assert [answer.eyes_open for answer in decided] == [None]


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
