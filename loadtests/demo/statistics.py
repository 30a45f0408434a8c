"""Percentiles and bins of measured times. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile (the smallest value that at least `share` of them do not exceed), None of nothing.

    Nearest rank never invents a value between two measured ones, which matters in the tail.
    """
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 1)


def log_bins(values: Sequence[float], low: float, high: float, count: int) -> list[int]:
    """How many values fall into each of `count` bins of equal width in the logarithm between `low` and `high`; what
    lies outside counts in the outermost ones."""
    bins = [0] * count
    width = (math.log(high) - math.log(low)) / count
    for value in values:
        at = (math.log(max(value, low)) - math.log(low)) / width
        bins[min(count - 1, int(at))] += 1
    return bins
