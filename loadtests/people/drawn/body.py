"""Shoulders, clothes and the long hair that lies behind them: drawn first, they follow the neck."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.colours import Palette
from loadtests.people.drawn.grid import curve
from loadtests.people.drawn.hair import Hair
from loadtests.people.drawn.light import tint
from loadtests.people.drawn.pose import Placement
from loadtests.people.drawn.truth import Floats, Pixels
from loadtests.people.drawn.view import Light, View

_SHIFT = 3


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """`points` (n, 2) in units from the base of the neck, `colour` (3,), `width` of a line in units, 0 for an area."""

    points: Floats
    colour: Floats | npt.NDArray[np.float64]
    width: float


class Body:
    """The shapes of one person's shoulders; they change with the outfit, kept while it is worn."""

    def __init__(self, a: Anatomy, p: Palette, hair: Hair) -> None:
        self._a, self._p, self._hair = a, p, hair
        self._worn: tuple[int, list[_Shape]] | None = None

    def draw(self, placement: Placement, view: View, canvas: Pixels) -> None:
        """Hair behind the neck, shoulders, clothes, in place."""
        base = placement.project(np.array([[0.0, 2.0, -0.3]]))[0]
        if self._worn is None or self._worn[0] != view.outfit:
            self._worn = (view.outfit, self._shapes(view.outfit))
        power = brightness(view.light)
        for shape in self._worn[1]:
            at = np.round((shape.points * placement.scale + base) * (1 << _SHIFT)).astype(np.int32)
            blue, green, red = (int(min(max(value, 0), 255)) for value in shape.colour * power)
            if shape.width > 0:
                thick = max(1, round(shape.width * placement.scale))
                shade = (blue, green, red)
                cv2.polylines(
                    canvas, [at], isClosed=False, color=shade, thickness=thick, lineType=cv2.LINE_AA, shift=_SHIFT
                )
            else:
                cv2.fillPoly(canvas, [at], (blue, green, red), cv2.LINE_AA, _SHIFT)

    def _shapes(self, outfit: int) -> list[_Shape]:
        a, p, hair = self._a, self._p, self._hair
        draw = np.random.default_rng([91, outfit])
        wide = 1 + 0.06 * a.masculine + 0.04 * float(a.bones.cheek_full)
        cloth = draw.uniform(18, 215, 3) * (0.5 + 0.5 * draw.random())
        shapes = []
        if hair.length > 0.9:
            end = min(1.1 * (hair.length - 0.9), 1.3)
            half = [(-0.9, -1.2), (-1.18, -0.3), (-1.12, 0.3 + end)]
            shapes.append(_Shape(_mirrored(half, (0.0, 0.2 + end)), p.hair * 0.5, 0))
        neck = a.bones.neck_x
        shapes.append(
            _Shape(
                _mirrored([(-neck + 0.02, -0.30), (-neck - 0.06, -0.05), (-1.5, 0.5), (-1.0, 1.0)], None),
                p.skin * 0.86,
                0,
            )
        )
        line = 0.10 + 0.55 * draw.random() ** 2
        side = [
            (-0.70, -0.03),
            (-1.3, 0.16),
            (-2.05 * wide, 0.42),
            (-2.5 * wide, 0.95),
            (-2.7 * wide, 2.2),
            (-2.8 * wide, 5.0),
            (-2.8 * wide, 14.0),
        ]
        shirt = [*side, *((-x, y) for x, y in reversed(side)), (0.42, line), (0.0, line + 0.12), (-0.42, line)]
        shapes.append(_Shape(curve(shirt, 5), cloth, 0))
        collar = _mirrored([(-0.70, -0.03), (-0.42, line)], (0.0, line + 0.12))
        shapes.append(_Shape(collar, cloth * 0.62, 0.045))
        for sign in (-1.0, 1.0):
            fold = [(sign * 1.75 * wide, 1.1), (sign * 1.62 * wide, 1.9), (sign * 1.7 * wide, 3.5)]
            shapes.append(_Shape(curve(fold, 5), cloth * 0.80, 0.06))
        return shapes


def _mirrored(half: list[tuple[float, float]], middle: tuple[float, float] | None) -> Floats:
    """A curve down the left, through the middle, up the right."""
    centre = [] if middle is None else [middle]
    return curve([*half, *centre, *((-x, y) for x, y in reversed(half))], 5)


def brightness(light: Light) -> npt.NDArray[np.float64]:
    """What the light makes of an upright surface: gains of blue, green, red."""
    return np.asarray((light.level * (1.12 - 0.2 * light.ambient)) ** 0.62 * tint(light))
