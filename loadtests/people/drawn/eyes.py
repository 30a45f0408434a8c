"""Eyes and lids, painted for each frame: the upper lid's skin comes down over the eyeball, its lashes with it.

One `EyePainter` for each eye prepares what does not move; `paint` draws any opening and gaze in some hundred
microseconds on a patch of the sheet.
"""

from __future__ import annotations

import math

import numpy as np

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.colours import Palette
from loadtests.people.drawn.grid import SCALE, plane, sheet, step, window
from loadtests.people.drawn.truth import Floats, Pixels

KEPT = 12
"""Patches that are kept per eye."""

_PX = np.float32(1 / SCALE)
_LASH = np.array([24, 22, 28], np.float32)
_SCLERA = np.array([214, 219, 226], np.float32)


class EyePainter:
    """`side` -1: the eye at the left of the picture (the person's right), +1 the other. `skin` is the painted sheet."""

    def __init__(self, a: Anatomy, p: Palette, side: float, skin: Floats) -> None:
        e = a.eyes
        self._side, self._form = side, e
        self._iris_colour = p.iris
        reach_x, reach_y = e.half_width + 0.13, e.height + 0.13
        self.rows, self.columns = window(side * e.x - reach_x, side * e.x + reach_x, -reach_y - 0.02, reach_y)
        x, y = sheet()
        across = side * x[:, self.columns] - e.x
        down = y[self.rows]
        cos, sin = math.cos(e.tilt), math.sin(e.tilt)
        self._u = np.asarray(across * cos - down * sin, np.float32)
        self._v = np.asarray(across * sin + down * cos, np.float32)
        s = np.clip(self._u / e.half_width, -1.0, 1.0)
        self._s = s
        beyond = np.maximum(np.abs(self._u) - e.half_width, 0)
        arc = np.power(np.clip(1 - (s - e.peak * (1 - s * s)) ** 2, 0, 1), 0.72)
        arc = arc * (1 - 0.60 * e.hood * step(-s, 0.10, 0.90))
        self._upper = np.asarray(-0.56 * e.height * arc, np.float32)
        self._lower = np.asarray(
            0.40 * e.height * np.power(np.clip(1 - (s - 0.18 * (1 - s * s)) ** 2, 0, 1), 0.9), np.float32
        )
        self._shut = np.asarray(0.26 * e.height * (1 - s * s), np.float32)
        self._ends = np.asarray(np.exp(-((beyond / 0.035) ** 2)), np.float32)
        self._corner = np.asarray(step(np.abs(s), 0.62, 1.0), np.float32)
        self._ridge = np.asarray((1 - 0.75 * s * s), np.float32)
        self._fade = _border_fade(self._v.shape)
        self._skin = skin[self.rows, self.columns].copy()
        c = a.colour
        made_up = max(0.0, -0.8 * a.masculine + 0.5 * c["lashes"])
        self._lash = (0.016 * math.exp(0.42 * c["lashes"] - 0.12 * a.masculine), min(0.62 + 0.14 * made_up, 0.95))
        self._shadow = np.array([0.10, 0.16, 0.14], np.float32) * min(0.35 + 0.55 * made_up, 1.3)
        self._crease = 0.42 * (1 - 0.55 * e.hood)
        self._kept: dict[tuple[int, ...], Pixels] = {}
        self._rays = plane(51, 2.0)[self.rows, self.columns]

    def patch(self, opening: float, gaze: tuple[float, float], droop: float = 0.0) -> Pixels:
        """As `paint`, for the nearest of some steps of each value; the last ones are kept: eyes mostly rest."""
        key = (round(opening * 64), round(gaze[0] * 16), round(gaze[1] * 16), round(droop * 16))
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            found = self._kept[key] = self.paint(key[0] / 64, (key[1] / 16, key[2] / 16), key[3] / 16)
        return found

    def paint(self, opening: float, gaze: tuple[float, float], droop: float = 0.0) -> Pixels:
        """The patch, uint8 (h, w, 3), at `rows`, `columns` of the sheet. `opening` 0 closed .. 1 open; `gaze` in the
        picture; `droop` 0..1 lets an old lid hang.
        """
        opening = min(max(opening, 0.0), 1.0)
        lid = opening * self._upper * np.float32(1 - 0.30 * droop) + (1 - opening) * self._shut
        out = self._lids(lid, opening)
        lower = self._lower * np.float32(0.86 + 0.14 * opening)
        seen = np.clip((self._v - lid) / _PX + 0.5, 0, 1) * np.clip((lower - self._v) / _PX + 0.5, 0, 1) * self._ends
        if opening > 0.02:
            ball = self._eyeball(lid, gaze)
            out += seen[..., None] * (ball - out)
        thick, strength = self._lash
        off = self._v - lid
        line = np.exp(-((off / np.float32(thick)) ** 2))
        hang = np.exp(-np.maximum(off, 0) / np.float32(0.030)) * (off > 0) * np.float32(0.50 * (1 - opening))
        lashes = np.maximum(line * np.float32(strength), hang * np.clip(0.7 + 0.5 * self._rays, 0, 1)) * self._ends
        rim = np.exp(-(((self._v - lower) / np.float32(0.011)) ** 2)) * self._ends * np.float32(0.30 * opening)
        dark = np.maximum(lashes, rim) * (0.75 + 0.25 * step(self._s, -1.0, 0.2))
        out += dark[..., None] * (_LASH - out)
        out = self._skin + self._fade[..., None] * (out - self._skin)
        return np.clip(out, 0, 255).astype(np.uint8)

    def _lids(self, lid: Floats, opening: float) -> Floats:
        """Skin around: crease above, the moving lid's own round shading between crease and lashes."""
        e = self._form
        crease = (
            self._upper - np.float32(e.fold * (0.6 + 0.4 * opening)) * self._ridge + np.float32(0.02 * (1 - opening))
        )
        below = step(self._v - crease, -0.008, 0.016) * self._ends
        covered = below * (self._v < lid + 0.004)
        mark = (
            np.exp(-(((self._v - crease) / np.float32(0.013)) ** 2))
            * self._ends
            * np.float32(self._crease * (0.45 + 0.55 * opening))
        )
        depth = (self._v - crease) / np.maximum(lid - crease, 0.02)
        round_ = 1.06 - 0.40 * (depth - 0.42) ** 2 - 0.10 * self._s * self._s
        tone = 1 + covered * (round_ - 1)
        tone = tone * (1 - mark)
        out = self._skin * tone[..., None]
        out *= 1 - covered[..., None] * self._shadow
        return np.asarray(out, np.float32)

    def _eyeball(self, lid: Floats, gaze: tuple[float, float]) -> Floats:
        e = self._form
        at_u = self._side * gaze[0] * 0.095
        at_v = -0.10 * e.height + gaze[1] * 0.045
        radius = np.hypot(self._u - np.float32(at_u), self._v - np.float32(at_v)) / np.float32(e.iris)
        shade = 1 - 0.42 * np.exp(-np.maximum(self._v - lid, 0) / np.float32(0.030)) - 0.25 * self._corner
        ball = shade[..., None] * _SCLERA
        ball[..., 0] -= 26 * self._corner
        ball[..., 1] -= 22 * self._corner
        disc = np.clip((1 - radius) * np.float32(e.iris / _PX) + 0.5, 0, 1)
        glow = 0.62 + 0.75 * np.clip(radius, 0.3, 0.8) ** 2 + 0.10 * self._rays - 0.60 * step(radius, 0.74, 1.02)
        glow = glow * (0.6 + 0.4 * shade)
        pupil = np.clip((0.40 - radius) * np.float32(e.iris / _PX) + 0.5, 0, 1)
        iris = self._iris_colour * (glow * (1 - pupil))[..., None] + (pupil * 9)[..., None]
        ball += disc[..., None] * (iris - ball)
        spark_u, spark_v = self._u - np.float32(at_u - self._side * 0.024), self._v - np.float32(at_v - 0.030)
        spark = np.exp(-(spark_u**2 + spark_v**2) / np.float32(0.017**2))
        ball += spark[..., None] * (np.float32(240) - ball) * np.float32(0.85)
        return np.asarray(ball, np.float32)


def _border_fade(shape: tuple[int, ...]) -> Floats:
    """1 inside a patch, 0 on its border, so that no seam shows."""
    rows = np.minimum(np.arange(shape[0]), np.arange(shape[0])[::-1])[:, None]
    columns = np.minimum(np.arange(shape[1]), np.arange(shape[1])[::-1])[None, :]
    return step(np.minimum(rows, columns).astype(np.float32), 0.0, 5.0)
