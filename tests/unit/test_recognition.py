"""The vote over frames, as a table of stories and as laws that hold for every story."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.quality import Limits, Look
from pipeline.domain.recognition import (
    Advice,
    Answer,
    Candidate,
    Frame,
    Policy,
    Recognised,
    SeenFace,
    Vote,
    advance,
)
from pipeline.domain.tracks import Place

LIMITS = Limits(
    min_eye_distance_px=20,
    min_sharpness=10,
    min_brightness=0.1,
    max_brightness=0.9,
    max_clipped=0.5,
    max_yaw=0.45,
    max_pitch=0.35,
    max_roll_deg=35,
)
POLICY = Policy(
    match_threshold=0.475,
    strong_threshold=0.65,
    margin=0.08,
    votes=2,
    min_face_px=48,
    limits=LIMITS,
    patience=4,
    refusal_patience=6,
    max_repeated=3,
)
CLEAR = Look(eye_distance_px=60)

Faces = tuple[SeenFace, ...]
Shot = Faces | Frame
"""Faces before the usual camera, or a frame as it is."""


def face(
    payer: str | None = None,
    similarity: float = 0.55,
    *,
    ahead: float = 0.3,
    width: float = 90,
    last: float | None = 0.8,
    live: float | None = None,
    look: Look = CLEAR,
    eyes: bool | None = True,
    zone: bool = True,
    x: float = 200,
) -> SeenFace:
    """A face that resembles `payer`, and the next payer by `ahead` less."""
    candidate = None
    if payer is not None:
        candidate = Candidate(payer_id=payer, similarity=similarity, runner_up=similarity - ahead)
    return SeenFace(
        place=Place(x, 100, width, width),
        look=look,
        in_zone=zone,
        candidate=candidate,
        similarity_to_last=last,
        live=live,
        eyes_open=eyes,
    )


def seen(*faces: SeenFace, camera: str = "cam-1", at_ms: int = 0, repeated: bool = False) -> Frame:
    """What a camera saw at a time of its own."""
    return Frame(camera=camera, at_us=at_ms * 1000, faces=faces, repeated=repeated)


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
ASLEEP = face("ann", 0.9, eyes=False)
DARK = face("ann", 0.9, look=replace(CLEAR, brightness=0.05))
TURNED = face("ann", 0.9, look=replace(CLEAR, yaw=-0.5))
BLURRED = face("ann", 0.9, look=replace(CLEAR, sharpness=5))
DISTANT = face("ann", 0.9, look=Look(eye_distance_px=19))
POOR = face("ann", look=Look(eye_distance_px=20, sharpness=10, yaw=0.45))
BYSTANDER = face("bob", 0.9, zone=False)
JUMPED = face("ann", last=0.4, x=500)
JUMPED_BUT_ALIKE = face("ann", last=0.5, x=500)


def run(shots: Sequence[Shot], policy: Policy = POLICY) -> tuple[Vote, list[Answer]]:
    """The vote after all frames, 200 ms apart unless they say otherwise, and each answer."""
    vote, answers = Vote(), []
    for number, shot in enumerate(shots):
        frame = shot if isinstance(shot, Frame) else seen(*shot, at_ms=number * 200)
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


# --- laws
# ---------------------------------------------------------------------------------------------------------------------

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


@given(FRAMES)
def test_a_frame_that_fails_a_gate_never_adds_a_ballot(frames: list[Frame]) -> None:
    """Small, outside the zone, not alone, seen badly, asleep, not live, shown before, unlike or unclear: no ballot."""
    policy = replace(POLICY, live_threshold=0.6, votes=9, strong_threshold=2.0, patience=99)
    vote = Vote()
    for frame in frames:
        before = sum(len(eye.attempt.ballots) for eye in vote.eyes.values())
        vote, _ = advance(vote, frame, policy)
        after = sum(len(eye.attempt.ballots) for eye in vote.eyes.values())
        found = eligible(frame)
        passes = len(found) == 1 and not frame.repeated and votes_for(found[0], policy) is not None
        assert after <= before + passes


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


@given(FRAMES)
def test_two_eligible_faces_on_one_camera_silence_the_others(frames: list[Frame]) -> None:
    """A second camera that sees two people all the time: the first one decides nothing, however sure it is."""
    story: list[Shot] = []
    for frame in frames:
        story += [seen(ANN, BOB, camera="wide", at_ms=frame.at_us // 1000), replace(frame, camera="cam-1")]
    assert not any(isinstance(answer, Recognised) for answer in run(story)[1])


@given(FRAMES)
def test_without_a_look_at_the_eyes_they_stay_unknown(frames: list[Frame]) -> None:
    """Null in every frame is null in the recognition."""
    blind = [replace(f, faces=tuple(replace(each, eyes_open=None) for each in f.faces)) for f in frames]
    assert all(answer.eyes_open is None for answer in run(blind)[1] if isinstance(answer, Recognised))


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
