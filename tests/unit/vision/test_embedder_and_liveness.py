"""What happens at the edges of the picture and of arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.vision.embedder import normalised
from pipeline.vision.faces import Box
from pipeline.vision.liveness import cut_out, fuse
from pipeline.vision.models import CropContract

IMAGE = np.random.default_rng(5).integers(0, 255, (90, 120, 3), dtype=np.uint8)


def test_rows_get_length_one_and_unsound_rows_become_nobody() -> None:
    """NaN, infinity and zero give the zero vector: similar to no template, and not an error that ends the batch."""
    rows = np.array([[3, 4], [np.nan, 1], [np.inf, 1], [0, 0], [1e30, 1e30]], np.float32)
    found = normalised(rows)
    assert found[0] == pytest.approx([0.6, 0.8])
    assert (found[1:4] == 0).all()
    assert np.isfinite(found).all()


@settings(deadline=None)
@given(
    x=st.floats(-400, 400),
    y=st.floats(-400, 400),
    w=st.floats(0.01, 500),
    h=st.floats(0.01, 500),
    crop=st.sampled_from([CropContract("shifted", 2.7), CropContract("shifted", 4.0), CropContract("square", 1.5)]),
)
def test_a_box_anywhere_has_a_cut_out(x: float, y: float, w: float, h: float, crop: CropContract) -> None:
    """Inside, over the edge, outside, larger than the picture: always the size that the model takes."""
    assert cut_out(IMAGE, Box(x, y, w, h), crop, 80).shape == (80, 80, 3)


def test_the_shifted_cut_out_stays_inside_the_picture() -> None:
    """A box in the corner, widened 2.7 times, is moved in and not filled up."""
    image = np.full((100, 100, 3), 77, np.uint8)
    assert (cut_out(image, Box(0, 0, 20, 20), CropContract("shifted", 2.7), 80) == 77).all()


def test_the_square_cut_out_mirrors_what_lies_outside() -> None:
    """A face at the left edge: the outside is a mirror image, not black."""
    image = np.full((100, 100, 3), 77, np.uint8)
    assert (cut_out(image, Box(-10, 30, 40, 40), CropContract("square", 1.5), 128) == 77).all()


@pytest.mark.parametrize(
    ("scores", "fused"),
    [
        ({"minifasnet_v2": 1.0, "minifasnet_v1se": 0.5, "minifas_9780": 0.25}, 0.5),
        ({"minifasnet_v2": 1.0, "minifasnet_v1se": 1.0}, None),
        ({"minifas_9780": 1.0}, None),
        ({}, None),
        ({"minifasnet_v2": 1.0, "minifasnet_v1se": 1.0, "minifas_9780": float("nan")}, None),
    ],
)
def test_a_fusion_needs_all_three(scores: dict[str, float], fused: float | None) -> None:
    """Its threshold means nothing for fewer."""
    weights = {"minifasnet_v2": 0.25, "minifasnet_v1se": 0.25, "minifas_9780": 0.5}
    assert fuse(scores, weights) == fused
    assert fuse(scores, {}) is None
