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
from pipeline.vision.faces import Points, Quality

SIDE_PX = 112

ARCFACE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
"""Where the five landmarks lie in the aligned picture (Deng et al., ArcFace, 2019), pixels of 112 x 112."""

_TEMPLATE = ARCFACE_112[:, 0] + 1j * ARCFACE_112[:, 1]


def similarities(landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The transforms that bring `landmarks`, (n, 5, 2) in pixels, onto the template: float64 (n, 2, 3) as OpenCV takes
    them.

    Landmarks that coincide have no scale: their transform is zero, and the aligned face is one colour.
    """
    points = landmarks[..., 0].astype(np.float64) + 1j * landmarks[..., 1].astype(np.float64)
    middle = points.mean(axis=1, keepdims=True)
    centred = points - middle
    spread = np.maximum((np.abs(centred) ** 2).sum(axis=1), 1e-9)
    turn = (centred.conj() * (_TEMPLATE - _TEMPLATE.mean())).sum(axis=1) / spread
    shift = _TEMPLATE.mean() - turn * middle[:, 0]
    return np.stack(
        [
            np.stack([turn.real, -turn.imag, shift.real], axis=1),
            np.stack([turn.imag, turn.real, shift.imag], axis=1),
        ],
        axis=1,
    )


def align(images: Sequence[Image], landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """`landmarks` (n, 5, 2) of one face in each of `images` (n of them): aligned faces, uint8 (n, 112, 112, 3) BGR."""
    out = np.empty((len(images), SIDE_PX, SIDE_PX, 3), np.uint8)
    for image, transform, target in zip(images, similarities(landmarks), out, strict=True):
        cv2.warpAffine(
            image, transform, (SIDE_PX, SIDE_PX), dst=target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
    return out


def quality(landmarks: Points, aligned: Image) -> Quality:
    """How well a face was seen, from its landmarks in the image and its aligned picture."""
    right_eye, left_eye, nose = landmarks[:3].astype(np.float64)
    across = left_eye - right_eye
    distance = float(np.hypot(*across))
    offset = float((nose - (right_eye + left_eye) / 2) @ across) / max(distance, 1e-6) ** 2
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY)
    deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1]
    return Quality(
        eye_distance_px=distance,
        sharpness=float(deviation[0, 0]) ** 2,
        brightness=float(cv2.mean(grey)[0]) / 255.0,
        yaw=offset,
    )
