"""Painters that several tests share (making one costs tens of milliseconds), and faces brought onto the template."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from loadtests.people.drawn import Painter, Truth, View, person
from pipeline.vision.align import align

SIDE = 256
MIDDLE = (128.0, 128.0)


@lru_cache(maxsize=8)
def painter(seed: int) -> Painter:
    """The painter of a person, kept."""
    return Painter(person(seed))


def drawn(view: View, who: int = 1) -> tuple[npt.NDArray[np.uint8], Truth]:
    """A person on grey, 256 x 256, and the truth."""
    canvas = np.full((SIDE, SIDE, 3), 140, np.uint8)
    return canvas, painter(who).draw(view, canvas)


def aligned(canvas: npt.NDArray[np.uint8], truth: Truth) -> npt.NDArray[np.float32]:
    """The face on the ArcFace template, float32 (112, 112, 3)."""
    return np.asarray(align([canvas], truth.landmarks[None])[0], np.float32)
