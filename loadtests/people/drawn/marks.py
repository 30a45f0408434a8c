"""Where a drawn face's box and landmarks are, in YuNet's convention."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.grid import EYE_ROW, MIDDLE_X, SCALE
from loadtests.people.drawn.pose import Placement
from loadtests.people.drawn.truth import Floats, Truth
from loadtests.people.drawn.view import View

MOUTH_SHIFT = np.array([0.0, -0.085, -0.15])
EYE_SHIFT = np.array([0.0, -0.005, 0.12])
NOSE_NODS = 0.4
"""From what is drawn to where YuNet (2023mar) puts it on drawn faces: medians over some hundred views. Its tip of the
nose does not follow `NOSE_NODS` of its height when the head nods."""


class Marks:
    """Points of one head that pictures are annotated with."""

    def __init__(self, a: Anatomy, height: Floats) -> None:
        self._a = a
        self._height = height
        self.box_width = 1.92 * 0.5 * (a.bones.cheekbone_x + a.bones.cheek_x)
        e, n, b = a.eyes, a.nose, a.bones
        self.eyes = np.array([self.on(-e.x, 0.0), self.on(e.x, 0.0)])
        self._nose = self.on(b.skew, n.tip_y - 0.02)
        rim = [(-b.cheekbone_x * 0.97, 0.2), (b.cheekbone_x * 0.97, 0.2), (-b.jaw_x * 0.95, 1.1), (b.jaw_x * 0.95, 1.1)]
        self._rim = np.array(
            [self.on(*at) for at in [*rim, (0.0, -0.95), (-0.5, -0.92), (0.5, -0.92), (0.0, b.chin_y - 0.02)]]
        )

    def on(self, x: float, y: float) -> npt.NDArray[np.float64]:
        """The point of the relief at (x, y), float64 (3,)."""
        column = int(np.clip((MIDDLE_X + x * SCALE) / 4, 0, self._height.shape[1] - 1))
        row = int(np.clip((EYE_ROW + y * SCALE) / 4, 0, self._height.shape[0] - 1))
        return np.array([x, y, float(self._height[row, column])])

    def truth(self, placement: Placement, view: View, mouth_x: float, mouth_y: float) -> Truth:
        """What is true about the face so placed; the mouth's corners at +-`mouth_x`, `mouth_y`."""
        shift = 0.5 * self._a.bones.skew
        mouth = [self.on(shift + side * mouth_x, mouth_y) + MOUTH_SHIFT for side in (-1.0, 1.0)]
        nose = self._nose - np.array([[0.0, NOSE_NODS * math.tan(math.radians(view.pitch_deg)), 0.0]])
        points = placement.project(np.vstack([self.eyes + EYE_SHIFT, nose, mouth]))
        rim = self._rim.copy()
        rim[-1, 1] += 0.16 * view.mouth_open
        edge = placement.project(rim)
        (left, top), (right, bottom) = edge.min(axis=0), edge.max(axis=0)
        box = (float(left), float(top), float(right - left), float(bottom - top))
        return Truth(box, points.astype(np.float32), view.eyes_open)
