"""The eyes' crops have one geometry whatever the head does, and the answer is "unknown" wherever it is not sure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.vision.eyes import CROP, SIDE_PX, eye_crops, eyes_open

THRESHOLDS = {"open": 0.6, "closed": 0.3}
NAN = float("nan")


def face(right: complex, left: complex) -> npt.NDArray[np.float32]:
    """Landmarks with these eyes, x + iy; the rest is not looked at."""
    return np.array([[right.real, right.imag], [left.real, left.imag], [0, 0], [0, 0], [0, 0]], np.float32)


def ramp(along: complex, centre: complex, side: int = 240) -> npt.NDArray[np.uint8]:
    """A picture that gets lighter by `abs(along)` per pixel in the direction of `along`, and is 128 at `centre`."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    light = 128 + (x - centre.real) * along.real + (y - centre.imag) * along.imag
    return np.repeat(np.clip(np.rint(light), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@given(
    roll=st.floats(-180, 180),
    distance=st.floats(20, 130),
    x=st.floats(110, 130),
    y=st.floats(110, 130),
    direction=st.sampled_from([1, 1j]),
)
def test_a_crop_is_turned_and_scaled_with_the_eyes(
    roll: float, distance: float, x: float, y: float, direction: complex
) -> None:
    """A slope of light that runs along the line of the eyes, or down the face, is found again in the crop: across or
    down it, the same from edge to edge, 128 in the middle; the left eye's crop shows it mirrored.
    """
    turn = np.exp(1j * np.deg2rad(roll))
    eye, slope = complex(x, y), 0.8
    for index, landmarks in enumerate((face(eye, eye + distance * turn), face(eye - distance * turn, eye))):
        crop = eye_crops(ramp(slope * direction * turn, eye), landmarks)[index].astype(float)
        across, down = (
            np.polyfit(np.arange(SIDE_PX), crop.mean(axis=0), 1)[0],
            np.polyfit(np.arange(SIDE_PX), crop.mean(axis=1), 1)[0],
        )
        wanted = slope * distance * CROP / SIDE_PX
        mirrored = -1 if index == 1 else 1
        assert across == pytest.approx(wanted * mirrored if direction == 1 else 0, abs=0.06)
        assert down == pytest.approx(0 if direction == 1 else wanted, abs=0.06)
        assert crop.mean() == pytest.approx(128, abs=1.0)


def test_nothing_between_the_pixels_of_a_crop_is_skipped() -> None:
    """A chequered picture, four of its pixels to one of the crop, is even grey: a camera's noise is averaged."""
    chequered = np.repeat(((np.indices((300, 300)).sum(axis=0) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    crops = eye_crops(chequered, face(70 + 150j, 70 + 150j + 4 * SIDE_PX / CROP))
    assert np.abs(crops.astype(float) - 127.5).max() < 8


@given(x=st.floats(-300, 400), y=st.floats(-300, 400), distance=st.floats(2.1, 300))
def test_what_lies_outside_the_picture_repeats_its_edge(x: float, y: float, distance: float) -> None:
    """An eye at the edge or beyond has a crop without a black border, which would look like a lash line."""
    crops = eye_crops(np.full((80, 100, 3), 77, np.uint8), face(complex(x, y), complex(x + distance, y)))
    assert crops.shape == (2, SIDE_PX, SIDE_PX)
    assert (crops == 77).all()


@pytest.mark.parametrize(
    ("right", "left", "answer"),
    [
        (0.9, 0.9, True),
        (0.6, 0.6, True),
        (0.59, 0.9, None),
        (0.9, 0.31, None),
        (0.3, 0.9, False),
        (0.9, 0.3, False),
        (0.0, 0.0, False),
        (NAN, 0.9, None),
        (0.0, NAN, None),
        (float("inf"), 0.9, None),
        (NAN, NAN, None),
    ],
)
def test_both_must_be_open_and_one_closed_is_enough(right: float, left: float, answer: bool | None) -> None:
    """Between the thresholds, and without a finite probability, the answer is None: the payer is asked for the PIN."""
    assert eyes_open((right, left), THRESHOLDS) is answer
