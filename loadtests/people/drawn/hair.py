"""Head hair: a mask that says where it grows, strands combed from the parting, and how far it stands off the skull."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from loadtests.people.drawn.anatomy import Anatomy, logistic
from loadtests.people.drawn.colours import Palette
from loadtests.people.drawn.grid import along, plane, sheet, step, strands
from loadtests.people.drawn.relief import outline
from loadtests.people.drawn.truth import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Hair:
    """Full resolution: `cover` float32 (h, w) 0..1, `paint` float32 (h, w, 3). `rise` float32 (h/2, w/2) lifts the
    relief. `length` as in `hair_length`: below -1.2 shaved, above 0.6 over the shoulders.
    """

    cover: Floats
    paint: Floats
    rise: Floats
    length: float


def hair_length(a: Anatomy) -> float:
    """Length as one number: -1.3 and below shaved or bald, 0 short, 0.6 and above long."""
    return a.colour["hair_length"] - 0.75 * a.masculine - (0.5 * a.old if a.masculine > 0 else 0.0)


def paint_hair(a: Anatomy, p: Palette, face: Floats) -> Hair:
    """The hair of this person; `face` is what skin covers: stubble grows nowhere else."""
    x, y = sheet()
    length = hair_length(a)
    curl = logistic(2.2 * a.colour["hair_curl"] + 1.6 * (p.melanin - 0.6))
    volume = max(0.10 + 0.055 * a.colour["hair_volume"] + 0.05 * curl + 0.03 * min(length, 1.5), 0.03)
    if length < -0.9:
        volume = 0.012
    cover = _where(a, x, y, length, volume, curl)
    if length < -0.6:
        shaved = float(np.clip((length + 1.9) / 1.3, 0.12, 1.0))
        cover = cover * shaved * face
    paint = _strands(a, p, x, y, length, curl)
    halved = cv2.resize(cover, (cover.shape[1] // 2, cover.shape[0] // 2), interpolation=cv2.INTER_AREA)
    small = np.asarray(halved, np.float32)
    rise = cv2.GaussianBlur(step(small, 0.2, 0.9), (0, 0), 2.0) * np.float32(0.35 * volume + 0.02)
    return Hair(cover, paint, np.asarray(rise, np.float32), length)


def _where(a: Anatomy, x: Floats, y: Floats, length: float, volume: float, curl: float) -> Floats:
    """Inside the outer edge of the hair, and above the hairline or beside the face."""
    b = a.bones
    noise = plane(31, 5.0) * (0.004 + 0.018 * curl) + plane(32, 14.0) * (0.008 + 0.014 * curl)
    size = np.abs(x)
    ends = float(np.interp(length, [-1.0, -0.3, 0.3, 0.7, 1.3, 2.2], [0.20, 0.30, 0.62, 1.25, 1.9, 2.6]))
    skull = outline(a, np.clip(y, b.crown_y, -0.25))
    wide = float(np.interp(ends, [0.2, 0.6, 1.2, 2.6], [0.02, 0.10, 0.20, 0.22])) + 0.5 * volume
    fall = np.interp(y, [-0.4, 0.3, 1.2, 2.3], [volume * 0.75, wide, wide + 0.02, wide - 0.05 + 0.1 * volume])
    outer = np.where(y < -0.4, skull + volume * 0.75, skull + fall).astype(np.float32)
    top = b.crown_y - volume
    dome = (np.abs(x / (b.temple_x + volume)) ** 2.3 + np.abs(np.minimum(y + 0.45, 0) / (top + 0.45)) ** 2.3) ** (
        1 / 2.3
    )
    within = np.where(y < -0.45, (1 - dome) * 0.9, outer - size) + noise
    line = _hairline(a, x, length)
    above = line + 0.6 * noise - y
    beside = size - (_inner(a, y, length) + noise) + 0 * y
    beside = np.minimum(beside, ends + 0.5 * noise + 0.12 * np.cos(7 * x) * (length > 0.4) - y)
    return step(within, -0.012, 0.03) * np.maximum(step(above, -0.02, 0.05), step(beside, -0.012, 0.045))


def _hairline(a: Anatomy, x: Floats, length: float) -> Floats:
    """Lower edge of the hair over the forehead at each x."""
    b, c = a.bones, a.colour
    recede = max(0.0, 0.10 * a.old + 0.05 * a.masculine) if a.masculine > 0 else 0.0
    middle = b.hairline_y
    bald = 0.55 * float(np.clip(0.9 * a.old * (a.masculine > 0.2) - 0.25 + 0.25 * (length < -1.2), 0, 1))
    peak = 0.035 * b.hairline_peak
    points = [
        (0.0, middle + peak - bald),
        (0.18, middle - 0.02 - bald),
        (0.45, middle - 0.01 - recede - 0.9 * bald),
        (0.70, middle + 0.16 - recede - 0.5 * bald),
        (0.84, -0.55 - 0.02 * b.hairline_peak),
        (0.93, -0.15),
        (1.6, 0.0),
    ]
    line = along(points, np.abs(x))
    fringe = float(np.clip(0.8 * c["hair_volume"] - 0.8 * np.abs(c["hair_parting"]) + 0.45 * min(length, 0.5), 0, 1.2))
    if fringe > 0 and length > -0.4:
        line = line + fringe * (middle * -0.42) * np.exp(-((x / 0.62) ** 4))
    if length > -0.4:
        line = line + 0.11 * np.sin(np.clip(c["hair_parting"], -1.6, 1.6) * 1.1) * np.tanh(2.2 * x)
    return np.asarray(line, np.float32)


def _inner(a: Anatomy, y: Floats, length: float) -> Floats:
    """Where the hair beside the face begins, half width at each height."""
    b = a.bones
    tuck = 0.05 + 0.05 * min(max(length, -1), 1.5)
    face = outline(a, np.clip(y, -0.7, 0.72))
    drop = np.interp(
        y, [-0.7, -0.3, 0.2, 0.9, 1.5, 2.2], [-0.10, -0.045, 0.03 - tuck, -tuck, -tuck - 0.05, -tuck + 0.02]
    )
    return np.asarray(face + drop - 0.0 * b.temple_x, np.float32)


def _strands(a: Anatomy, p: Palette, x: Floats, y: Floats, length: float, curl: float) -> Floats:
    """The colour of hair everywhere on the sheet: strands run from the parting outward and down."""
    parting = 0.42 * float(np.clip(a.colour["hair_parting"], -1.5, 1.5))
    from_x = x - parting * np.exp(-np.maximum(y + 1.2, 0) * 1.5)
    from_y = np.maximum(y - (a.bones.crown_y + 0.10), -0.35) + 0.5
    angle = np.arctan2(from_x * 1.25, from_y)
    reach = np.hypot(from_x, from_y)
    wave = curl * (0.05 * np.sin(17 * reach + 3 * plane(33, 30)) + 0.05 * plane(34, 7))
    column = ((angle + wave) * 230 + 256).astype(np.float32)
    row = (reach * 60 + 40 * curl * plane(35, 6)).astype(np.float32)
    field = cv2.remap(strands(1), column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    tight = max(curl - 0.55, 0) * 2.2
    field = (1 - tight) * field + tight * (
        2.2 * (plane(36, 5.0) - np.roll(plane(36, 5.0), (2, 2), (0, 1))) + 0.3 * plane(38, 2.5)
    )
    if length < -0.4:
        field = 0.35 * field + 0.55 * plane(37, 2.0)
    sheen = np.exp(-(((reach - 0.85) / 0.22) ** 2)) * (0.20 * (1 - curl) + 0.05)
    light = 0.90 + (0.15 - 0.05 * curl) * field + sheen
    depth = 1 - 0.28 * step(y, -0.2, 1.2) * step(-np.abs(x), -1.25, -0.85)
    light = np.clip(light * depth, 0.35, 1.7)
    paint = cv2.merge([colour * light for colour in p.hair])
    if p.grey > 0.05:
        silver = np.clip(p.grey * 0.5 * (strands(2)[:384, :304] * 0.0 + field + 0.4), 0, 0.6)[..., None]
        paint = paint * (1 - silver) + np.float32(188) * silver * light[..., None]
    return np.asarray(paint, np.float32)
