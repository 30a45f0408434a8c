"""From a turned head to the sheet: which point of the height field is seen at each pixel, hidden parts left out.

Under a parallel projection a point (q, z) of the head lands at p = A q + b z, and since a step along the line of sight
moves nothing, b = -t A d with d the direction on the sheet towards which the head is turned away and t the tangent of
the angle. So with w = A^-1 p: w = q - t z(q) d. Along each line in direction d this is a function of one variable,
s(u) = u - t z(u), and a point is hidden exactly when another one further along has a smaller s. The visible ones are
therefore where s equals its running minimum from the end, which is rising and can be inverted by interpolation: exact
parallax with occlusion, without a mesh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.drawn.grid import EYE_ROW, MIDDLE_X, SCALE
from loadtests.people.drawn.truth import Floats

PIVOT = np.array([0.0, 0.53, 0.30])
"""The point of the head that does not move when it turns: between eyes and mouth."""

_SIDE = 104
_REACH = 2.8
_CELL = 2 * _REACH / (_SIDE - 1)
_LINE = np.linspace(-_REACH, _REACH, _SIDE, dtype=np.float32)
_ROW_STEP = np.float32(32.0)
_FLAT_TARGETS = (_LINE[None, :] + _ROW_STEP * np.arange(_SIDE, dtype=np.float32)[:, None]).ravel().astype(np.float64)
_FLAT_LINE = np.tile(_LINE.astype(np.float64), _SIDE)
_ROW_STARTS = _ROW_STEP * np.arange(_SIDE, dtype=np.float32)[:, None]
_MIDDLE_Y = 0.07
COARSE = 3


def rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> npt.NDArray[np.float64]:
    """Head to camera, float64 (3, 3); signs as in `View`."""
    (cy, sy), (cp, sp), (cr, sr) = (
        (math.cos(math.radians(d)), math.sin(math.radians(d))) for d in (yaw_deg, pitch_deg, roll_deg)
    )
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(roll @ pitch @ yaw)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A rotation, pixels per unit, and where the pivot lies in the picture."""

    turn: npt.NDArray[np.float64]
    scale: float
    centre: tuple[float, float]

    def project(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Points of the head (n, 3) in units to pixels (n, 2)."""
        return np.asarray((points - PIVOT) @ self.turn[:2].T * self.scale + np.array(self.centre))


def seen(
    placement: Placement, height: Floats, height_scale: float, left: int, top: int, size: tuple[int, int]
) -> tuple[Floats, Floats]:
    """For a window of the picture at (left, top), `size` (w, h): where on the head each pixel looks, x and y in units,
    two float32 (h / COARSE, w / COARSE), rounded up. `height` is the relief with `height_scale` pixels per unit.
    """
    turn = placement.turn
    flat = np.linalg.inv(turn[:2, :2])
    away = turn[2, :2]
    length = float(np.hypot(*away))
    d = away / length if length > 1e-6 else np.array([1.0, 0.0])
    t = length / turn[2, 2]
    shift = _shift(height, height_scale, d, t)
    columns, rows = -(-size[0] // COARSE), -(-size[1] // COARSE)
    # w at the coarse cells of the window: an affine function of column and row.
    step_w = flat / placement.scale * COARSE
    first = np.array([left, top]) + (COARSE - 1) / 2 - np.array(placement.centre)
    start = flat @ first / placement.scale + PIVOT[:2] - t * PIVOT[2] * d
    column = np.arange(columns, dtype=np.float32)[None, :]
    row = np.arange(rows, dtype=np.float32)[:, None]
    w_x = np.float32(start[0]) + np.float32(step_w[0, 0]) * column + np.float32(step_w[0, 1]) * row
    w_y = np.float32(start[1]) + np.float32(step_w[1, 0]) * column + np.float32(step_w[1, 1]) * row
    basis = np.array([d, [-d[1], d[0]]])
    to_grid = basis @ np.column_stack([step_w, start - np.array([0, _MIDDLE_Y])]) / _CELL
    to_grid[:, 2] += (_SIDE - 1) / 2
    moved = cv2.warpAffine(shift, to_grid, (columns, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return w_x + np.float32(d[0]) * moved, w_y + np.float32(d[1]) * moved


def _shift(height: Floats, height_scale: float, d: npt.NDArray[np.float64], t: float) -> Floats:
    """u - s at each visible point, on the square grid whose rows run along `d`, float32 (_SIDE, _SIDE)."""
    if t < 1e-5:
        return np.zeros((_SIDE, _SIDE), np.float32)
    ratio = height_scale / SCALE
    middle = np.array([(MIDDLE_X + 0.5) * ratio - 0.5, (EYE_ROW + 0.5) * ratio - 0.5 + _MIDDLE_Y * height_scale])
    back = np.array([[d[0], -d[1]], [d[1], d[0]]]) * (_CELL * height_scale)
    matrix = np.column_stack([back, middle - back @ np.full(2, (_SIDE - 1) / 2)])
    z = cv2.warpAffine(
        height, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    z[:, 0] = z[:, -1] = 0
    s = _LINE - np.float32(t) * z
    envelope = np.minimum.accumulate(s[:, ::-1], axis=1)[:, ::-1]
    known = envelope + _ROW_STARTS
    u = np.interp(_FLAT_TARGETS, known.ravel(), _FLAT_LINE).reshape(_SIDE, _SIDE)
    return np.asarray(u - _LINE, np.float32)
