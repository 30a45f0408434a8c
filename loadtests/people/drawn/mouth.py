"""The mouth, painted for each frame: lips in rest, smile and opening, teeth and the dark behind them."""

from __future__ import annotations

import numpy as np

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.colours import Palette
from loadtests.people.drawn.grid import SCALE, plane, sheet, step, window
from loadtests.people.drawn.truth import Floats, Pixels

KEPT = 8
"""Patches that are kept."""

_PX = np.float32(1 / SCALE)
_INSIDE = np.array([34, 26, 58], np.float32)
_TEETH = np.array([186, 204, 212], np.float32)


class MouthPainter:
    """Prepared for one person; `skin` is the painted sheet."""

    def __init__(self, a: Anatomy, p: Palette, skin: Floats) -> None:
        self._form = a.mouth
        self._lip = p.lip
        m = a.mouth
        self.rows, self.columns = window(-1.25 * m.half_width - 0.1, 1.25 * m.half_width + 0.1, m.y - 0.30, m.y + 0.55)
        x, y = sheet()
        self._x, self._y = x[:, self.columns] - np.float32(0.5 * a.bones.skew), y[self.rows]
        self._skin = skin[self.rows, self.columns].copy()
        self._kept: dict[tuple[int, int], Pixels] = {}
        self._grain = 1 + 0.05 * plane(61, 3.0)[self.rows, self.columns]

    def corners(self, smile: float, opening: float) -> tuple[float, float]:
        """Half the distance between the corners of the lips, and their height on the face, in units."""
        m = self._form
        return m.half_width * (1 + 0.15 * smile - 0.07 * opening), m.y - m.corners - 0.055 * smile + 0.06 * opening

    def patch(self, smile: float, opening: float) -> Pixels:
        """As `paint`, for the nearest of some steps of each value; the last ones are kept."""
        key = (round(smile * 16), round(opening * 32))
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            found = self._kept[key] = self.paint(key[0] / 16, key[1] / 32)
        return found

    def paint(self, smile: float, opening: float) -> Pixels:
        """The patch, uint8 (h, w, 3), at `rows`, `columns` of the sheet. `smile` -1..1, `opening` 0..1."""
        m = self._form
        half, corner_y = self.corners(smile, opening)
        s = self._x / np.float32(half)
        inner = np.clip(1 - s * s, 0, 1)
        line = np.float32(m.y) + np.float32(corner_y - m.y) * np.minimum(s * s, 1.2) + 0.012 * np.cos(9 * s) * inner
        gap = np.float32(0.21 * opening + 0.07 * max(smile - 0.45, 0)) * np.power(inner, 0.7)
        upper_edge, lower_edge = line - 0.22 * gap, line + 0.78 * gap
        thin = 1 - 0.22 * max(smile, 0)
        bow = np.float32(m.bow) * (np.exp(-(((np.abs(s) - 0.26) / 0.20) ** 2)) - 0.9 * np.exp(-((s / 0.13) ** 2)))
        top = upper_edge - np.float32(m.upper * thin) * np.power(inner, 0.62) - bow * inner
        bottom = lower_edge + np.float32(m.lower * thin) * np.power(inner, 0.62)
        out = self._skin.copy()
        y = self._y
        self._lips(out, s, inner, (top, upper_edge, lower_edge, bottom))
        if float(gap.max()) > 0.012:
            hole = np.clip((y - upper_edge) / _PX + 0.5, 0, 1) * np.clip((lower_edge - y) / _PX + 0.5, 0, 1)
            teeth = np.clip((upper_edge + np.minimum(0.075, 0.62 * gap) - y) / _PX + 0.5, 0, 1)
            teeth = teeth * (0.93 - 0.45 * np.clip(s * s, 0, 1)) * (0.93 + 0.07 * np.cos(38 * s))
            out += hole[..., None] * (_INSIDE + teeth[..., None] * (_TEETH - _INSIDE) - out)
        seam = np.exp(-(((y - line) / np.float32(0.014)) ** 2)) * step(inner, 0.0, 0.25) * (gap < 0.03)
        seam = np.maximum(seam, 0.8 * _dot(s, y - line))
        out *= 1 - np.float32(0.60) * seam[..., None]
        return np.clip(out, 0, 255).astype(np.uint8)

    def _lips(self, out: Floats, s: Floats, inner: Floats, edges: tuple[Floats, Floats, Floats, Floats]) -> None:
        top, upper_edge, lower_edge, bottom = edges
        y, soft = self._y, np.float32(1.6) * _PX
        upper = np.clip((y - top) / soft + 0.5, 0, 1) * np.clip((upper_edge - y) / _PX + 0.5, 0, 1)
        lower = np.clip((y - lower_edge) / _PX + 0.5, 0, 1) * np.clip((bottom - y) / soft + 0.5, 0, 1)
        rise = np.clip((y - top) / np.maximum(upper_edge - top, 0.02), 0, 1)
        fall = np.clip((y - lower_edge) / np.maximum(bottom - lower_edge, 0.02), 0, 1)
        tone_upper = (0.96 - 0.20 * rise) * self._grain
        shine = 0.16 * np.exp(-(((fall - 0.42) / 0.22) ** 2)) * np.exp(-((s / 0.55) ** 2))
        tone_lower = (1.02 - 0.16 * np.abs(fall - 0.35) + shine) * self._grain
        cover = (upper + lower) * step(inner, 0.0, 0.12) * np.float32(0.94)
        tone = np.where(upper > lower, tone_upper, tone_lower)
        out += cover[..., None] * (tone[..., None] * self._lip - out)


def _dot(s: Floats, off: Floats) -> Floats:
    """The small shadows at the corners of the lips."""
    return np.asarray(np.exp(-(((np.abs(s) - 1.0) / 0.09) ** 2) - (off / 0.022) ** 2), np.float32)
