"""From factors to a head one can measure: lengths, positions, shares.

The unit of length is half the breadth of an average face (67.5 mm); the origin lies between the eyes, x to the right of
the picture, y down, z towards the camera. Averages follow adult anthropometry (Farkas, 1994, rounded); each factor
moves one measure, and two (`presentation`, `age`) move several, as in people: the factors stay independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtests.people.drawn.factors import ALBEDO, SHAPE, Person


def normal_share(value: float) -> float:
    """The share of a normal population below `value`: a factor as an even spread from 0 to 1."""
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


def logistic(value: float) -> float:
    """0 to 1, steepest at 0."""
    return 1 / (1 + math.exp(-value))


@dataclass(frozen=True, slots=True)
class Bones:
    """The outline and the large forms. `*_y` heights on the face, `*_x` half widths."""

    crown_y: float
    hairline_y: float
    hairline_peak: float
    temple_x: float
    cheekbone_x: float
    cheekbone_y: float
    cheek_x: float
    cheek_full: float
    jaw_x: float
    jaw_square: float
    chin_x: float
    chin_y: float
    chin_z: float
    ear_height: float
    ear_out: float
    neck_x: float
    brow_ridge: float
    skew: float
    nasolabial: float


@dataclass(frozen=True, slots=True)
class EyeForm:
    """Both eyes and brows; angles in radians, + outer end higher."""

    x: float
    half_width: float
    height: float
    tilt: float
    depth: float
    fold: float
    hood: float
    peak: float
    bag: float
    iris: float
    brow_y: float
    brow_thick: float
    brow_arch: float
    brow_tilt: float
    brow_half: float
    brow_x: float


@dataclass(frozen=True, slots=True)
class NoseForm:
    """Tip, wings and bridge."""

    tip_y: float
    base_y: float
    half_width: float
    bridge_x: float
    bridge_z: float
    tip_z: float
    tip_size: float
    upturn: float
    nostril: float
    bend: float


@dataclass(frozen=True, slots=True)
class MouthForm:
    """Lips, closed and at rest."""

    y: float
    half_width: float
    upper: float
    lower: float
    bow: float
    corners: float
    philtrum: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """All measures of one person, and the factors of colour by name for those who paint."""

    bones: Bones
    eyes: EyeForm
    nose: NoseForm
    mouth: MouthForm
    colour: dict[str, float]
    masculine: float
    years: float
    old: float


def anatomy(who: Person) -> Anatomy:
    """What the person's factors mean."""
    f = dict(zip(SHAPE, map(float, who.shape), strict=True))
    c = dict(zip(ALBEDO, map(float, who.albedo), strict=True))
    man = c["presentation"]
    years = min(max(37 + 14 * c["age"], 17.0), 82.0)
    old = min(max((years - 28) / 45, 0.0), 1.0)
    mouth_y = 1.02 + 0.055 * f["mouth_height"] + 0.02 * f["face_length"]
    return Anatomy(
        bones=_bones(f, man, old, mouth_y),
        eyes=_eyes(f, man, old),
        nose=_nose(f, man),
        mouth=MouthForm(
            y=mouth_y,
            half_width=0.37 * math.exp(0.11 * f["mouth_width"]),
            upper=0.085 * math.exp(0.36 * f["upper_lip"] - 0.10 * man - 0.35 * old),
            lower=0.125 * math.exp(0.26 * f["lower_lip"] - 0.08 * man - 0.25 * old),
            bow=0.034 + 0.034 * f["cupid_bow"],
            corners=0.035 * f["mouth_corners"] - 0.015 * old,
            philtrum=0.7 + 0.65 * f["philtrum"],
        ),
        colour=c,
        masculine=man,
        years=years,
        old=old,
    )


def _bones(f: dict[str, float], man: float, old: float, mouth_y: float) -> Bones:
    wide = 1 + 0.05 * f["face_width"]
    chin_y = mouth_y + 0.585 + 0.07 * f["chin_length"] + 0.05 * f["face_length"] + 0.02 * man
    return Bones(
        crown_y=-1.52 - 0.03 * f["forehead"],
        hairline_y=-0.93 - 0.11 * f["forehead"] - 0.05 * f["face_length"],
        hairline_peak=f["hairline_peak"],
        temple_x=wide * (0.91 + 0.045 * f["temples"]),
        cheekbone_x=wide * (0.985 + 0.04 * f["cheekbones"]),
        cheekbone_y=0.38 - 0.08 * f["cheekbone_height"],
        cheek_x=wide * (0.94 + 0.045 * f["cheeks"] - 0.01 * man),
        cheek_full=f["cheeks"] - 0.7 * old,
        jaw_x=wide * (0.80 + 0.055 * f["jaw_width"] + 0.025 * man + 0.02 * f["cheeks"]),
        jaw_square=0.5 + 0.3 * f["jaw_square"] + 0.15 * man,
        chin_x=0.37 * math.exp(0.17 * f["chin_width"] + 0.05 * man),
        chin_y=chin_y,
        chin_z=0.05 * f["chin_depth"] + 0.02 * man,
        ear_height=0.50 * math.exp(0.10 * f["ear_size"] + 0.05 * old),
        ear_out=0.085 + 0.045 * f["ear_flare"],
        neck_x=0.64 + 0.07 * man + 0.03 * f["jaw_width"],
        brow_ridge=0.035 + 0.02 * man,
        skew=0.022 * f["lopsided"],
        nasolabial=0.34 + 0.42 * f["nasolabial"] + 0.6 * old,
    )


def _eyes(f: dict[str, float], man: float, old: float) -> EyeForm:
    size = math.exp(0.075 * f["eye_size"] - 0.02 * man)
    return EyeForm(
        x=0.465 + 0.030 * f["eye_spacing"],
        half_width=0.215 * size,
        height=0.160 * size * math.exp(0.17 * f["eye_aspect"] - 0.12 * old),
        tilt=0.055 + 0.085 * f["eye_tilt"] - 0.03 * old,
        depth=0.5 + 0.3 * f["eye_depth"] + 0.08 * man,
        fold=0.062 * math.exp(0.65 * f["lid_fold"] - 0.3 * old),
        hood=logistic(2.0 * f["inner_corner"] - 0.8),
        peak=0.30 * f["lid_peak"],
        bag=max(0.35 + 0.42 * f["lower_lid"] + 0.4 * old, 0.0),
        iris=0.092 * math.exp(0.10 * f["iris_size"]),
        brow_y=-0.345 - 0.045 * f["brow_height"] + 0.025 * man,
        brow_thick=0.070 * math.exp(0.27 * f["brow_thickness"] + 0.20 * man),
        brow_arch=0.050 + 0.040 * f["brow_arch"] - 0.015 * man,
        brow_tilt=-0.015 + 0.06 * f["brow_tilt"],
        brow_half=0.29 * math.exp(0.12 * f["brow_length"]),
        brow_x=0.50 + 0.035 * f["brow_gap"],
    )


def _nose(f: dict[str, float], man: float) -> NoseForm:
    tip_y = 0.565 + 0.055 * f["nose_length"] + 0.01 * man
    return NoseForm(
        tip_y=tip_y,
        base_y=tip_y + 0.135 - 0.02 * f["nose_upturn"],
        half_width=0.250 * math.exp(0.13 * f["nose_width"] + 0.03 * man),
        bridge_x=0.095 * math.exp(0.22 * f["bridge_width"]),
        bridge_z=0.11 + 0.05 * f["bridge_depth"] + 0.01 * man,
        tip_z=0.34 + 0.03 * f["nose_length"],
        tip_size=0.125 * math.exp(0.26 * f["nose_tip"]),
        upturn=f["nose_upturn"],
        nostril=0.052 * math.exp(0.32 * f["nostrils"]),
        bend=0.055 * f["nose_bend"],
    )
