"""How sure a share of independent trials is: exact binomial intervals, and what zero errors in n trials still allow.

Clopper and Pearson (1934): the two-sided interval holds every rate at which the count, or one further out, would not be
rarer than (1 - level) / 2 on either side. At zero errors the one-sided bound is given instead, 1 - (1 - level)^(1/n):
the exact form of the rule of three (3 / n; ISO/IEC 19795-1, annex B), because nothing can be said downwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
"""Every interval of this package holds the true figure with this confidence."""

Interval = tuple[float, float]

_STEPS = 60
"""Halvings of [0, 1]: beyond the resolution of a float64 near the ends of what a rate can be."""


def binomial(errors: int, trials: int, level: float = LEVEL) -> Interval:
    """The interval of the rate behind `errors` out of `trials`; (0, 1) when there were no trials."""
    if not 0 <= errors <= trials:
        raise ValueError(f"{errors} errors in {trials} trials")
    if trials == 0:
        return 0.0, 1.0
    if errors == 0:
        return 0.0, zero_errors_bound(trials, level)
    if errors == trials:
        return 1.0 - zero_errors_bound(trials, level), 1.0
    tail = (1.0 - level) / 2
    low = _root(lambda rate: 1.0 - _at_most(errors - 1, trials, rate) < tail)
    high = _root(lambda rate: _at_most(errors, trials, rate) > tail)
    return low, high


def zero_errors_bound(trials: int, level: float = LEVEL) -> float:
    """The largest rate at which `trials` without an error are not rarer than 1 - level; 1 when there were none."""
    return 1.0 if trials == 0 else float(-np.expm1(np.log1p(-level) / trials))


def percentiles(replicates: npt.NDArray[np.float64] | Sequence[float], estimate: float) -> Interval:
    """The percentile interval of a bootstrap (Efron, 1979), widened where needed to hold the estimate itself."""
    tail = (1.0 - LEVEL) / 2
    sound = np.asarray(replicates, np.float64)
    sound = sound[np.isfinite(sound)]
    if not sound.size:
        return 0.0, 1.0
    low, high = np.quantile(sound, [tail, 1.0 - tail])
    return min(float(low), estimate), max(float(high), estimate)


def _at_most(count: int, trials: int, rate: float) -> float:
    """P(X <= count) of a binomial, summed over whichever tail has fewer terms."""
    if count >= trials:
        return 1.0
    lower = count < trials / 2
    terms = np.arange(0, count + 1) if lower else np.arange(count + 1, trials + 1)
    logs = _log_factorials(trials)
    chosen = logs[trials] - logs[terms] - logs[trials - terms]
    total = float(np.exp(chosen + terms * np.log(rate) + (trials - terms) * np.log1p(-rate)).sum())
    return min(total, 1.0) if lower else max(1.0 - total, 0.0)


def _root(holds: Callable[[float], bool]) -> float:
    """Where a condition on the rate, true below and false above, changes."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=4)
def _log_factorials(most: int) -> npt.NDArray[np.float64]:
    """ln(k!) for k = 0 .. most."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


def log_choose(whole: npt.NDArray[np.int64], part: npt.NDArray[np.int64] | int) -> npt.NDArray[np.float64]:
    """ln of the ways to choose `part` out of `whole`, minus infinity where there is none; arrays broadcast."""
    wholes, parts = np.broadcast_arrays(np.asarray(whole, np.int64), np.asarray(part, np.int64))
    logs = _log_factorials(int(max(wholes.max(initial=0), 0)))
    possible = (parts >= 0) & (parts <= wholes)
    w, p = np.where(possible, wholes, 0), np.where(possible, parts, 0)
    return np.where(possible, logs[w] - logs[p] - logs[w - p], -np.inf)
