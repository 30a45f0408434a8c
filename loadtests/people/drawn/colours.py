"""Colours of skin, hair, lips and irises from factors; blue, green, red as float32 0..255.

The palettes run through the whole range of human skin and hair; factors are spread evenly along them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtests.people.drawn.anatomy import Anatomy, normal_share
from loadtests.people.drawn.truth import Floats

_SKIN = np.array(
    [[184, 202, 234], [166, 190, 229], [146, 176, 222], [112, 146, 200], [80, 114, 170], [58, 84, 132], [44, 60, 98]],
    np.float32,
)
_HAIR = np.array([[134, 178, 214], [84, 130, 172], [46, 78, 116], [34, 50, 74], [26, 32, 42], [20, 21, 25]], np.float32)
_IRIS = np.array(
    [[168, 150, 122], [150, 142, 104], [86, 128, 120], [50, 86, 126], [30, 52, 84], [18, 28, 46]], np.float32
)


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """One person's colours, each float32 (3,); `melanin` 0 fair .. 1 dark; `grey` share of hair without colour."""

    skin: Floats
    lip: Floats
    hair: Floats
    hair_old: Floats
    brow: Floats
    iris: Floats
    melanin: float
    grey: float


def palette(a: Anatomy) -> Palette:
    """The colours of this person."""
    c = a.colour
    melanin = normal_share(c["melanin"])
    skin = _read(_SKIN, 0.04 + 0.94 * melanin)
    skin = skin * np.array([1 - 0.055 * c["yellow"], 1 - 0.022 * c["redness"], 1 + 0.022 * c["redness"]], np.float32)
    red = np.array([118, 104, 196], np.float32) * (1 - 0.42 * melanin)
    red = red + np.array([-10, -16, 18], np.float32) * c["lip_red"]
    strength = 0.50 + 0.10 * c["lip_red"] - 0.08 * a.masculine
    lip = (skin * (1 - strength) * 0.92 + red * strength) * np.exp(-0.10 * c["lip_dark"] - 0.05 * melanin)
    dark = normal_share(0.85 * c["hair_melanin"] + 1.1 * c["melanin"] + 0.55)
    hair = _read(_HAIR, dark)
    hair = hair * np.array([1 - 0.10 * c["hair_red"], 1 - 0.03 * c["hair_red"], 1 + 0.13 * c["hair_red"]], np.float32)
    grey = float(np.clip((a.years - 44) / 28, 0, 0.95))
    silver = np.array([176, 180, 182], np.float32)
    brown = normal_share(c["iris_brown"] + 0.9 * c["melanin"] + 0.45)
    iris = _read(_IRIS, brown) * np.exp(0.26 * c["iris_light"])
    shade = hair * (1 - 0.6 * grey) + silver * 0.6 * grey
    brow = shade * 0.75 * np.exp(-0.22 * c["brow_dark"]) + 6
    return Palette(
        skin=_pixel(skin),
        lip=_pixel(lip),
        hair=_pixel(hair * (1 - grey) + silver * grey),
        hair_old=_pixel(hair * 0.45 + silver * 0.55 if grey < 0.55 else silver * 1.1),
        brow=_pixel(brow),
        iris=_pixel(iris),
        melanin=melanin,
        grey=grey,
    )


def _read(colours: Floats, share: float) -> Floats:
    at = np.clip(share, 0, 1) * (len(colours) - 1)
    low = min(int(at), len(colours) - 2)
    return np.asarray(colours[low] * (1 - (at - low)) + colours[low + 1] * (at - low), np.float32)


def _pixel(colour: Floats) -> Floats:
    return np.clip(colour, 4, 252).astype(np.float32)
