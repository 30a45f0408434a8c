"""Stores and camera streams: timestamps, sizes, bystanders, blinks; equal arguments give equal frames."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from loadtests.people.drawn import CameraStream, Species, background, person, scene
from loadtests.people.drawn.movement import Movement
from loadtests.people.drawn.scenes import hidden
from loadtests.people.drawn.truth import Truth
from loadtests.people.drawn.view import View
from tests.unit.drawn.easel import painter


@pytest.mark.parametrize(("rate_fps", "expected_ms"), [(5.0, [0, 200, 400, 600]), (15.0, [0, 67, 133, 200])])
def test_frames_carry_their_time(rate_fps: float, expected_ms: list[int]) -> None:
    """Timestamps follow the rate and do not drift."""
    stream = CameraStream(1, painter(1), rate_fps=rate_fps)
    frames = list(itertools.islice(stream, 4))
    assert [frame.at_ms for frame in frames] == expected_ms
    assert [frame.index for frame in frames] == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
def test_frames_have_the_size_of_the_camera(size: tuple[int, int]) -> None:
    """VGA and 720p; the payer's face is larger in the larger picture."""
    frame = CameraStream(2, painter(1), size=size).frame(0)
    assert frame.pixels.shape == (size[1], size[0], 3)
    assert frame.pixels.dtype == np.uint8
    assert 100 * size[1] / 480 < frame.truths[0].box[2] < 235 * size[1] / 480


def test_equal_arguments_give_equal_frames_in_any_order() -> None:
    """Frame 7 is the same whether or not others were asked for before, and in another stream of the same seed."""
    one = CameraStream(3, painter(1), bystanders=[painter(2)])
    frames = [one.frame(index).pixels for index in (7, 2, 7)]
    assert np.array_equal(frames[0], frames[2])
    assert np.array_equal(frames[0], CameraStream(3, person(1), bystanders=[person(2)]).frame(7).pixels)
    assert not np.array_equal(frames[0], CameraStream(4, painter(1)).frame(7).pixels)


def test_no_frame_repeats_another() -> None:
    """Neither whole nor in its empty corner: noise is fresh although nothing moves there."""
    stream = CameraStream(5, None)
    frames = [stream.frame(index).pixels for index in range(8)]
    for one, other in itertools.combinations(frames, 2):
        assert (one != other).mean() > 0.5


def test_people_move_smoothly() -> None:
    """From frame to frame the face's middle moves, by less than a tenth of its width."""
    stream = CameraStream(6, painter(1))
    boxes = [stream.frame(index).truths[0].box for index in range(12)]
    middles = np.array([(x + w / 2, y + h / 2) for x, y, w, h in boxes])
    steps = np.linalg.norm(np.diff(middles, axis=0), axis=1)
    assert steps.min() > 0
    assert steps.max() < 0.1 * boxes[0][2]


def test_people_blink_but_not_often() -> None:
    """Over two minutes the lids are fully down now and then, and open most of the time."""
    movement = Movement(View(), np.random.default_rng(1))
    lids = np.array([movement.lids(at / 100) for at in range(12_000)])
    assert lids.min() == 0
    assert (lids == 1).mean() > 0.85
    assert 20 <= (np.diff((lids < 0.5).astype(int)) == 1).sum() <= 40


def test_a_sleeper_never_opens_the_eyes() -> None:
    """With `eyes_closed` the truth is closed in each frame."""
    stream = CameraStream(7, painter(1), eyes_closed=True)
    assert {stream.frame(index).truths[0].eyes_open for index in range(6)} == {(0.0, 0.0)}


def test_nobody_at_the_counter_means_no_truth() -> None:
    """An empty store has a picture and no face."""
    assert CameraStream(8, None).frame(0).truths == ()


@pytest.mark.parametrize("species", list(Species))
def test_an_attack_stream_shows_no_bona_fide_payer(species: Species) -> None:
    """The first truth is the attack's."""
    frame = CameraStream(9, painter(1), species=species).frame(1)
    assert not frame.truths[0].bona_fide


def test_bystanders_are_smaller_and_further_back() -> None:
    """Those whose faces can be seen have truths after the payer's, and smaller boxes."""
    stream = CameraStream(11, painter(1), bystanders=[painter(2), painter(4), painter(3)], face_px=150)
    truths = stream.frame(0).truths
    assert len(truths) >= 2
    assert all(truth.box[2] < 0.6 * truths[0].box[2] for truth in truths[1:])


BOX = Truth((100, 100, 100, 100), np.zeros((5, 2), np.float32), (1.0, 1.0))
HIDING = {
    "nothing before it": ([], 0.0),
    "half behind somebody": ([(150, 0, 400, 400)], 0.5),
    "wholly behind": ([(0, 0, 400, 400)], 1.0),
    "beside somebody": ([(200, 0, 400, 400)], 0.0),
}


@pytest.mark.parametrize(("covers", "expected"), HIDING.values(), ids=HIDING.keys())
def test_how_much_of_a_face_is_hidden(covers: list[tuple[float, float, float, float]], expected: float) -> None:
    """The share of the box behind whoever hides most of it."""
    assert hidden(BOX, covers, (400, 400)) == pytest.approx(expected)


def test_what_lies_outside_the_picture_is_hidden() -> None:
    """A box of which a quarter lies beyond the right edge."""
    assert hidden(BOX, [], (175, 400)) == pytest.approx(0.25)


def test_a_scene_has_a_payer_and_those_who_can_be_seen() -> None:
    """One truth for the payer, at most one for each other; reproducible."""
    painters = [painter(1), painter(2), painter(3)]
    pixels, truths = scene(np.random.default_rng(5), painters)
    assert pixels.shape == (480, 640, 3)
    assert 1 <= len(truths) <= 3
    assert truths[0].box[2] > max((truth.box[2] for truth in truths[1:]), default=0)
    assert np.array_equal(pixels, scene(np.random.default_rng(5), painters)[0])


def test_stores_differ() -> None:
    """Two seeds are two stores, of the size asked for."""
    one, other = (background(np.random.default_rng(seed), (320, 240)) for seed in (1, 2))
    assert one.shape == (240, 320, 3)
    assert np.abs(one.astype(int) - other).mean() > 5
