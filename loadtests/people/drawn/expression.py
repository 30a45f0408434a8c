"""How expression and years move the skin: small shifts of the sheet, read at a quarter of its resolution.

A field says where on the sheet the skin comes from that is now seen at a point. Lips and lids are painted, not shifted.
"""

from __future__ import annotations

import numpy as np

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.grid import bump, sheet, step
from loadtests.people.drawn.truth import Floats
from loadtests.people.drawn.view import View


class Expression:
    """The fields of one person, each float32 (h/4, w/4, 2) in units."""

    def __init__(self, a: Anatomy) -> None:
        x, y = sheet(4)
        m, e, b = a.mouth, a.eyes, a.bones
        nothing = np.zeros((y.shape[0], x.shape[1]), np.float32)
        below = step(y, m.y + 0.10, b.chin_y - 0.15) * (1 - step(y, b.chin_y + 0.05, b.chin_y + 0.45)) + 0 * x
        jaw = below * step(0.95 - np.abs(x), 0.0, 0.45)
        self._jaw = np.dstack([nothing, 0.17 * jaw])
        cheeks = np.dstack([nothing, nothing])
        brows, frown, sag = nothing.copy(), np.dstack([nothing, nothing]), nothing.copy()
        for side in (-1.0, 1.0):
            cheek = bump(x, y, (side * 0.58, 0.72), (0.26, 0.26))
            cheeks += np.dstack([side * 0.045 * cheek, -0.055 * cheek])
            brow = bump(x, y, (side * e.brow_x, e.brow_y - 0.06), (0.40, 0.17)) * (1 - step(y, -0.24, -0.13))
            brows += brow
            inner = bump(x, y, (side * 0.26, e.brow_y), (0.20, 0.15)) * (1 - step(y, -0.24, -0.13))
            frown += np.dstack([-side * 0.05 * inner, 0.055 * inner])
            sag += bump(x, y, (side * 0.62, 1.05), (0.28, 0.32))
        self._cheeks, self._frown = cheeks, frown
        self._brows = np.dstack([nothing, -0.085 * brows])
        self._sag = np.dstack([nothing, 0.05 * sag])

    def field(self, view: View) -> Floats | None:
        """The sum for this view, or None where the face is at rest."""
        parts = (
            (self._jaw, view.mouth_open),
            (self._cheeks, view.smile),
            (self._brows if view.brow > 0 else self._frown, abs(view.brow)),
            (self._sag, view.age / 20),
        )
        total: Floats | None = None
        for shift, amount in parts:
            if abs(amount) > 0.01:
                total = shift * np.float32(amount) if total is None else total + shift * np.float32(amount)
        return total
