"""The skin: tone and its zones, mottle, freckles, moles, folds, shadowed lids, beard shadow; ears and neck.

Painted without lids' edges and lips' gap: those move and are painted for each frame (`eyes`, `mouth`).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from loadtests.people.drawn.anatomy import Anatomy, logistic, normal_share
from loadtests.people.drawn.colours import Palette
from loadtests.people.drawn.grid import HEIGHT, WIDTH, bump, draw_line, plane, sheet, step, thrice, window
from loadtests.people.drawn.truth import Floats


def paint_skin(a: Anatomy, p: Palette, hollow: Floats) -> Floats:
    """The whole sheet as skin, float32 (h, w, 3), 0..255; `hollow` full resolution, how dark creases are."""
    x, y = sheet()
    tone, redness = _zones(a, x, y)
    tone = tone * hollow * _folds(a, None)
    fair = 1 - 0.65 * p.melanin
    channels = [base * tone + (pull * fair) * redness for base, pull in zip(p.skin, (-26.0, -24.0, 6.0), strict=True)]
    sheet_of_skin = np.asarray(cv2.merge(channels), np.float32)
    _freckles(a, p, sheet_of_skin)
    _moles(a, sheet_of_skin)
    return sheet_of_skin


def _zones(a: Anatomy, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Lightness (about 1) and redness (about 0) of each pixel."""
    c, e, m = a.colour, a.eyes, a.mouth
    tone = 1 + 0.025 * bump(x, y, (0, -0.7), (0.6, 0.4)) - 0.05 * step(y, a.bones.chin_y - 0.3, a.bones.chin_y + 0.1)
    redness = (0.25 + 0.15 * c["redness"]) * bump(x, y, (0, a.nose.tip_y), (0.24, 0.2))
    flush = 0.35 + 0.30 * c["flush"]
    circles = 0.10 + 0.055 * c["eye_shadow"] + 0.05 * a.old + 0.03 * e.bag
    for side in (-1.0, 1.0):
        redness = redness + flush * bump(x, y, (side * 0.62, 0.55), (0.30, 0.28))
        tone = tone * (1 - max(circles, 0.0) * bump(x, y, (side * (e.x - 0.04), 0.20), (0.24, 0.09)))
        tone = tone * (1 - (0.05 + 0.07 * e.depth) * bump(x, y, (side * (e.x - 0.02), -0.10), (0.27, 0.13)))
        redness = redness + (0.22 + 0.06 * c["eye_shadow"]) * bump(x, y, (side * e.x, 0.02), (0.26, 0.18))
        at = (a.bones.skew + side * (a.nose.half_width * 0.52), a.nose.tip_y + 0.085 - 0.03 * a.nose.upturn)
        wide = 1.0 + 0.18 * a.nose.upturn
        hole = bump(x, y, at, (a.nose.nostril * 1.15, max(a.nose.nostril * 0.66 * wide, 0.018)))
        tone = tone * (1 - 0.72 * hole)
        wing = bump(x, y, (a.bones.skew + side * (a.nose.half_width + 0.012), a.nose.tip_y + 0.05), (0.028, 0.085))
        tone = tone * (1 - 0.20 * wing)
    tip = bump(x, y, (a.bones.skew, a.nose.tip_y), (a.nose.tip_size, 0.8 * a.nose.tip_size))
    tone = tone * (1 + 0.06 * tip)
    redness = redness + 0.25 * tip
    under = bump(x, y, (a.bones.skew, a.nose.base_y + 0.02), (a.nose.half_width * 0.9, 0.045))
    tone = tone * (1 - 0.20 * under)
    tone = tone * (1 - 0.09 * bump(x, y, (0, m.y + m.lower + 0.09), (0.26, 0.05)))
    tone = tone * (1 - 0.10 * m.philtrum * bump(x, y, (0, m.y - 0.2), (0.04, 0.10)))
    blotches = 0.016 * (c["mottle_a"] * plane(1, 26) + c["mottle_b"] * plane(2, 26) + c["mottle_c"] * plane(3, 26))
    tone = tone + blotches + 0.010 * plane(4, 9) + (0.010 + 0.006 * a.old) * plane(5, 2.2)
    redness = redness + 0.10 * plane(6, 20) + 0.08 * plane(7, 6)
    return np.asarray(tone, np.float32), np.asarray(redness, np.float32)


def _folds(a: Anatomy, added: float | None) -> Floats:
    """What lines of age and expression leave of the light; with `added`, only lines that deep, as years add them."""
    c = a.colour
    kept = np.ones((HEIGHT, WIDTH), np.float32)
    lines = np.zeros((HEIGHT, WIDTH), np.float32)
    forehead = _depth(0.2 + 0.45 * c["forehead_lines"] + 0.9 * a.old, added)
    draw_line(lines, [(-0.55, -0.60), (-0.2, -0.66), (0.2, -0.66), (0.55, -0.60)], forehead * 0.55)
    draw_line(lines, [(-0.50, -0.76), (-0.2, -0.82), (0.2, -0.82), (0.50, -0.76)], forehead * 0.45)
    draw_line(lines, [(-0.05, -0.42), (-0.06, -0.26)], forehead * 0.4)
    crow = _depth(0.25 + 0.60 * c["crow_feet"] + 0.9 * a.old, added)
    e, n, m = a.eyes, a.nose, a.mouth
    outer = e.x + e.half_width
    fold = _depth(a.bones.nasolabial, added)
    for s in (-1.0, 1.0):
        for rise in (-0.10, 0.0, 0.10):
            draw_line(lines, [(s * (outer + 0.05), rise * 0.4), (s * (outer + 0.20), rise * 1.2 + 0.02)], crow * 0.42)
        start, end = n.half_width + 0.06, m.half_width + 0.13
        draw_line(
            lines,
            [(s * start, n.tip_y), (s * (start + end) / 2 + s * 0.03, m.y - 0.22), (s * end, m.y + 0.02)],
            fold * 0.6,
        )
        draw_line(
            lines, [(s * (e.x - 0.17), 0.17), (s * e.x, 0.26), (s * (e.x + 0.15), 0.22)], 0.45 * _depth(e.bag, added)
        )
        draw_line(
            lines, [(s * (m.half_width + 0.04), m.y + 0.08), (s * (m.half_width + 0.06), m.y + 0.3)], fold * 0.3 * a.old
        )
    lines = cv2.GaussianBlur(lines, (0, 0), 1.1) + 0.7 * cv2.GaussianBlur(lines, (0, 0), 3.0)
    return np.asarray(kept - np.minimum(0.36 * lines, 0.5), np.float32)


def _depth(own: float, added: float | None) -> float:
    return float(np.clip(own, 0, 1.6)) if added is None else added


def ageing_lines(a: Anatomy) -> Floats:
    """What twenty years more take from the light: every line deeper, spots; float32 (h, w), 1 where nothing changes."""
    spots = 0.10 * step(plane(15, 5.0), 1.5, 2.2)
    return np.asarray(_folds(a, 0.55) - spots, np.float32)


def _freckles(a: Anatomy, p: Palette, skin: Floats) -> None:
    """Freckles where two mixed fields peak: the factors move them all over the face."""
    c = a.colour
    amount = 0.4 + c["freckles"] + 0.3 * c["hair_red"] - 1.0 * p.melanin
    if amount < -1.8:
        return
    rows, columns = window(-0.95, 0.95, -0.5, 1.0)
    field = 0.7 * plane(11, 2.7) + 0.4 * c["mottle_a"] * plane(12, 3.0) + 0.4 * c["mottle_c"] * plane(13, 2.6)
    x, y = sheet()
    where = bump(x, y, (0, 0.35), (0.85, 0.42))[rows, columns]
    dots = step(field[rows, columns], 0.9, 2.0) * where * float(np.clip(0.42 + 0.24 * amount, 0, 0.9))
    skin[rows, columns] *= 1 - dots[..., None] * np.array([0.46, 0.36, 0.22], np.float32)


def _moles(a: Anatomy, skin: Floats) -> None:
    """Two moles whose places are factors."""
    c = a.colour
    x, y = sheet()
    size = 0.032 * math.exp(0.38 * c["spot_size"])
    for name_x, name_y, scale in (("mole_x", "mole_y", 1.0), ("mole_two_x", "mole_two_y", 0.8)):
        across = 1.5 * (normal_share(c[name_x]) - 0.5)
        down = -0.62 + 1.95 * normal_share(c[name_y])
        radius = size * scale
        rows, columns = window(across - 4 * radius, across + 4 * radius, down - 4 * radius, down + 4 * radius)
        spot = np.minimum(bump(x, y, (across, down), (radius, radius))[rows, columns] * 1.5, 1)
        skin[rows, columns] *= 1 - spot[..., None] * np.array([0.62, 0.58, 0.48], np.float32)


def beard_amounts(a: Anatomy) -> tuple[float, float]:
    """How dense beard and moustache are, 0..1."""
    c = a.colour
    lean = 2.3 * a.masculine - 1.9
    return logistic(1.5 * c["beard"] + lean - 0.5), logistic(1.4 * c["moustache"] + 0.7 * c["beard"] + lean - 0.4)


def paint_beard(a: Anatomy, p: Palette, skin: Floats, inside: Floats) -> None:
    """Beard and moustache over the skin, from a shadow to full hair; `inside` full resolution, see `Relief`."""
    beard, moustache = beard_amounts(a)
    if max(beard, moustache) < 0.10:
        return
    x, y = sheet()
    m, b = a.mouth, a.bones
    half = m.half_width
    line = 0.78 - 0.45 * (1 - np.minimum((np.abs(x) / 0.95) ** 2.2, 1.2)) + 0.42 * (np.abs(x) < 2)
    cheek = step(y - (line - 0.10 + 0.05 * plane(21, 12)), 0, 0.16) * step(np.abs(x) + 0 * y, half * 0.72, half * 1.15)
    chin = step(y, m.y + m.lower + 0.03, m.y + m.lower + 0.15)
    soul = bump(x, y, (0, m.y + m.lower + 0.08), (0.07, 0.09))
    area = np.maximum(np.maximum(cheek, chin) * step(inside, -0.06, 0.03), soul) * (
        1 - step(y, b.chin_y - 0.02, b.chin_y + 0.1)
    )
    lip_y = m.y - m.upper - 0.095 + 0.10 * (np.abs(x) / half) ** 2
    over = np.exp(-(((y - lip_y) / 0.085) ** 2)) * (1 - step(np.abs(x), half * 0.95, half * 1.25))
    side = np.exp(-(((np.abs(x) - half * 1.15) / 0.10) ** 2)) * step(y, m.y - 0.18, m.y) * min(beard + moustache, 1)
    amount = np.maximum(
        np.maximum(area, 0.8 * side) * beard, over * moustache * (1 - 0.35 * np.exp(-((x / 0.05) ** 2)))
    )
    grain = np.clip(0.88 + 0.09 * plane(22, 1.8) + 0.08 * plane(23, 3.2), 0.4, 1.1)
    cover = np.clip(amount * 1.05, 0, 0.93) * grain
    cover = np.clip(cover, 0, 0.95)
    skin *= thrice(1 - cover)
    skin += cv2.merge([cover * shade for shade in p.brow * 0.45 + p.hair * 0.35 + 0.10 * p.skin])
