"""Who a drawn person is: factors of shape and of colour, independent and normal, and nothing else.

Two pictures show the same person exactly when these vectors are equal. What a factor does is in `anatomy`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtests.people.drawn.truth import Floats

SHAPE: tuple[str, ...] = (
    "face_width", "face_length", "forehead", "temples", "cheekbones", "cheekbone_height", "cheeks", "jaw_width",
    "jaw_square", "chin_width", "chin_length", "chin_depth", "eye_spacing", "eye_size", "eye_aspect", "eye_tilt",
    "eye_depth", "lid_fold", "inner_corner", "lid_peak", "lower_lid", "iris_size", "brow_height", "brow_thickness",
    "brow_arch", "brow_tilt", "brow_length", "brow_gap", "nose_length", "nose_width", "bridge_width",
    "bridge_depth", "nose_tip", "nose_upturn", "nostrils", "nose_bend", "mouth_width", "upper_lip", "lower_lip",
    "mouth_height", "cupid_bow", "mouth_corners", "philtrum", "ear_size", "ear_flare", "lopsided", "hairline_peak",
    "nasolabial",
)  # fmt: skip
"""The factors of shape, in the order of `Person.shape`."""

ALBEDO: tuple[str, ...] = (
    "presentation", "age", "melanin", "redness", "yellow", "iris_brown", "iris_light", "lip_red", "lip_dark",
    "hair_melanin", "hair_red", "hair_length", "hair_volume", "hair_parting", "hair_curl", "brow_dark",
    "brow_dense", "beard", "moustache", "freckles", "flush", "eye_shadow", "lashes", "forehead_lines", "crow_feet",
    "mottle_a", "mottle_b", "mottle_c", "mole_x", "mole_y", "mole_two_x", "mole_two_y", "spot_size", "gloss",
)  # fmt: skip
"""The factors of colour, in the order of `Person.albedo`."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Somebody who does not exist: `shape` float32 (48,), `albedo` float32 (34,), independent, about N(0, 1)."""

    seed: int
    shape: Floats
    albedo: Floats

    @property
    def factors(self) -> Floats:
        """Both vectors as one, float32 (82,): what an embedder is trained to regress."""
        return np.concatenate([self.shape, self.albedo])


def person(seed: int) -> Person:
    """The person with this number: equal numbers are the same person. `seed` >= 0."""
    drawn = (
        np.random.default_rng([0xFACE, seed])
        .standard_normal(len(SHAPE) + len(ALBEDO))
        .clip(-2.6, 2.6)
        .astype(np.float32)
    )
    return Person(seed, drawn[: len(SHAPE)], drawn[len(SHAPE) :])
