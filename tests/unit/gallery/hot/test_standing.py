"""The rule by which a hot answer may stand: laws, a simulation at a limit that can be seen, and what it lets stand."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from pipeline.gallery.hot.standing import BINS, EDGES, GRID, LEVELS, NEVER, Rule, least, levels

RULE = Rule(margin=0.12)
DIMENSION = 128


def counted(cosines: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """The counts of one template, int64 (1, BINS)."""
    return np.histogram(cosines, EDGES)[0][None].astype(np.int64)


@given(
    counts=st.lists(st.integers(0, 100_000), min_size=BINS, max_size=BINS),
    more=st.integers(0, BINS - 1),
    level=st.integers(0, LEVELS - 1),
)
@settings(max_examples=30)
def test_more_people_nearer_people_and_fewer_directions_ask_for_more(counts: list[int], more: int, level: int) -> None:
    """One more neighbour, one moved nearer, one direction less, a stricter limit or margin: never a lower threshold."""
    base = np.array([counts], np.int64)
    before = least(RULE, DIMENSION, base)[0]
    added = base.copy()
    added[0, more] += 1
    assert (least(RULE, DIMENSION, added)[0] >= before).all()
    if more + 1 < BINS:
        nearer = base.copy()
        nearer[0, more + 1] += 1
        assert (least(RULE, DIMENSION, nearer)[0] >= least(RULE, DIMENSION, added)[0]).all()
    assert (before[1:] >= before[:-1]).all()
    assert before[level] >= np.float32(GRID[0])
    assert (least(Rule(margin=0.12, limit=1e-7), DIMENSION, base)[0] >= before).all()
    assert (least(Rule(margin=0.13), DIMENSION, base)[0] >= before).all()


def test_a_neighbour_within_the_margin_lets_nothing_stand() -> None:
    """Somebody at cosine 0.9 can be as near as the payer at any similarity."""
    assert (least(RULE, DIMENSION, counted(np.array([0.9]))) == NEVER).all()
    assert (least(RULE, DIMENSION, counted(np.array([]))) == np.float32(GRID[0])).all()


@pytest.mark.parametrize(
    ("square", "payers", "level"),
    [
        (0.5 / DIMENSION, 10**9, 0),
        (0.999 * RULE.share / DIMENSION, 10**9, 0),
        (0.999 * RULE.share / (DIMENSION * 0.95**7), 10**9, 7),
        (1.001 * RULE.share / (DIMENSION * 0.95**7), 10**9, 8),
        (0.999 * RULE.share / DIMENSION, 200, 6),
        (1.0, 10**9, LEVELS),
    ],
    ids=["more than there are", "all", "fewer", "a hair fewer", "few people", "one"],
)
def test_directions_are_rounded_down_and_few_people_count_as_few_directions(
    square: float, payers: int, level: int
) -> None:
    """A level never stands for more directions than there are."""
    assert levels(RULE, DIMENSION, np.array([square]), payers) == [level]


@pytest.mark.parametrize("similarity", [0.75, 0.85])
def test_the_bound_holds_where_it_can_be_seen(similarity: float) -> None:
    """At a limit of one in fifty: of probes exactly at the threshold, no more than that meet an outsider too near.

    Outsiders are drawn at fixed cosines to the template, probes at the similarity, all else in free directions."""
    draw = np.random.default_rng(17)
    dimension, outsiders, trials = 64, 400, 4_000
    cosines = np.clip(draw.normal(0.0, 0.12, outsiders), -0.5, 0.45)
    others = draw.normal(size=(outsiders, dimension))
    others[:, 0] = 0.0
    others = np.sqrt(1 - cosines**2)[:, None] * others / np.linalg.norm(others, axis=1, keepdims=True)
    others[:, 0] = cosines
    # The largest margin that the rule lets stand at this similarity: the edge of the bound.
    low, high = 0.0, 0.6
    for _ in range(7):
        margin = (low + high) / 2
        rule = Rule(margin=margin, limit=0.02, share=1.0, headroom=0.0)
        if least(rule, dimension, counted(cosines))[0, 0] <= similarity:
            low = margin
        else:
            high = margin
    away = draw.normal(size=(trials, dimension))
    away[:, 0] = 0.0
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    seen = np.sqrt(1 - similarity**2) * away
    seen[:, 0] = similarity
    met = ((seen @ others.T).max(axis=1) > similarity - low).mean()
    assert 0.0005 < met <= 0.02 + 3 * np.sqrt(0.02 / trials)
