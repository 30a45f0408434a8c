"""Presentation attacks on a drawn person: a print, a replay on a screen, a cut-out paper mask."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.truth import Pixels, Truth
from loadtests.people.drawn.view import View


class Species(StrEnum):
    """The kinds of presentation attack (ISO/IEC 30107-3: presentation attack instrument species)."""

    PRINT = "print"
    SCREEN = "screen"
    CUTOUT_MASK = "cutout_mask"


def attack(painter: Painter, species: Species, view: View, canvas: Pixels, rng: np.random.Generator) -> Truth:
    """Draw an attack that shows `painter`'s person over `canvas` (in place), presented as `view` says: face_px, centre,
    roll and light as for a bona fide face. No sensor noise. The truth has `bona_fide` false.
    """
    raise NotImplementedError
