"""Sensor noise: fresh in each frame, reproducible by seed, without a shift, stronger where there is more light."""

from __future__ import annotations

import numpy as np

from loadtests.people.drawn import Sensor

GREY = np.full((120, 160, 3), 120, np.uint8)


def test_no_two_frames_have_the_same_noise() -> None:
    """Twenty exposures of a grey wall: each pair is correlated no more than chance."""
    sensor = Sensor(1)
    frames = np.array([sensor.expose(GREY.copy()).astype(float).ravel() - 120 for _ in range(20)])
    correlations = np.corrcoef(frames) - np.eye(20)
    assert np.abs(correlations).max() < 0.05


def test_equal_seeds_give_equal_noise() -> None:
    """Two sensors of one seed expose alike, one of another seed does not."""
    one, same, other = (Sensor(seed).expose(GREY.copy()) for seed in (5, 5, 6))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_noise_shifts_nothing() -> None:
    """The mean of a grey wall stays within half a level."""
    sensor = Sensor(2)
    mean = np.mean([sensor.expose(GREY.copy()).mean() for _ in range(10)])
    assert abs(mean - 120) < 0.5


def test_noise_grows_with_gain_and_with_light() -> None:
    """Read noise follows the gain; shot noise makes a bright wall noisier than a dark one."""

    def spread(level: int, gain: float) -> float:
        return float(Sensor(3, gain=gain).expose(np.full_like(GREY, level)).std())

    assert spread(120, 3.0) > 1.6 * spread(120, 1.0)
    assert spread(180, 1.0) > 1.3 * spread(40, 1.0)


def test_a_frame_of_720p_fits() -> None:
    """The largest frame that a camera stream has can be exposed."""
    frame = np.full((720, 1280, 3), 90, np.uint8)
    assert Sensor(1).expose(frame) is frame
    assert frame.std() > 1
