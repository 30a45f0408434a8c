"""A store as its camera sees it: background, bystanders, the payer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.truth import Pixels, Truth
from loadtests.people.drawn.view import View


def scene(
    rng: np.random.Generator, painters: Sequence[Painter], *, size: tuple[int, int] = (640, 480), view: View | None = None
) -> tuple[Pixels, tuple[Truth, ...]]:
    """One picture of a store with noise: the first of `painters` at the counter (in `view` if given), the others behind,
    smaller and partly hidden. Truths in the order of `painters`; a face hidden by more than half has no truth.
    """
    raise NotImplementedError
