"""Intervals of shares and the bootstrap by identity: known answers, and the laws every interval keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.intervals import binomial, log_choose, percentiles, zero_errors_bound
from pipeline.evaluate.resampling import affordable, draws


@pytest.mark.parametrize(
    ("errors", "trials", "low", "high"),
    [
        # Tables of Clopper and Pearson's exact interval, 95 %.
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (9, 10, 0.5550, 0.9975),
        (3, 100, 0.0062, 0.0852),
        (50, 1000, 0.0373, 0.0654),
        # Zero errors: the one-sided bound; 0 of 5 attacks accepted still allows 45 %.
        (0, 5, 0.0, 0.4507),
        (0, 300, 0.0, 0.00994),
        (5, 5, 0.5493, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_exact_intervals_have_their_known_ends(errors: int, trials: int, low: float, high: float) -> None:
    """A row per count, the interval's ends last."""
    assert binomial(errors, trials) == pytest.approx((low, high), abs=6e-5)


def test_zero_errors_allow_three_in_n() -> None:
    """The rule of three, in its exact form."""
    assert zero_errors_bound(1000) == pytest.approx(3 / 1000, rel=0.01)
    assert zero_errors_bound(0) == 1.0


@given(st.integers(0, 400), st.integers(1, 400))
def test_an_interval_holds_its_rate_and_each_end_just_allows_the_count(errors: int, trials: int) -> None:
    """By the definition: at either end a count as far out as this one has a chance of 2.5 %, summed term by term."""
    errors = min(errors, trials)
    low, high = binomial(errors, trials)
    assert 0 <= low <= errors / trials <= high <= 1
    if 0 < errors < trials:
        at_least = sum(math.comb(trials, k) * low**k * (1 - low) ** (trials - k) for k in range(errors, trials + 1))
        at_most = sum(math.comb(trials, k) * high**k * (1 - high) ** (trials - k) for k in range(errors + 1))
        assert (at_least, at_most) == pytest.approx((0.025, 0.025), rel=1e-6)


@pytest.mark.parametrize(("errors", "trials"), [(-1, 3), (4, 3)])
def test_counts_that_cannot_be_are_refused(errors: int, trials: int) -> None:
    """More errors than trials is a mistake of the caller."""
    with pytest.raises(ValueError, match="trials"):
        binomial(errors, trials)


def test_a_draw_of_people_is_the_same_by_seed_and_draws_as_many_as_there_are() -> None:
    """Resampling repeats itself, changes with the seed, and each replicate has the size of the original."""
    assert np.array_equal(draws(50, 20, seed=1), draws(50, 20, seed=1))
    assert not np.array_equal(draws(50, 20, seed=1), draws(50, 20, seed=2))
    assert (draws(50, 20).sum(axis=1) == 50).all()
    assert draws(0, 3).shape == (3, 0)


def test_replicates_are_fewer_where_comparisons_are_many() -> None:
    """A thousand while that is quick, never below two hundred."""
    assert [affordable(n) for n in (0, 1_000, 300_000, 10**9)] == [1000, 1000, 500, 200]


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0, 1))
def test_a_percentile_interval_holds_the_estimate(replicates: list[float], estimate: float) -> None:
    """Whatever was drawn; without a sound replicate nothing is known."""
    low, high = percentiles([*replicates, float("nan")], estimate)
    assert low <= estimate <= high
    if not replicates:
        assert (low, high) == (0.0, 1.0)


@given(st.integers(0, 60), st.integers(-2, 62))
def test_ways_to_choose(whole: int, part: int) -> None:
    """Against whole-number arithmetic; what cannot be chosen has no way."""
    ways = math.comb(whole, part) if part >= 0 else 0
    assert math.exp(float(log_choose(np.array([whole]), part)[0])) == pytest.approx(ways, rel=1e-9)
