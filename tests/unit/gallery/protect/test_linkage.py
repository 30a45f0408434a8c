"""The break is real: what the thief of two galleries finds, and what a stolen vector alone does not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.gallery.protect.linkage import Linked, attack, drawn, haar, link, spread

PEOPLE, DIMENSION = 100, 40
SAME, OTHER = 1.0, 0.9


@pytest.mark.parametrize(
    ("mated_cosine", "known", "at_least", "at_most"),
    [
        (SAME, None, 0.0, 0.1),
        (SAME, 0, 1.0, 1.0),
        (SAME, 16, 1.0, 1.0),
        (SAME, DIMENSION, 1.0, 1.0),
        (OTHER, None, 0.0, 0.1),
        (OTHER, 16, 0.95, 1.0),
        (OTHER, DIMENSION, 0.98, 1.0),
    ],
)
def test_linkage(mated_cosine: float, known: int | None, at_least: float, at_most: float) -> None:
    """By nearness alone chance; with the Gram matrix of the same templates everybody, without knowing anybody; of other
    pictures nearly everybody once 16 people are known."""
    one, other = drawn(PEOPLE, DIMENSION, mated_cosine, seed=1)
    rate, low, high = spread([attack(one, other, known, seed) for seed in range(1)])
    assert at_least <= rate <= at_most
    assert low <= rate <= high


def test_an_attack_uses_nothing_but_inner_products() -> None:
    """Whatever the two keys are, the same rows are linked to the same rows: the attack sees no key."""
    one, other = (v.astype(np.float64) for v in drawn(PEOPLE, DIMENSION, OTHER, seed=2))
    rng, known = np.random.default_rng(3), (np.arange(16), np.arange(16))
    found = [link(one @ haar(DIMENSION, rng), other @ haar(DIMENSION, rng), known) for _ in range(2)]
    assert (found[0] == found[1]).mean() > 0.97


def test_drawn_people_are_as_alike_as_asked() -> None:
    """Two pictures of one person have the mated cosine on average, and length 1."""
    one, other = drawn(2_000, 64, 0.82, seed=4)
    assert float((one * other).sum(axis=1).mean()) == pytest.approx(0.82, abs=0.01)
    assert np.linalg.norm(one, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_runs_that_differ_have_a_wide_interval() -> None:
    """A run is all or nothing: the interval is that of the runs, not of their people."""
    runs = [Linked(known=0, right=right, asked=1_000) for right in (0, 1_000, 0, 1_000)]
    rate, low, high = spread(runs)
    assert rate == 0.5
    assert (low, high) == (0.0, 1.0)
