"""One person's painted sheets: colours with outline (now, and twenty years older), normals, gloss and height field."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.brows import paint_brows
from loadtests.people.drawn.colours import Palette
from loadtests.people.drawn.grid import HEIGHT, SCALE, WIDTH, bump, sheet, step, thrice
from loadtests.people.drawn.hair import Hair, paint_hair
from loadtests.people.drawn.relief import RIM_Z, hollows, normals, relief
from loadtests.people.drawn.skin import ageing_lines, paint_beard, paint_skin
from loadtests.people.drawn.truth import Floats, Pixels

QUARTER = SCALE / 4
"""Pixels per unit of the height field that poses read."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheets:
    """`now` uint8 (h, w, 4): blue, green, red (multiplied by alpha), alpha; `face` float32 (h, w) where bare skin is;
    `bare` float32 (h, w, 3) lies under eyes and mouth. At a quarter of the resolution: `normals` (h, w, 3), `gloss`,
    `height`. `extent` x0, x1, y0, y1 in units: what is painted.
    """

    now: Pixels
    face: Floats
    bare: Floats
    normals: Floats
    gloss: Floats
    height: Floats
    extent: tuple[float, float, float, float]
    hair: Hair


def make_sheets(a: Anatomy, p: Palette) -> Sheets:
    """Paint one person."""
    x, y = sheet()
    form = relief(a)
    inside = _grown(form.inside)
    face = step(inside, 0.0, 0.045)
    hair = paint_hair(a, p, face)
    hollow = _grown(hollows(form.height))
    skin = paint_skin(a, p, 1 + face * (hollow - 1))
    paint_beard(a, p, skin, inside)
    paint_brows(a, p, skin)
    neck, ears = _neck(a, x, y), _ears(a, x, y)
    behind = np.maximum(neck, ears.max(axis=0))
    shade = _shade_behind(a, x, y, neck, ears)
    colour = skin * thrice(1 - (1 - face) * (1 - shade))
    colour *= thrice(1 - 0.30 * face * step(-inside, -0.16, 0.0))
    _shadow_of_hair(colour, hair)
    colour += thrice(hair.cover) * (hair.paint - colour)
    alpha = np.maximum(np.maximum(face, behind), hair.cover)
    colour = _bled(colour, alpha, hair, p)
    now = cv2.merge([*cv2.split(colour * thrice(alpha)), alpha * 255]).clip(0, 255).astype(np.uint8)
    height = _height(a, form.height, face, neck, ears, hair)
    gloss = (0.06 + _quarter(face * (1 - hair.cover)) * _shine(a, p)).astype(np.float32)
    return Sheets(
        now,
        face,
        colour,
        _quarter(normals(height)),
        gloss,
        _quarter(np.asarray(cv2.GaussianBlur(height, (0, 0), 1.0), np.float32)),
        _extent(alpha),
        hair,
    )


def _grown(half: Floats) -> Floats:
    return np.asarray(cv2.resize(half, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.float32)


def _quarter(layer: Floats) -> Floats:
    return np.asarray(cv2.resize(layer, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA), np.float32)


def _neck(a: Anatomy, x: Floats, y: Floats) -> Floats:
    half = a.bones.neck_x + 0.16 * step(y, 1.6, 2.3)
    round_ = 2.04 - 0.10 * np.minimum(np.abs(x) / a.bones.neck_x, 1.2) ** 2
    return step(half - np.abs(x), 0.0, 0.035) * step(y, 0.9, 1.0) * (1 - step(y - round_, -0.24, 0.04))


def _ears(a: Anatomy, x: Floats, y: Floats) -> Floats:
    """Cover of the left and right ear, float32 (2, h, w)."""
    b = a.bones
    found = []
    for side in (-1.0, 1.0):
        height = b.ear_height
        lean = 0.10 * (y - 0.25)
        u = (side * x - (b.cheekbone_x + b.ear_out * 0.30) + lean) / (0.06 + b.ear_out)
        v = (y - 0.22) / (0.56 * height)
        u = u * (1 + 0.28 * step(v, -0.2, 0.9))
        found.append(step(1.0 - np.sqrt(u * u + v * v), 0.0, 0.10))
    return np.asarray(found, np.float32)


def _shade_behind(a: Anatomy, x: Floats, y: Floats, neck: Floats, ears: Floats) -> Floats:
    """Lightness of what lies behind the face: the neck under the chin, the bowl of each ear."""
    b = a.bones
    shade = 0.62 + 0.26 * step(y, b.chin_y - 0.05, b.chin_y + 0.38)
    shade = shade * (1 - 0.20 * step(np.abs(x), 0.5 * b.neck_x, b.neck_x))
    cord = np.exp(-(((np.abs(x) - 0.42 + 0.22 * (y - 1.6)) / 0.06) ** 2))
    shade = shade * (1 + 0.05 * cord)
    for cover, side in zip(ears, (-1.0, 1.0), strict=True):
        middle = b.cheekbone_x + b.ear_out * 0.45
        bowl = bump(x, y, (side * middle, 0.26), (0.055, 0.20 * b.ear_height / 0.5))
        rim = bump(x, y, (side * (middle + 0.5 * b.ear_out), 0.16), (0.05, 0.22))
        ear = 0.88 - 0.40 * bowl + 0.10 * rim
        shade = shade + cover * (1 - neck) * (ear - shade)
    return np.asarray(shade, np.float32)


def _shadow_of_hair(colour: Floats, hair: Hair) -> None:
    """The dark seam that hair throws on the skin beside and below it."""
    soft = cv2.GaussianBlur(cv2.resize(hair.cover, (WIDTH // 2, HEIGHT // 2)), (0, 0), 3.5)
    colour *= thrice(1 - 0.42 * _grown(np.asarray(soft, np.float32)) * (1 - hair.cover))


def _bled(colour: Floats, alpha: Floats, hair: Hair, p: Palette) -> Floats:
    """Colours continued beyond the outline, so that soft edges take on no colour of nothing."""
    beyond = hair.paint.copy()
    beyond[hair.cover.max(axis=1) <= 0.5] = p.skin * np.float32(0.84)
    colour += thrice(np.maximum(1 - 4 * alpha, 0)) * (beyond - colour)
    return colour


def make_older(a: Anatomy, p: Palette, sheets: Sheets) -> Pixels:
    """The colours some twenty years on, uint8 (h, w, 4): deeper lines, spots, grey hair."""
    cover = sheets.hair.cover
    kept = 128 * (1 - sheets.face * (1 - cover) * (1 - ageing_lines(a)))
    lined = cv2.multiply(
        sheets.now, cv2.merge([kept.astype(np.uint8)] * 3 + [np.full_like(kept, 128, np.uint8)]), scale=1 / 128
    )
    luma = cv2.cvtColor(sheets.now, cv2.COLOR_BGRA2GRAY)
    bright = luma * np.float32(1 / max(float(p.hair.mean()), 8.0))
    alpha = sheets.now[..., 3].astype(np.float32)
    silver = cv2.merge([*(bright.clip(0.4, 1.6) * alpha * np.float32(c / 255) for c in p.hair_old), alpha])
    grey = (cover * 0.75).astype(np.float32)
    return np.asarray(cv2.blendLinear(lined, silver.clip(0, 255).astype(np.uint8), 1 - grey, grey), np.uint8)


def _height(a: Anatomy, bare: Floats, face: Floats, neck: Floats, ears: Floats, hair: Hair) -> Floats:
    """The relief of the whole head at half resolution."""
    x = sheet(2)[0]
    nothing = np.full(bare.shape, RIM_Z - 0.25, np.float32)
    column = np.sqrt(np.clip(1 - (x / (a.bones.neck_x + 0.08)) ** 2, 0, 1)) * 0.55 - 0.75
    half = [cv2.resize(layer, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA) for layer in (face, neck, *ears)]
    z = nothing + half[1] * (column - nothing)
    for side, ear in zip((-1.0, 1.0), half[2:], strict=True):
        flat = RIM_Z - 0.02 + 0.35 * (side * x - a.bones.cheekbone_x)
        z = z + ear * (1 - half[1]) * (flat - z)
    z = z + np.minimum(half[0] * 2, 1) * (bare - z)
    locks = cv2.resize(hair.cover, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA) * (1 - half[0])
    z = z + locks * (np.maximum(z, RIM_Z + 0.05) - z)
    return np.asarray(z + hair.rise, np.float32)


def _shine(a: Anatomy, p: Palette) -> float:
    return float(np.clip(0.22 + 0.07 * a.colour["gloss"] + 0.16 * p.melanin, 0.04, 0.6))


def _extent(alpha: Floats) -> tuple[float, float, float, float]:
    x, y = sheet()
    columns = np.flatnonzero(alpha.max(axis=0) > 0.02)
    rows = np.flatnonzero(alpha.max(axis=1) > 0.02)
    return float(x[0, columns[0]]), float(x[0, columns[-1]]), float(y[rows[0], 0]), float(y[rows[-1], 0])
