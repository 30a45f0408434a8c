"""Shoulders, clothes and the long hair that lies behind them: drawn first, they follow the neck."""

from __future__ import annotations

import cv2
import numpy as np

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.colours import Palette
from loadtests.people.drawn.grid import curve
from loadtests.people.drawn.hair import Hair
from loadtests.people.drawn.light import tint
from loadtests.people.drawn.pose import Placement
from loadtests.people.drawn.truth import Pixels
from loadtests.people.drawn.view import Light, View

_SHIFT = 3


def draw_body(a: Anatomy, p: Palette, hair: Hair, placement: Placement, view: View, canvas: Pixels) -> None:
    """Hair behind the neck, shoulders, clothes."""
    base = placement.project(np.array([[0.0, 2.0, -0.3]]))[0]
    draw = np.random.default_rng([91, view.outfit])
    wide = 1 + 0.06 * a.masculine + 0.04 * float(a.bones.cheek_full)
    cloth = draw.uniform(18, 215, 3) * (0.5 + 0.5 * draw.random())
    power = brightness(view.light)
    if hair.length > 0.9:
        end = min(1.1 * (hair.length - 0.9), 1.3)
        points = [(-0.9, -1.2), (-1.18, -0.3), (-1.12, 0.3 + end), (0.0, 0.2 + end), (1.12, 0.3 + end), (1.18, -0.3), (0.9, -1.2)]
        _fill(canvas, placement, base, points, p.hair * 0.7 * power)
    skin = p.skin * 0.80 * power
    _fill(canvas, placement, base, [(-0.62, -0.4), (-0.75, 0.02), (-1.6, 0.5), (1.6, 0.5), (0.75, 0.02), (0.62, -0.4)], skin)
    neckline = 0.10 + 0.55 * draw.random() ** 2
    left = [(-0.70, -0.03), (-1.3, 0.16), (-2.05 * wide, 0.42), (-2.5 * wide, 0.95), (-2.7 * wide, 2.2), (-2.8 * wide, 4.5)]
    shirt = [*left, *((-x, y) for x, y in reversed(left)), (0.42, neckline), (0.0, neckline + 0.12), (-0.42, neckline)]
    _fill(canvas, placement, base, shirt, cloth * power)
    collar = [(-0.70, -0.03), (-0.42, neckline), (0.0, neckline + 0.12), (0.42, neckline), (0.70, -0.03)]
    _line(canvas, placement, base, collar, cloth * 0.62 * power, max(1, round(0.045 * placement.scale)))
    for side in (-1.0, 1.0):
        fold = [(side * 1.75 * wide, 1.1), (side * 1.62 * wide, 1.9), (side * 1.7 * wide, 3.5)]
        _line(canvas, placement, base, fold, cloth * 0.80 * power, max(1, round(0.06 * placement.scale)))


def brightness(light: Light) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What the light makes of an upright surface: gains of blue, green, red."""
    return np.asarray((light.level * (0.45 + 0.42 * light.ambient)) ** 0.62 * tint(light))


def _where(placement: Placement, base: np.ndarray[tuple[int], np.dtype[np.float64]], points: list[tuple[float, float]]) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    dense = curve(points, 5) * placement.scale + base
    return np.round(dense * (1 << _SHIFT)).astype(np.int32)


def _fill(canvas: Pixels, placement: Placement, base: np.ndarray[tuple[int], np.dtype[np.float64]], points: list[tuple[float, float]], colour: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> None:
    cv2.fillPoly(canvas, [_where(placement, base, points)], _bgr(colour), cv2.LINE_AA, _SHIFT)


def _line(canvas: Pixels, placement: Placement, base: np.ndarray[tuple[int], np.dtype[np.float64]], points: list[tuple[float, float]], colour: np.ndarray[tuple[int, ...], np.dtype[np.floating]], width: int) -> None:
    cv2.polylines(canvas, [_where(placement, base, points)], False, _bgr(colour), width, cv2.LINE_AA, _SHIFT)


def _bgr(colour: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> tuple[int, int, int]:
    blue, green, red = (int(min(max(value, 0), 255)) for value in colour)
    return blue, green, red
