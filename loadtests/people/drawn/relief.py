"""The form of a head as a height field: how far each point of the frontal picture stands out, its normals and hollows.

The face is a smooth dome inside its outline, deepened and raised by hills and grooves for nose, sockets, lips, chin and
cheeks. Half of the sheet's resolution: light varies slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.grid import SCALE, along, bump, curve, sheet, step
from loadtests.people.drawn.truth import Floats

RIM_Z = -0.40
"""How far back the outline of the face lies."""


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """Half resolution: `height` float32 (h, w), `inside` the face's distance to its outline in shares of its half width
    (1 in the middle, 0 on the outline, negative outside).
    """

    height: Floats
    inside: Floats


def outline(a: Anatomy, y: Floats) -> Floats:
    """Half width of the face (with the skull) at each height, as `y`; 0 above the crown and below the chin."""
    b = a.bones
    low = b.chin_y
    square = b.jaw_square
    right = curve(
        [
            (0.0, b.crown_y),
            (0.40, b.crown_y + 0.075),
            (0.68, b.crown_y + 0.27),
            (b.temple_x - 0.07, -0.95),
            (b.temple_x + 0.02, -0.52),
            (b.cheekbone_x, -0.05),
            (b.cheekbone_x, 0.30),
            (b.cheek_x, 0.62),
            (b.jaw_x, low - 0.56 + 0.12 * square),
            (b.chin_x + (b.jaw_x - b.chin_x) * (0.46 + 0.16 * square), low - 0.24),
            (b.chin_x, low - 0.085),
            (b.chin_x * 0.5, low - 0.012),
            (0.0, low),
        ]
    )
    heights = np.maximum.accumulate(right[:, 1])
    return np.interp(y, heights, right[:, 0], left=0, right=0).astype(np.float32)


def relief(a: Anatomy) -> Relief:
    """The bare head of this person: no hair, no ears, no neck."""
    x, y = sheet(2)
    half = np.maximum(outline(a, y), 1e-3)
    across = np.minimum(np.abs(x) / half, 1.5)
    b, e, n, m = a.bones, a.eyes, a.nose, a.mouth
    middle = along(
        [
            (-2.3, -0.4),
            (b.crown_y, -0.25),
            (-1.35, 0.42),
            (-0.9, 0.70),
            (e.brow_y, 0.80 + b.brow_ridge),
            (0.0, 0.74),
            (0.45, 0.76),
            (n.base_y, 0.80),
            (m.y, 0.83),
            (m.y + 0.26, 0.76),
            (b.chin_y - 0.18, 0.80 + b.chin_z),
            (b.chin_y, 0.55),
            (2.4, 0.2),
        ],
        y,
    )
    dome = np.power(np.clip(1 - across**2.5, 0, 1), 0.70)
    z = RIM_Z + (middle - RIM_Z) * dome
    z = z + _features(a, x, y) * step(1 - across, 0.0, 0.35)
    inside = np.where(half > 2e-3, 1 - np.abs(x) / half, -0.5).astype(np.float32)
    return Relief(np.asarray(z, np.float32), np.asarray(np.broadcast_to(inside, z.shape), np.float32))


def _features(a: Anatomy, x: Floats, y: Floats) -> Floats:
    b, e, m = a.bones, a.eyes, a.mouth
    z = _nose(a, x, y)
    for side in (-1.0, 1.0):
        z -= (0.10 + 0.09 * e.depth) * bump(x, y, (side * (e.x - 0.03), -0.03), (0.24, 0.17))
        z += 0.075 * bump(x, y, (side * e.x, 0.005), (0.15, 0.11))
        z += b.brow_ridge * bump(x, y, (side * 0.42, e.brow_y + 0.04), (0.32, 0.10))
        z += (0.07 + 0.03 * b.cheek_full) * bump(x, y, (side * 0.60, b.cheekbone_y + 0.05), (0.27, 0.22))
        z += 0.05 * b.cheek_full * bump(x, y, (side * 0.62, 0.85), (0.25, 0.28))
        z -= 0.035 * b.nasolabial * bump(x - 0.4 * side * (y - 0.9), y, (side * 0.40, 0.86), (0.06, 0.24))
        z -= 0.03 * e.bag * bump(x, y, (side * e.x, 0.235), (0.20, 0.045))
        z += 0.025 * e.bag * bump(x, y, (side * e.x, 0.165), (0.18, 0.05))
        z -= 0.02 * bump(x, y, (side * (m.half_width + 0.05), m.y), (0.07, 0.10))
        z += 0.02 * m.philtrum * bump(x, y, (side * 0.075, m.y - 0.20), (0.035, 0.09))
    z -= 0.025 * m.philtrum * bump(x, y, (0, m.y - 0.20), (0.04, 0.09))
    z += 0.5 * m.upper * bump(x, y, (0, m.y - 0.5 * m.upper), (m.half_width * 0.75, 0.05 + 0.4 * m.upper))
    z += 0.6 * m.lower * bump(x, y, (0, m.y + 0.5 * m.lower), (m.half_width * 0.65, 0.04 + 0.4 * m.lower))
    z -= 0.035 * bump(x, y, (0, m.y), (m.half_width, 0.03))
    z -= 0.05 * bump(x, y, (0, m.y + m.lower + 0.10), (0.30, 0.075))
    z += (0.05 + b.chin_z) * bump(x, y, (0, b.chin_y - 0.20), (0.8 * b.chin_x, 0.15))
    return z


def _nose(a: Anatomy, x: Floats, y: Floats) -> Floats:
    n = a.nose
    down = np.clip((y + 0.10) / (n.tip_y + 0.10), 0, 1.0)
    ridge = n.bridge_z * step(y, -0.32, 0.02) + (n.tip_z - n.bridge_z) * down**1.25
    ridge = ridge * (1 - step(y, n.tip_y - 0.05 - 0.02 * n.upturn, n.base_y + 0.03 + 0.02 * n.upturn))
    ridge = ridge + n.bend * bump(x, y, (0, 0.22), (9.0, 0.16))
    width = n.bridge_x + (0.6 * n.half_width - n.bridge_x) * down**2 + 0.02
    centre = a.bones.skew * down
    z = ridge * np.exp(-(np.abs((x - centre) / width) ** 2.0))
    shift = a.bones.skew
    z = z + 0.115 * bump(x, y, (shift, n.tip_y + 0.01), (n.tip_size, n.tip_size * 0.9))
    for side in (-1.0, 1.0):
        at = (shift + side * (n.half_width - 0.075), n.tip_y + 0.045)
        z = z + 0.16 * bump(x, y, at, (0.090, 0.095))
        z = z - 0.05 * bump(x, y, (shift + side * (n.half_width + 0.035), n.tip_y + 0.03), (0.035, 0.10))
    return np.asarray(z, np.float32)


def normals(height: Floats) -> Floats:
    """Unit normals of a height field at half resolution, float32 (h, w, 3) as x, y, z."""
    unit_px = SCALE / 2
    soft = cv2.GaussianBlur(height, (0, 0), 0.8)
    slope_x = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3, scale=unit_px / 8)
    slope_y = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3, scale=unit_px / 8)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    return np.dstack([-slope_x / length, -slope_y / length, 1 / length]).astype(np.float32)


def hollows(height: Floats) -> Floats:
    """How much of the room's light a point gets in a hollow or on a ridge: about 0.6 .. 1.2, half resolution."""
    near = height - cv2.GaussianBlur(height, (0, 0), 3)
    wide = height - cv2.GaussianBlur(height, (0, 0), 9)
    return np.asarray(np.clip(1 + 2.2 * near + 0.9 * wide, 0.55, 1.2), np.float32)
