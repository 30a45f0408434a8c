"""Views: what moves with pose, lids, expression and light, and that the truth moves with the picture."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from loadtests.people.drawn import Light, View, random_view
from tests.unit.drawn.easel import MIDDLE, SIDE, aligned, drawn, painter

REST = View(face_px=140.0, centre=MIDDLE)
CHANGES = {
    "yaw": replace(REST, yaw_deg=12.0),
    "pitch": replace(REST, pitch_deg=10.0),
    "roll": replace(REST, roll_deg=8.0),
    "right lid": replace(REST, eyes_open=(0.3, 1.0)),
    "left lid": replace(REST, eyes_open=(1.0, 0.3)),
    "gaze": replace(REST, gaze=(0.7, 0.0)),
    "mouth": replace(REST, mouth_open=0.6),
    "smile": replace(REST, smile=0.8),
    "raised brows": replace(REST, brow=0.9),
    "frown": replace(REST, brow=-0.9),
    "glasses": replace(REST, glasses=2),
    "mask": replace(REST, mask=True),
    "years": replace(REST, age=15.0),
    "clothes": replace(REST, outfit=5),
    "lamp": replace(REST, light=Light(azimuth_deg=-50)),
    "level": replace(REST, light=Light(level=0.6)),
    "warmth": replace(REST, light=Light(warmth=0.9)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_part_of_a_view_can_be_seen(change: View) -> None:
    """Changing one field changes the picture."""
    before, after = drawn(REST)[0].astype(int), drawn(change)[0].astype(int)
    assert (np.abs(before - after).max(axis=2) > 8).sum() > 40


def test_landmarks_lie_inside_the_box_in_their_order() -> None:
    """Over random views: five points inside the box, eyes above nose above mouth, right before left."""
    rng = np.random.default_rng(2)
    for index in range(40):
        view = random_view(rng, face_px=(100, 150), centre=MIDDLE, max_yaw_deg=25, max_roll_deg=8, max_pitch_deg=12)
        truth = painter(1 + index % 3).draw(view, np.zeros((SIDE, SIDE, 3), np.uint8))
        x, y, w, h = truth.box
        points = truth.landmarks
        assert (points > (x, y)).all()
        assert (points < (x + w, y + h)).all()
        assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min()
        assert points[0, 0] < points[1, 0]
        assert points[3, 0] < points[4, 0]
        assert truth.bona_fide


def test_the_box_has_the_width_that_was_asked_for() -> None:
    """`face_px` is the width of a frontal face's box, within eight percent."""
    assert drawn(REST)[1].box[2] == pytest.approx(140.0, rel=0.08)


def test_the_nose_has_parallax() -> None:
    """Turned right by 25 degrees, the tip of the nose moves right against the eyes by a seventh of their distance."""

    def offset(view: View) -> float:
        right, left, nose = drawn(view)[1].landmarks[:3]
        return float((nose - (right + left) / 2)[0] / np.linalg.norm(left - right))

    assert offset(replace(REST, yaw_deg=25)) - offset(REST) > 0.14
    assert offset(replace(REST, yaw_deg=-25)) - offset(REST) < -0.14


@pytest.mark.parametrize("yaw_deg", [-12.0, 12.0])
def test_pixels_move_as_the_truth_says(yaw_deg: float) -> None:
    """The patch around the tip of the nose, looked for in the turned head, is found where its landmark went."""
    view = replace(REST, light=Light(ambient=0.9))
    (before, at), (after, truth) = drawn(view), drawn(replace(view, yaw_deg=yaw_deg))
    x, y = at.landmarks[2].round().astype(int)
    answer = cv2.matchTemplate(after, before[y - 15 : y + 16, x - 15 : x + 16], cv2.TM_CCOEFF_NORMED)
    best = np.array(cv2.minMaxLoc(answer)[3]) + 15
    moved = truth.landmarks[2] - at.landmarks[2]
    assert np.abs(best - (x, y) - moved).max() < 4
    assert abs(moved[0]) > 8


def test_the_eyes_line_leans_with_the_roll() -> None:
    """A roll of 15 degrees turns the line of the eyes by 15 degrees, clockwise in the picture."""
    right, left = drawn(replace(REST, roll_deg=15))[1].landmarks[:2]
    assert np.degrees(np.arctan2(*(left - right)[::-1])) == pytest.approx(15, abs=1.5)


def eye_white(opening: float, who: int) -> float:
    """How much iris and white is seen in the right eye: differences from the closed lid, summed."""
    closed = drawn(replace(REST, eyes_open=(0.0, 1.0)), who)[0].astype(float)
    picture, truth = drawn(replace(REST, eyes_open=(opening, 1.0)), who)
    x, y = truth.landmarks[0].round().astype(int)
    part = np.s_[y - 14 : y + 15, x - 22 : x + 23]
    return float((np.abs(picture.astype(float) - closed)[part].max(axis=2) > 25).sum())


@pytest.mark.parametrize("who", [1, 2, 4])
def test_lids_come_down_steadily(who: int) -> None:
    """From open to closed the part of the eye that is seen shrinks with each step, and by much."""
    seen = [eye_white(opening, who) for opening in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert seen[0] == 0
    assert all(less < more for less, more in pairwise(seen))
    assert seen[1] < 0.6 * seen[4]


@pytest.mark.parametrize("who", [1, 2, 4])
def test_a_closed_eye_carries_its_lashes_at_the_bottom(who: int) -> None:
    """The darkest row of the right eye lies lower when the eye is closed than the upper lashes of the open eye."""

    def rows(opening: float) -> np.ndarray:
        picture, truth = drawn(replace(REST, eyes_open=(opening, opening), face_px=180.0), who)
        x, y = truth.landmarks[0].round().astype(int)
        return np.asarray(picture[y - 12 : y + 13, x - 4 : x + 5].astype(float).mean(axis=(1, 2)))

    open_eye, closed_eye = rows(1.0), rows(0.0)
    upper_lashes = int(np.argmin(np.diff(open_eye[:13])))
    assert int(np.argmin(closed_eye[6:20])) + 6 > upper_lashes + 1


def test_the_truth_tells_the_lids() -> None:
    """What the view asks of each eye is what the truth says, right and left not mixed up."""
    assert drawn(replace(REST, eyes_open=(0.0, 1.0)))[1].eyes_open == (0.0, 1.0)


def test_shadow_falls_on_the_side_away_from_the_lamp() -> None:
    """With the lamp at the right of the picture, the right cheek is the brighter one."""
    for azimuth, brighter in ((60, 1), (-60, 0)):
        face = aligned(*drawn(replace(REST, light=Light(azimuth_deg=azimuth, ambient=0.3)))).mean(axis=2)
        cheeks = face[60:85, 12:36].mean(), face[60:85, 76:100].mean()
        assert cheeks[brighter] > 1.1 * cheeks[1 - brighter]


def test_a_mask_hides_nose_and_mouth_and_leaves_the_eyes() -> None:
    """Around the mouth most pixels change, above the eyes none does."""
    bare, masked = (aligned(*drawn(replace(REST, mask=worn))) for worn in (False, True))
    changed = np.abs(bare - masked).max(axis=2) > 12
    assert changed[84:104, 36:76].mean() > 0.9
    assert changed[30:58].mean() < 0.02


def test_random_views_keep_to_their_limits() -> None:
    """Angles, sizes and years stay inside what was asked; the share of closed eyes is met."""
    rng = np.random.default_rng(3)
    views = [random_view(rng, max_yaw_deg=20, face_px=(90, 120), closed=0.5, max_age_years=3) for _ in range(300)]
    assert max(abs(view.yaw_deg) for view in views) <= 20
    assert all(90 <= view.face_px <= 120 and 0 <= view.age <= 3 for view in views)
    closed = [max(view.eyes_open) < 0.1 for view in views]
    assert 0.4 < np.mean(closed) < 0.6
    assert all(min(view.eyes_open) >= 0.7 for view, shut in zip(views, closed, strict=True) if not shut)


def test_drawing_leaves_no_trace_in_the_painter() -> None:
    """A view looks the same whatever was drawn before it."""
    first = drawn(REST, 2)[0]
    drawn(replace(REST, age=20, smile=1.0, outfit=3, mask=True, eyes_open=(0.1, 0.2)), 2)
    assert np.array_equal(first, drawn(REST, 2)[0])


@pytest.mark.parametrize("centre", [(-300.0, 100.0), (20.0, 10.0), (250.0, 255.0)])
def test_a_face_may_leave_the_picture(centre: tuple[float, float]) -> None:
    """Heads cut by the edge, or wholly outside, are drawn as far as they are seen; the truth tells where they are."""
    truth = drawn(replace(REST, centre=centre, glasses=1))[1]
    assert truth.box[0] < centre[0] < truth.box[0] + truth.box[2]
