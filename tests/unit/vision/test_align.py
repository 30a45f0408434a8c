"""The similarity that brings a face onto the template."""

from __future__ import annotations

from dataclasses import astuple

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.vision.align import ARCFACE_112, SIDE_PX, align, qualities, similarities
from pipeline.vision.faces import Quality


def quality(points: np.ndarray, face: np.ndarray) -> Quality:
    """Of one face."""
    return qualities(points[None], face[None])[0]


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
    assert np.isfinite(astuple(qualities(landmarks, aligned)[0])).all()


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


@pytest.mark.parametrize(
    ("moved", "field", "expected"),
    [
        ({2: (0, 8)}, "pitch", 0.2),
        ({2: (0, -8)}, "pitch", -0.2),
        ({2: (-15, 0)}, "yaw", -0.43),
        ({0: (0, -10), 1: (0, 10)}, "roll", 29.34),
        ({}, "pitch", 0.0),
        ({}, "roll", -0.3),
    ],
)
def test_pose_moves_with_the_landmarks(moved: dict[int, tuple[int, int]], field: str, expected: float) -> None:
    """Nose down is looking down, nose aside is turned, eyes aslant are a tilted head; the template is frontal."""
    points = ARCFACE_112.astype(np.float32)
    for index, by in moved.items():
        points[index] += by
    seen = quality(points, np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8))
    assert getattr(seen, field) == pytest.approx(expected, abs=0.02)


@given(angle=st.floats(-179, 179), scale=st.floats(0.3, 10))
def test_yaw_and_pitch_do_not_depend_on_roll_and_size(angle: float, scale: float) -> None:
    """A turned and scaled face has the same yaw and pitch, and its roll grows by the turn."""
    grey = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
    points = ARCFACE_112.astype(np.float32) + np.array([[0, 0], [0, 0], [6, 5], [0, 0], [0, 0]], np.float32)
    turn = scale * np.exp(1j * np.radians(angle)) * (points[:, 0] + 1j * points[:, 1])
    upright, turned = (quality(p, grey) for p in (points, np.stack([turn.real, turn.imag], axis=1).astype(np.float32)))
    assert (turned.yaw, turned.pitch) == pytest.approx((upright.yaw, upright.pitch), abs=1e-3)
    assert (turned.roll - upright.roll - angle + 180) % 360 - 180 == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(("luma", "exposure"), [(0, 1.0), (5, 1.0), (6, 0.0), (249, 0.0), (250, 1.0), (255, 1.0)])
def test_exposure_is_the_share_of_clipped_pixels(luma: int, exposure: float) -> None:
    """Too dark and too bright alike; half a face of it is half."""
    face = np.full((SIDE_PX, SIDE_PX, 3), luma, np.uint8)
    points = ARCFACE_112.astype(np.float32)
    assert quality(points, face).exposure == exposure
    face[: SIDE_PX // 2] = 128
    assert quality(points, face).exposure == exposure / 2
