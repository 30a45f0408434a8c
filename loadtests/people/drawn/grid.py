"""The sheet that a head's textures are painted on: a frontal picture of the head, and small tools for painting on it.

Full resolution is `HEIGHT` x `WIDTH` pixels, `SCALE` of them to the unit of `anatomy`; relief and light use half of it.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.drawn.truth import Floats

SCALE = 88.0
WIDTH, HEIGHT = 304, 384
MIDDLE_X, EYE_ROW = 152.0, 186.0


@lru_cache(maxsize=4)
def sheet(divide: int = 1) -> tuple[Floats, Floats]:
    """Each pixel's place in units: x as float32 (1, w) and y as float32 (h, 1), at 1 / `divide` of full resolution."""
    columns = (np.arange(WIDTH // divide, dtype=np.float32) + 0.5) * divide - 0.5
    rows = (np.arange(HEIGHT // divide, dtype=np.float32) + 0.5) * divide - 0.5
    return ((columns - MIDDLE_X) / SCALE)[None, :], ((rows - EYE_ROW) / SCALE)[:, None]


def window(x0: float, x1: float, y0: float, y1: float) -> tuple[slice, slice]:
    """The rows and columns of full resolution that hold this rectangle of units, cut at the sheet's edge."""
    left, right = (round(MIDDLE_X + x * SCALE) for x in (x0, x1))
    top, bottom = (round(EYE_ROW + y * SCALE) for y in (y0, y1))
    return slice(max(top, 0), min(bottom, HEIGHT)), slice(max(left, 0), min(right, WIDTH))


def step(value: npt.NDArray[np.floating], low: float = 0.0, high: float = 1.0) -> Floats:
    """Smoothly 0 below `low`, 1 above `high`."""
    # In place: half of the time would go into memory for what is in between.
    t = value - np.float32(low)
    t *= np.float32(1.0 / (high - low))
    np.minimum(np.maximum(t, 0, out=t), 1, out=t)
    square = t * t
    t *= -2
    t += 3
    square *= t
    return np.asarray(square, np.float32)


def bump(x: Floats, y: Floats, at: tuple[float, float], radii: tuple[float, float]) -> Floats:
    """A Gaussian hill of height 1; axis-aligned, so it is an outer product and costs one multiplication a pixel."""
    across = np.exp(-(((x - at[0]) / radii[0]) ** 2))
    down = np.exp(-(((y - at[1]) / radii[1]) ** 2))
    return np.asarray(down * across, np.float32)


def thrice(field: Floats) -> Floats:
    """`field` (h, w) for each of three channels, (h, w, 3): NumPy multiplies whole arrays ten times as fast as it
    stretches the last axis."""
    return np.asarray(cv2.merge([field, field, field]))


def curve(points: list[tuple[float, float]], samples: int = 12) -> Floats:
    """A Catmull-Rom spline through `points`, float32 (n, 2)."""
    p = np.array([points[0], *points, points[-1]], np.float64)
    t = np.linspace(0, 1, samples, endpoint=False)[:, None, None]
    a, b, c, d = (p[k : len(p) - 3 + k][None] for k in range(4))
    dense = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.vstack([dense.transpose(1, 0, 2).reshape(-1, 2), p[-1:]]).astype(np.float32)


def along(points: list[tuple[float, float]], at: Floats) -> Floats:
    """The spline through (position, value) pairs, positions rising, read at `at`."""
    dense = curve(points)
    return np.interp(at, dense[:, 0], dense[:, 1]).astype(np.float32)


@lru_cache(maxsize=32)
def plane(number: int, cell_px: float, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Floats:
    """A fixed field of smooth noise, mean 0 and deviation 1, with grains of about `cell_px`; `number` chooses one."""
    coarse = (max(2, int(size[0] / cell_px) + 2), max(2, int(size[1] / cell_px) + 2))
    drawn = np.random.default_rng([41, number]).standard_normal(coarse).astype(np.float32)
    grown = cv2.resize(drawn, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((grown - grown.mean()) / grown.std(), np.float32)


@lru_cache(maxsize=4)
def strands(number: int) -> Floats:
    """Noise of long thin grains, float32 (512, 512), deviation 1, that wraps: hair combed along the rows' axis 0."""
    drawn = np.random.default_rng([43, number]).standard_normal((512, 512)).astype(np.float32)
    rows = np.fft.fftfreq(512)[:, None]
    columns = np.fft.fftfreq(512)[None, :]
    keep = np.exp(-((rows / 0.006) ** 2)) * (np.exp(-((columns / 0.10) ** 2)) + 0.6 * np.exp(-((columns / 0.02) ** 2)))
    combed = np.fft.ifft2(np.fft.fft2(drawn) * keep).real
    return np.asarray(combed / combed.std(), np.float32)


def draw_line(canvas: Floats, points: list[tuple[float, float]], strength: float) -> None:
    """A smooth line, two pixels wide, through `points` in units on one channel of the full sheet, in place."""
    if strength <= 0.02:
        return
    dense = curve(points, 8) * SCALE + np.array([MIDDLE_X, EYE_ROW], np.float32)
    at = np.round(dense * 8).astype(np.int32)
    cv2.polylines(canvas, [at], isClosed=False, color=float(strength), thickness=2, lineType=cv2.LINE_AA, shift=3)
