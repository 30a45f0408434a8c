"""What a sensor adds: shot and read noise, fresh in each frame, at the cost of a few saturating operations.

Read noise is the difference of two planes of half-normal values, cut at two places drawn anew for each frame; shot
noise (which grows with light) a plane of gains near one, cut at a third. The places alone make more than 10^13
different frames, and noise drawn pixel by pixel would cost more than the whole scene.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from loadtests.people.drawn.truth import Pixels

_ROWS, _COLUMNS = 840, 1440
READ_LEVELS = 2.0
SHOT_SHARE = 0.022
GAINS = (0.5, 1.0, 1.6, 2.4, 3.5)
_HALF_NORMAL = 0.6028 * 2**0.5
"""Deviation of the difference of two half-normal values of deviation 1."""


@lru_cache(maxsize=len(GAINS))
def _planes(gain: float) -> tuple[Pixels, Pixels, Pixels]:
    """What read noise adds and takes, and the gains of shot noise (128 is one), for this gain."""
    draw = np.random.default_rng([61, round(10 * gain)])
    shape = (_ROWS, _COLUMNS, 3)

    def half() -> Pixels:
        grey = np.abs(draw.standard_normal(shape, np.float32)) * np.float32(READ_LEVELS * gain / _HALF_NORMAL)
        return (grey + draw.random(shape, np.float32)).astype(np.uint8)

    luma = draw.standard_normal((_ROWS, _COLUMNS, 1), np.float32)
    colour = draw.standard_normal(shape, np.float32)
    shot = 128 * (1 + np.float32(SHOT_SHARE * gain) * (0.8 * luma + 0.6 * colour))
    return half(), half(), np.clip(np.round(shot), 0, 255).astype(np.uint8)


class Sensor:
    """A camera's sensor; `gain` about 1 in good light, 3 in the dark (the nearest of `GAINS` is used). Each call of
    `expose` uses noise never used before; equal seeds and calls give equal noise.
    """

    def __init__(self, seed: int, *, gain: float = 1.0) -> None:
        self._gain = gain
        self._draw = np.random.default_rng([67, seed])

    def expose(self, canvas: Pixels) -> Pixels:
        """`canvas` (h, w, 3), at most 1280 x 720, with noise, changed in place and returned."""
        return expose(canvas, self._draw, self._gain)


def expose(canvas: Pixels, draw: np.random.Generator, gain: float = 1.0) -> Pixels:
    """As `Sensor.expose`, with the places taken from `draw`."""
    height, width = canvas.shape[:2]
    more, less, shot = _planes(min(GAINS, key=lambda known: abs(known - gain)))
    tops = draw.integers(0, _ROWS - height + 1, 3)
    lefts = draw.integers(0, _COLUMNS - width + 1, 3)
    cuts = [
        plane[top : top + height, left : left + width]
        for plane, top, left in zip((shot, more, less), tops, lefts, strict=True)
    ]
    cv2.multiply(canvas, cuts[0], dst=canvas, scale=1 / 128)
    cv2.add(canvas, cuts[1], dst=canvas)
    cv2.subtract(canvas, cuts[2], dst=canvas)
    return canvas
