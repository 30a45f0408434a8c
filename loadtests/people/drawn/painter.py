"""One person's textures, made once, and the drawing of them in any view."""

from __future__ import annotations

import numpy as np

from loadtests.people.drawn.factors import Person
from loadtests.people.drawn.types import Pixels, Truth
from loadtests.people.drawn.view import View


class Painter:
    """Draws one person. Making one costs some tens of milliseconds, drawing some milliseconds; it may be used by one
    thread at a time.
    """

    def __init__(self, who: Person) -> None:
        self.who = who

    def draw(self, view: View, canvas: Pixels) -> Truth:
        """Draw head and shoulders over `canvas`, uint8 (h, w, 3) BGR, changed in place. No sensor noise: see `noise`."""
        raise NotImplementedError


def sample(
    painter: Painter, rng: np.random.Generator, *, view: View | None = None, size: tuple[int, int] = (256, 256)
) -> tuple[Pixels, Truth]:
    """For training: one picture (width, height) with background, a random (or the given) view, blur and sensor noise."""
    raise NotImplementedError


def portrait(who: Person, seed: int, *, size: tuple[int, int] = (480, 600)) -> Pixels:
    """A picture for enrolment: frontal, good light, eyes open, plain wall; `seed` chooses the small differences."""
    raise NotImplementedError
