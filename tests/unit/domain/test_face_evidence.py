"""What a frame of a face is worth: quality and weights, liveness of many frames, tracks."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain import tracks
from pipeline.domain.liveness import fuse
from pipeline.domain.quality import LEAST_WEIGHT, Limits, Look, Refusal, quality, refusal, weight
from pipeline.domain.tracks import Continuity, Place, Track

LIMITS = Limits(
    min_eye_distance_px=20,
    min_sharpness=10,
    min_brightness=0.1,
    max_brightness=0.9,
    max_clipped=0.5,
    max_yaw=0.4,
    max_pitch=0.3,
    max_roll_deg=30,
)
AT_THE_LIMIT = Look(eye_distance_px=20, sharpness=10, brightness=0.1, clipped=0.5, yaw=-0.4, pitch=-0.3, roll_deg=-30)


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (AT_THE_LIMIT, None),
        (replace(AT_THE_LIMIT, brightness=0.9, yaw=0.4, pitch=0.3, roll_deg=30), None),
        (replace(AT_THE_LIMIT, eye_distance_px=19.9), "come_closer"),
        (replace(AT_THE_LIMIT, brightness=0.09), "better_light"),
        (replace(AT_THE_LIMIT, brightness=0.91), "better_light"),
        (replace(AT_THE_LIMIT, clipped=0.51), "better_light"),
        (replace(AT_THE_LIMIT, yaw=0.41), "look_here"),
        (replace(AT_THE_LIMIT, yaw=-0.41), "look_here"),
        (replace(AT_THE_LIMIT, pitch=0.31), "look_here"),
        (replace(AT_THE_LIMIT, pitch=-0.31), "look_here"),
        (replace(AT_THE_LIMIT, roll_deg=30.1), "look_here"),
        (replace(AT_THE_LIMIT, sharpness=9.9), "hold_still"),
        # what was not measured is not good
        (replace(AT_THE_LIMIT, eye_distance_px=nan), "come_closer"),
        (replace(AT_THE_LIMIT, brightness=nan), "better_light"),
        (replace(AT_THE_LIMIT, clipped=nan), "better_light"),
        (replace(AT_THE_LIMIT, yaw=nan), "look_here"),
        (replace(AT_THE_LIMIT, pitch=nan), "look_here"),
        (replace(AT_THE_LIMIT, roll_deg=nan), "look_here"),
        (replace(AT_THE_LIMIT, sharpness=nan), "hold_still"),
    ],
)
def test_each_limit_refuses_with_what_the_person_can_do(look: Look, expected: Refusal | None) -> None:
    """A value at its limit passes, one beyond it is refused."""
    assert refusal(look, LIMITS) == expected


LOOKS = st.builds(
    Look,
    eye_distance_px=st.floats(0, 200),
    sharpness=st.floats(0, 2000),
    brightness=st.floats(0, 1),
    clipped=st.floats(0, 1),
    yaw=st.floats(-1, 1),
    pitch=st.floats(-1, 1),
    roll_deg=st.floats(-90, 90),
)


@given(LOOKS, st.floats(1, 3))
def test_a_better_look_never_weighs_less(look: Look, factor: float) -> None:
    """Larger, sharper, less clipped, more frontal: quality and weight do not fall, and stay within their bounds."""
    now = quality(look, LIMITS)
    better = [
        replace(look, eye_distance_px=look.eye_distance_px * factor),
        replace(look, sharpness=look.sharpness * factor),
        replace(look, clipped=look.clipped / factor),
        replace(look, yaw=look.yaw / factor),
        replace(look, pitch=look.pitch / factor),
        replace(look, roll_deg=look.roll_deg / factor),
    ]
    assert all(quality(each, LIMITS) >= now for each in better)
    assert all(weight(quality(each, LIMITS)) >= weight(now) for each in better)
    assert 0.0 <= now <= 1.0
    assert LEAST_WEIGHT <= weight(now) <= 1.0


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (Look(eye_distance_px=40), 1.0),
        (Look(eye_distance_px=80), 1.0),
        (Look(eye_distance_px=20), 0.25),
        (Look(eye_distance_px=40, sharpness=25), 0.5),
        (Look(eye_distance_px=40, yaw=0.2), 0.75),
        (Look(eye_distance_px=40, clipped=0.5), 0.5),
        (Look(eye_distance_px=nan), 0.0),
    ],
)
def test_quality_counts_area_sharpness_pose_and_light(look: Look, expected: float) -> None:
    """A quarter of the area is a quarter; at its limit pose or light halves."""
    assert quality(look, LIMITS) == pytest.approx(expected)


@pytest.mark.parametrize("given_weight", [-inf, -1.0, 2.0, inf])
def test_a_weight_is_bounded_whatever_the_quality(given_weight: float) -> None:
    """No frame counts for two, none for nothing."""
    assert LEAST_WEIGHT <= weight(given_weight) <= 1.0


# --- liveness
# ---------------------------------------------------------------------------------------------------------------------

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 1)), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], None),
        ([(0.85, 1.0)], 0.85),
        ([(0.999, 1.0)], 0.999),
        ([(0.9, 1.0), (0.9, 0.5)], 0.9),
        ([(0.8, 1.0), (0.2, 1.0)], 0.5),
        # the heavier frame counts more
        ([(0.8, 1.0), (0.2, 0.5)], 0.6135),
        # however sure a detector was, one frame does not outweigh two others
        ([(1.0, 1.0), (0.2, 1.0), (0.2, 1.0)], 0.6009),
        ([(0.999999, 1.0), (0.2, 1.0), (0.2, 1.0)], 0.6009),
        ([(0.000001, 1.0), (0.8, 1.0), (0.8, 1.0)], 0.3991),
        ([(0.0, 1.0), (0.8, 1.0), (0.8, 1.0)], 0.3991),
        # what was not measured is not live
        ([(0.9, 1.0), (nan, 1.0)], None),
        ([(1.1, 1.0)], None),
        ([(-0.1, 1.0)], None),
        ([(0.9, 0.0)], None),
        ([(0.9, nan)], None),
    ],
)
def test_liveness_of_many_frames(scores: list[tuple[float, float]], expected: float | None) -> None:
    """The weighted mean of their log odds, cut at four."""
    assert fuse(scores) == (expected if expected is None else pytest.approx(expected, abs=1e-4))


@given(SCORES, st.floats(0, 1), st.floats(0.1, 1))
def test_liveness_lies_between_its_frames_and_a_worse_frame_never_raises_it(
    scores: list[tuple[float, float]], another: float, heavy: float
) -> None:
    """More frames of the same are no more proof, and a frame below all others pulls down."""
    fused = fuse(scores)
    assert fused is not None
    assert min(score for score, _ in scores) <= fused <= max(score for score, _ in scores)
    worse = fuse([*scores, (min(another, *(score for score, _ in scores)), heavy)])
    assert worse is not None
    assert worse <= fused + 1e-12


@given(SCORES, st.randoms())
def test_liveness_does_not_depend_on_the_order(scores: list[tuple[float, float]], shuffler: object) -> None:
    """But for rounding."""
    other = list(scores)
    shuffler.shuffle(other)  # type: ignore[attr-defined]
    assert fuse(scores) == pytest.approx(fuse(other))


# --- tracks
# ---------------------------------------------------------------------------------------------------------------------

RULE = Continuity(overlap=0.2, reach=0.75, gap_us=1_500_000)
HERE = Place(100, 100, 80, 100)
TRACK = Track(place=HERE, at_us=0)
FAR = Place(400, 100, 80, 100)
UNSURE = replace(TRACK, sure=False)


@pytest.mark.parametrize(
    ("track", "place", "at_us", "similarity", "expected"),
    [
        (TRACK, HERE, 200_000, 0.36, True),
        (TRACK, HERE, 200_000, 0.35, False),
        (TRACK, Place(150, 110, 80, 100), 200_000, 0.36, True),
        (TRACK, Place(60, 60, 160, 200), 200_000, 0.36, True),
        # place alone never keeps a track, and without it the likeness must be a match
        (TRACK, FAR, 200_000, 0.474, False),
        (TRACK, FAR, 200_000, 0.475, True),
        (TRACK, HERE, 1_500_000, 0.36, True),
        (TRACK, HERE, 1_500_001, 0.36, False),
        (TRACK, HERE, -1_500_001, 0.36, False),
        (UNSURE, HERE, 200_000, 0.474, False),
        (UNSURE, HERE, 200_000, 0.475, True),
        # what cannot be compared is another face
        (TRACK, HERE, 200_000, None, False),
        (TRACK, HERE, 200_000, nan, False),
        (TRACK, Place(nan, nan, nan, nan), 200_000, 0.474, False),
        (TRACK, Place(140, 150, 0, 0), 200_000, 0.36, True),
        (Track(place=Place(0, 0, 0, 0), at_us=0), Place(0, 0, 0, 0), 200_000, 0.4, False),
    ],
)
def test_the_same_face_or_another(
    track: Track, place: Place, at_us: int, similarity: float | None, expected: bool
) -> None:
    """0.36 where place and time vouch for it, 0.475 where they do not."""
    assert tracks.same_face(track, place, at_us, similarity, RULE, near=0.36, far=0.475) is expected


def test_a_jump_behind_frames_that_cannot_be_judged_stays_a_jump() -> None:
    """Small steps after the jump do not make good for it."""
    moved = tracks.moved(TRACK, FAR, 200_000, RULE)
    assert moved == Track(place=FAR, at_us=200_000, sure=False)
    assert tracks.moved(moved, FAR, 400_000, RULE).sure is False
    assert tracks.moved(TRACK, HERE, 200_000, RULE).sure is True


PLACES = st.builds(Place, st.floats(-100, 700), st.floats(-100, 700), st.floats(1, 300), st.floats(1, 300))


@given(PLACES, PLACES)
def test_overlap_is_a_share_and_has_no_side(one: Place, two: Place) -> None:
    """Within 0 and 1, the same both ways, 1 of a place with itself."""
    assert 0.0 <= tracks.overlap(one, two) <= 1.0 + 1e-9
    assert tracks.overlap(one, two) == pytest.approx(tracks.overlap(two, one))
    assert tracks.overlap(one, one) == pytest.approx(1.0)
