"""What a camera makes of a drawn person: a picture of a fitting size, through JPEG, with what is true about it.

Which person is used for what is decided here, by number, so that nobody is trained on whom somebody is judged:
numbers from `TRAINING` are trained on, from `EVALUATION` judged, and smaller ones are the demo's.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.drawn import Painter, Truth, View, sample

EVALUATION = 500_000
TRAINING = 1_000_000

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

MARGIN = 1.9
"""Side of a picture of one face, in widths of its box: room for the hair, the shoulders and a wrong box."""


def through_jpeg(pixels: Pixels, quality: int) -> Pixels:
    """`pixels` (h, w, 3) BGR as a receiver sees them that were sent at this JPEG quality."""
    sent = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(sent, cv2.IMREAD_COLOR), np.uint8)


def picture(painter: Painter, view: View, rng: np.random.Generator) -> tuple[Pixels, Truth]:
    """One picture that `view` fills, with background, noise and JPEG of quality 60 to 95, and what is true about it."""
    side = max(96, round(view.face_px * MARGIN))
    middle = (side / 2 + rng.uniform(-0.06, 0.06) * side, side / 2 + rng.uniform(-0.06, 0.06) * side)
    pixels, truth = sample(painter, rng, view=dataclasses.replace(view, centre=middle), size=(side, side))
    return through_jpeg(pixels, int(rng.integers(60, 96))), truth


def as_found(landmarks: Floats, rng: np.random.Generator, *, spread: float) -> Floats:
    """True `landmarks` (5, 2) as a detector finds them: each off by a normal error of `spread` eye distances, and all
    of them together by half as much, because a detector's errors agree.
    """
    distance = float(np.hypot(*(landmarks[1] - landmarks[0])))
    errors = rng.normal(0.0, spread * distance, (5, 2)) + rng.normal(0.0, spread * distance / 2, (1, 2))
    return (landmarks + errors).astype(np.float32)
