"""A face turned upright and scaled onto the template that embedders were trained on.

The least-squares similarity (rotation, uniform scale, shift) from five landmarks to the ArcFace template (Umeyama,
1991). In the plane it is a complex number: with z and w the centred landmarks and template, a = sum(conj(z) w) / sum
|z|^2 is its rotation and scale. That is Umeyama's solution where reflections are excluded, without a singular value
decomposition, for all faces at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.vision.decode import Image
from pipeline.vision.faces import Quality

SIDE_PX = 112

ARCFACE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
"""Where the five landmarks lie in the aligned picture (Deng et al., ArcFace, 2019), pixels of 112 x 112."""

_DARK, _BRIGHT = 5, 250
_EYES, _NOSE, _MOUTH = ARCFACE_112[:2, 1].mean(), ARCFACE_112[2, 1], ARCFACE_112[3:, 1].mean()
_FLAT = 1e-3
"""Least height of a mouth below the eyes, in eye distances, that a share of it means anything for."""
_MOST_ROWS = 1 << 16
_NOSE_SHARE = (_NOSE - _EYES) / (_MOUTH - _EYES)

_TEMPLATE = ARCFACE_112[:, 0] + 1j * ARCFACE_112[:, 1]
_MIDDLE = _TEMPLATE.mean()
_CENTRED = _TEMPLATE - _MIDDLE


def similarities(landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The transforms that bring `landmarks`, (n, 5, 2) in pixels, onto the template: float64 (n, 2, 3) as OpenCV takes
    them.

    Landmarks that coincide have no scale: their transform is zero, and the aligned face is one colour.
    """
    points = _plane(landmarks)
    middle = points.mean(axis=1, keepdims=True)
    centred = points - middle
    spread = np.maximum((centred.real**2 + centred.imag**2).sum(axis=1), 1e-9)
    turn = centred.conj() @ _CENTRED / spread
    shift = _MIDDLE - turn * middle[:, 0]
    found = np.empty((len(points), 2, 3), np.float64)
    found[:, 0, 0] = found[:, 1, 1] = turn.real
    found[:, 1, 0], found[:, 0, 2], found[:, 1, 2] = turn.imag, shift.real, shift.imag
    np.negative(turn.imag, out=found[:, 0, 1])
    return found


def align(images: Sequence[Image], landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """`landmarks` (n, 5, 2) of one face in each of `images` (n of them): aligned faces, uint8 (n, 112, 112, 3) BGR."""
    out = np.empty((len(images), SIDE_PX, SIDE_PX, 3), np.uint8)
    for image, rows, transform, target in zip(images, _rows(landmarks), similarities(landmarks), out, strict=True):
        # Read in order first: the processor fetches ahead then, and the warp, which jumps, finds them in its cache.
        image[slice(*rows)].max(initial=0)
        cv2.warpAffine(image, transform, (SIDE_PX, SIDE_PX), target, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    return out


def _rows(landmarks: npt.NDArray[np.float32]) -> list[list[int]]:
    """First and last row that an upright face of these landmarks takes on the template, in the image or beside it."""
    y = landmarks[..., 1]
    top, bottom = y.min(axis=1), y.max(axis=1)
    high = (bottom - top) / (_MOUTH - _EYES)
    span = np.stack([top - _EYES * high, bottom + (SIDE_PX - _MOUTH) * high], axis=1)
    return np.clip(span, 0, _MOST_ROWS).astype(np.int64).tolist()  # type: ignore[no-any-return]


def qualities(landmarks: npt.NDArray[np.float32], aligned: npt.NDArray[np.uint8]) -> list[Quality]:
    """How well each face was seen: `landmarks` (n, 5, 2) in the image, `aligned` uint8 (n, 112, 112, 3) BGR."""
    points = _plane(landmarks)
    across, middle = points[:, 1] - points[:, 0], (points[:, 0] + points[:, 1]) / 2
    distance = np.abs(across)
    # Nose and mouth as the eyes see them: real along their line, imaginary down the face, in eye distances.
    turned = (points[:, 2:] - middle[:, None]) * (across.conj() / np.maximum(distance, 1e-6) ** 2)[:, None]
    nose, mouth = turned[:, 0], (turned[:, 1].imag + turned[:, 2].imag) / 2
    pitch = nose.imag / np.where(np.abs(mouth) < _FLAT, _FLAT, mouth) - _NOSE_SHARE
    rows = np.stack([distance, nose.real, pitch, np.degrees(np.angle(across))], axis=1).tolist()
    found = []
    for face, (eyes_px, turn, nod, tilt) in zip(aligned, rows, strict=True):
        sharpness, brightness, exposure = _light(face)
        found.append(
            Quality(
                eye_distance_px=eyes_px,
                sharpness=sharpness,
                brightness=brightness,
                exposure=exposure,
                yaw=turn,
                pitch=nod,
                roll=tilt,
            )
        )
    return found


def _light(aligned: Image) -> tuple[float, float, float]:
    """Sharpness, brightness and exposure of one aligned face."""
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY)
    deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1]
    clipped = grey.size - cv2.countNonZero(cv2.inRange(grey, _DARK + 1, _BRIGHT - 1))
    return float(deviation[0, 0]) ** 2, float(cv2.mean(grey)[0]) / 255.0, clipped / grey.size


def _plane(landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.complex128]:
    """(n, 5, 2) in pixels as complex numbers (n, 5)."""
    return np.ascontiguousarray(landmarks, np.float64).view(np.complex128)[..., 0]
