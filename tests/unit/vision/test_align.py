"""The similarity that brings a face onto the template."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.vision.align import ARCFACE_112, SIDE_PX, align, quality, similarities


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The textbook solution (Umeyama, 1991, equations 39 to 43) by singular values, without reflections."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    left, values, right = np.linalg.svd(covariance)
    sign = np.diag([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ sign @ right
    scale = np.trace(np.diag(values) @ sign) / ((source - source_mean) ** 2).sum(axis=1).mean()
    return np.hstack([scale * rotation, (target_mean - scale * rotation @ source_mean)[:, None]])


@given(
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.2, 20),
    shift=st.tuples(st.floats(-500, 2000), st.floats(-500, 2000)),
    noise=st.integers(0, 1_000_000),
)
def test_it_is_umeyamas_solution(angle: float, scale: float, shift: tuple[float, float], noise: int) -> None:
    """For turned, scaled, shifted and disturbed landmarks, whatever else is in the batch."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    disturbed = ARCFACE_112 + np.random.default_rng(noise).normal(0, 3, ARCFACE_112.shape)
    landmarks = (disturbed @ turn.T + shift).astype(np.float32)
    found = similarities(np.stack([landmarks, ARCFACE_112.astype(np.float32)]))
    expected = umeyama(landmarks.astype(np.float64), ARCFACE_112)
    assert found[0] == pytest.approx(expected, rel=1e-6, abs=1e-4)
    assert found[1] == pytest.approx(np.eye(2, 3), abs=1e-5)


def test_landmarks_in_one_point_are_no_error() -> None:
    """A broken detection aligns to one colour instead of ending the batch."""
    landmarks = np.full((1, 5, 2), 20, np.float32)
    assert np.isfinite(similarities(landmarks)).all()
    aligned = align([np.full((40, 40, 3), 90, np.uint8)], landmarks)
    assert aligned.shape == (1, SIDE_PX, SIDE_PX, 3)
    assert np.isfinite(quality(landmarks[0], aligned[0]).yaw)


def test_a_face_already_on_the_template_stays_as_it_is() -> None:
    """The identity transform keeps every pixel."""
    image = np.random.default_rng(1).integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    aligned = align([image], ARCFACE_112.astype(np.float32)[None])
    assert np.abs(aligned[0].astype(int) - image).max() <= 2


def test_quality_tells_sharp_from_blurred_dark_from_bright_and_frontal_from_turned() -> None:
    """Each figure moves with what it names."""
    image = np.random.default_rng(1).integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    points = ARCFACE_112.astype(np.float32)
    seen = quality(points, image)
    blurred = quality(points, np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8))
    dark = quality(points, image // 4)
    turned = points.copy()
    turned[2, 0] += 15
    assert seen.eye_distance_px == pytest.approx(35.24, abs=0.01)
    assert blurred.sharpness < seen.sharpness / 10
    assert dark.brightness == pytest.approx(seen.brightness / 4, abs=0.01)
    assert abs(seen.yaw) < 0.05
    assert quality(turned, image).yaw == pytest.approx(0.43, abs=0.03)
