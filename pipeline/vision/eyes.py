"""Are the eyes open? A small model looks at each eye; two thresholds leave a zone in which nobody knows.

An eye's crop is a square of `CROP` eye distances around its landmark, turned with the line of the eyes so that the
head's roll is gone; the person's left eye is mirrored, so that the model only ever sees right eyes. Between the
thresholds, or where a probability is not finite, the answer is None, and None means PIN. What the model was trained on,
and what was never measured, is in docs/eyes.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.vision.bindings import Bound
from pipeline.vision.decode import Image
from pipeline.vision.faces import Points
from pipeline.vision.sessions import Session, Tensor

SIDE_PX = 32
CROP = 0.75
"""Side of a crop in eye distances: brow to cheekbone, and no hair."""

_LEAST_DISTANCE_PX = 2.0
"""Closer landmarks are no pair of eyes: a direction between them would be noise."""


class Eyes:
    """Says of each eye how probably it is open."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def open(self, images: Sequence[Image], landmarks: npt.NDArray[np.float32]) -> Tensor:
        """For the face with `landmarks[i]` (n, 5, 2) in `images[i]`, uint8 (h, w, 3) BGR: P(open) of the person's right
        and left eye, float32 (n, 2); NaN where the landmarks are not those of a pair of eyes.
        """
        usable = [row for row, points in enumerate(landmarks) if _is_pair(points)]
        crops = np.empty((2 * len(usable), SIDE_PX, SIDE_PX), np.uint8)
        for place, row in enumerate(usable):
            crops[2 * place : 2 * place + 2] = eye_crops(images[row], landmarks[row])
        found = np.empty(len(crops), np.float32)

        def fill(bound: Bound, part: slice) -> None:
            # One channel: pixels lie in the same order whether the graph wants them first or last.
            rows = part.stop - part.start
            np.copyto(bound.input[:rows].reshape(rows, SIDE_PX, SIDE_PX), crops[part])

        for part, outputs in self._session.runs(len(crops), self._shape, fill):
            found[part] = outputs[0][: part.stop - part.start, 0]
        result = np.full((len(images), 2), np.nan, np.float32)
        result[usable] = found.reshape(-1, 2)
        return result

    def _shape(self, size: int) -> tuple[int, int, int, int]:
        return (size, SIDE_PX, SIDE_PX, 1) if self._session.pixels else (size, 1, SIDE_PX, SIDE_PX)


def eyes_open(probabilities: tuple[float, float], thresholds: Mapping[str, float]) -> bool | None:
    """True when both eyes reach `thresholds["open"]`, False when either is at most `thresholds["closed"]`; None between
    them and where either probability is not finite.
    """
    if not np.isfinite(probabilities).all():
        return None
    if min(probabilities) <= thresholds["closed"]:
        return False
    return True if min(probabilities) >= thresholds["open"] else None


def eye_crops(image: Image, landmarks: Points) -> npt.NDArray[np.uint8]:
    """What the model sees of a face with `landmarks` (5, 2) in `image`, uint8 (h, w, 3) BGR: its right and its left
    eye, uint8 (2, 32, 32) grey. What lies outside the image repeats its edge. The landmarks must be finite.
    """
    right, left = landmarks[0].astype(np.float64), landmarks[1].astype(np.float64)
    across = left - right
    return np.stack([_crop(image, right, across), _crop(image, left, across, mirrored=True)])


def _crop(
    image: Image, centre: npt.NDArray[np.float64], across: npt.NDArray[np.float64], *, mirrored: bool = False
) -> npt.NDArray[np.uint8]:
    """Drawn at a whole multiple of the size where the image has more pixels, then averaged: nothing is skipped."""
    fine = max(int(np.ceil(np.hypot(*across) * CROP / SIDE_PX)), 1)
    step = across * CROP / (SIDE_PX * fine)
    first = -(SIDE_PX * fine - 1) / 2
    right, down = (-step if mirrored else step), np.array([-step[1], step[0]])
    origin = centre + first * right + first * down
    to_image = np.array([[right[0], down[0], origin[0]], [right[1], down[1], origin[1]]])
    drawn = cv2.warpAffine(
        image,
        to_image,
        (SIDE_PX * fine, SIDE_PX * fine),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    grey = cv2.cvtColor(drawn, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _is_pair(landmarks: Points) -> bool:
    eyes = landmarks[:2]
    return bool(np.isfinite(eyes).all()) and float(np.hypot(*(eyes[1] - eyes[0]))) >= _LEAST_DISTANCE_PX
