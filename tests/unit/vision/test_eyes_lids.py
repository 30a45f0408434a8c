"""Lids closed by rendering: nothing of the eye is left of a closed one, and an open one has the same traces."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.people.train import eye_crops, eye_data, lids

SKIN, SCLERA, IRIS = 150, 225, 25


def eye(*, high: float = 7.0, low: float = 5.0, half: float = 19.0) -> lids.Patch:
    """An eye as lids know it: skin, between two parabolas a light sclera, on it a dark iris, above it a dark edge."""
    rows, columns = np.mgrid[: lids.PATCH_PX, : lids.PATCH_PX].astype(np.float32)
    x, y = columns - lids.PATCH_PX / 2, rows - lids.PATCH_PX / 2
    bow = np.clip(1 - (x / half) ** 2, 0, 1)
    between = (y > -high * bow) & (y < low * bow) & (bow > 0)
    patch = np.full((lids.PATCH_PX, lids.PATCH_PX), SKIN, np.float32)
    patch[between] = SCLERA
    patch[between & (np.hypot(x, y) < 7)] = IRIS
    patch[(np.abs(y + high * bow) < 1.2) & (bow > 0)] = 70
    return np.asarray(cv2.GaussianBlur(patch, (0, 0), 0.8), np.float32)


@given(high=st.floats(4, 9), low=st.floats(3, 6), half=st.floats(17, 20))
def test_the_edges_of_the_lids_are_found(high: float, low: float, half: float) -> None:
    """Within four pixels (a twentieth of an eye distance) of where they are drawn."""
    found = lids.find(eye(high=high, low=low, half=half))
    middle = lids.PATCH_PX // 2
    assert found.line()[middle] - found.upper * found.bow()[middle] == pytest.approx(middle - high, abs=4)
    assert found.line()[middle] + found.lower * found.bow()[middle] == pytest.approx(middle + low, abs=4)
    assert found.clarity > eye_data.LEAST_CLARITY


@given(seed=st.integers(0, 2**32))
def test_of_a_shut_eye_neither_iris_nor_white_is_left(seed: int) -> None:
    """Nothing in the middle, and of the white at most a third, at the corners, where the fit is coarse; what is dark is
    a line, not a disc.
    """
    patch = eye()
    shut = lids.close(patch, lids.find(patch), 1.0, np.random.default_rng(seed))
    middle = lids.PATCH_PX // 2
    assert (shut > SCLERA - 15).sum() <= (patch > SCLERA - 15).sum() / 3
    assert shut[middle - 4 : middle + 4, middle - 6 : middle + 6].max() < SCLERA - 10
    # A lash line is dark in few rows of a column; the iris was in a dozen.
    assert (shut[middle - 8 : middle + 10, middle - 5 : middle + 5] < SKIN / 2).sum(axis=0).max() <= 8


def test_lids_come_down_with_the_closure() -> None:
    """The further they close, the less of the sclera is seen; not closed at all changes nothing."""
    patch = eye()
    opening = lids.find(patch)
    assert lids.close(patch, opening, 0.0, np.random.default_rng(1)) is patch
    light = [
        np.mean([(lids.close(patch, opening, c, np.random.default_rng(s)) > 195).sum() for s in range(20)])
        for c in (0.0, 0.3, 0.6, 1.0)
    ]
    assert light[0] > light[1] > light[2] > light[3]
    assert light[3] < light[0] / 4


def test_an_open_eye_in_disguise_is_still_open() -> None:
    """Its iris and most of its sclera are untouched, while skin around it is not."""
    patch = eye()
    opening = lids.find(patch)
    disguised = [lids.disguise(patch, opening, np.random.default_rng(seed)) for seed in range(30)]
    middle = lids.PATCH_PX // 2
    core = slice(middle - 2, middle + 3)
    assert all(np.abs(one[core, core] - patch[core, core]).max() < 40 for one in disguised)
    assert sum(np.abs(one - patch).max() > 10 for one in disguised) > 15


def test_targets_fall_from_open_to_closed() -> None:
    """Certain at both ends, unsure and of little weight between."""
    closure = np.array([0.0, 0.35, 0.5, 0.8, 1.0], np.float32)
    eyes = eye_data.Eyes(np.zeros((5, 1, 1), np.uint8), closure, np.arange(5))
    assert eyes.target() == pytest.approx([1, 1, 2 / 3, 0, 0], abs=1e-6)
    assert eyes.weight().tolist() == pytest.approx([1, 1, 0.2, 1, 1])


def test_the_same_fifth_is_held_out_wherever_it_is_asked() -> None:
    """By number alone: a portrait added or missing moves nobody into training."""
    numbers = np.arange(10_000, 20_000)
    held = eye_data.held_out(numbers)
    assert 0.2 < held.mean() < 0.3
    assert (eye_data.held_out(numbers[::-7]) == held[::-7]).all()


def test_a_camera_of_training_gives_a_crop_of_the_model_and_never_the_same() -> None:
    """Whatever the patch: 32 x 32 grey, drawn anew each time, the same for the same seed."""
    patches: npt.NDArray[np.uint8] = np.repeat(eye().astype(np.uint8)[None], 40, axis=0)
    crops = eye_crops.crops(patches, np.random.default_rng(3), eye_crops.HARD)
    assert crops.shape == (40, 32, 32)
    assert len({crop.tobytes() for crop in crops}) == 40
    assert (crops == eye_crops.crops(patches, np.random.default_rng(3), eye_crops.HARD)).all()
