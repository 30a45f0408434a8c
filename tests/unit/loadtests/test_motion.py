"""A photograph becomes frames in which somebody moves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from loadtests.motion import HEIGHT, WIDTH, Motion, Pixels, Scene, encode_jpeg, portrait, thumbnail
from pipeline.errors import OutsideError


def face(value: int = 30) -> Pixels:
    """A portrait that differs from every wall."""
    picture = np.full((220, 175, 3), value, np.uint8)
    picture[60:120, 60:115] = 250
    return picture


def covered(frame: Pixels) -> float:
    """The share of a frame that is the dark portrait."""
    return float((frame.mean(axis=2) < 80).mean())


def test_equal_seeds_give_equal_frames() -> None:
    """The demo can be repeated picture by picture."""
    first, again, other = (Motion(face(), seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.frame(3, 0.6), again.frame(3, 0.6))
    assert not np.array_equal(first.frame(3, 0.6), other.frame(3, 0.6))


def test_somebody_moves_and_the_sensor_is_noisy() -> None:
    """Two frames differ, even at one moment."""
    motion = Motion(face(), seed=1)
    still, later, noise = motion.frame(0, 0.0), motion.frame(0, 0.7), motion.frame(1, 0.0)
    assert still.shape == (HEIGHT, WIDTH, 3)
    assert still.dtype == np.uint8
    assert np.abs(still.astype(int) - later).mean() > np.abs(still.astype(int) - noise).mean() > 0.5


def test_scenes_differ_in_size() -> None:
    """Far is small, near is large, close is larger; two stand left and right."""
    motion = Motion(face(), seed=2, companion=face())
    far, near, close = (covered(motion.frame(0, 0.0, scene)) for scene in (Scene.FAR, Scene.NEAR, Scene.CLOSE))
    assert 0 < far < 0.1 * near < 0.1 * close
    two = motion.frame(0, 0.0, Scene.TWO)
    assert covered(two[:, : WIDTH // 2]) > 0.1
    assert covered(two[:, WIDTH // 2 :]) > 0.1


def test_two_people_without_a_companion_are_one() -> None:
    """The scene asks for a companion; without one somebody stands there alone."""
    frame = Motion(face(), seed=2).frame(0, 0.0, Scene.TWO)
    assert covered(frame[:, WIDTH // 4 : 3 * WIDTH // 4]) > 0.3


def test_frames_are_jpegs_of_their_size(tmp_path: Path) -> None:
    """What is sent decodes to what was drawn, nearly; a thumbnail keeps the shape."""
    frame = Motion(face(), seed=3).frame(0, 0.0)
    sent = encode_jpeg(frame)
    assert np.abs(simplejpeg.decode_jpeg(sent, "BGR").astype(int) - frame).mean() < 4
    small = simplejpeg.decode_jpeg_header(thumbnail(sent, 160))
    assert small[:2] == (120, 160)
    with pytest.raises(OutsideError):
        thumbnail(b"no picture", 160)
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    assert portrait(tmp_path / "a.png").shape == frame.shape


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    """A missing or broken portrait is one sentence with its path."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for name in ("broken.jpg", "missing.jpg"):
        with pytest.raises(OutsideError, match=name):
            portrait(tmp_path / name)
