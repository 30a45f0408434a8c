"""Eyebrows: short hairs along an arch, painted on the skin."""

from __future__ import annotations

import math

import numpy as np

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.colours import Palette
from loadtests.people.drawn.grid import along, plane, sheet, step, window
from loadtests.people.drawn.truth import Floats


def paint_brows(a: Anatomy, p: Palette, skin: Floats) -> None:
    """Both brows, in place."""
    x, y = sheet()
    e = a.eyes
    density = 0.74 * math.exp(0.16 * a.colour["brow_dense"] + 0.05 * a.masculine - 0.10 * a.old)
    for side in (-1.0, 1.0):
        left, right = sorted((side * (e.brow_x - e.brow_half - 0.1), side * (e.brow_x + e.brow_half + 0.1)))
        rows, columns = window(left, right, e.brow_y - 0.27, e.brow_y + 0.24)
        s = (side * x[:, columns] - e.brow_x) / e.brow_half
        arch = e.brow_arch * (1 - (s - 0.28) ** 2 * 0.8) + e.brow_tilt * s * 0.9
        middle = e.brow_y - arch + 0.35 * e.brow_arch + 0.004 * side * a.bones.skew
        thick = e.brow_thick * along([(-1.3, 0.55), (-0.9, 0.85), (-0.4, 1.0), (0.2, 0.82), (0.8, 0.38), (1.3, 0.1)], s)
        off = (y[rows] - middle) / np.maximum(thick, 0.008)
        body = (1 - step(np.abs(off), 0.45, 1.15)) * (1 - step(s, 0.80, 1.12)) * step(s, -1.12, -0.72)
        hairs = np.clip(0.90 + 0.14 * plane(71, 1.6)[rows, columns] + 0.10 * plane(72, 4.0)[rows, columns], 0.1, 1.2)
        cover = np.clip(body * hairs * density, 0, 0.95)[..., None]
        skin[rows, columns] += cover * (p.brow - skin[rows, columns])
    _between(a, p, skin)


def _between(a: Anatomy, p: Palette, skin: Floats) -> None:
    """A few hairs where dense brows nearly meet."""
    meeting = 0.5 * (a.colour["brow_dense"] + 0.7 * a.masculine - 1.3)
    if meeting <= 0:
        return
    x, y = sheet()
    rows, columns = window(-0.25, 0.25, a.eyes.brow_y - 0.1, a.eyes.brow_y + 0.12)
    cover = np.exp(-(((y[rows] - a.eyes.brow_y - 0.02) / 0.05) ** 2) - (x[:, columns] / 0.14) ** 2) * min(
        0.35 * meeting, 0.5
    )
    skin[rows, columns] += cover[..., None] * (p.brow - skin[rows, columns])
