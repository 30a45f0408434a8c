"""From non-mated scores to what may be said of an embedder's false matches (`pipeline.domain.fmr.FmrModel`).

Points stand at each decade of the FMR that at least two matches were seen for, at the lowest threshold that holds it,
rounded up to a thousandth; their intervals draw people anew. The slope beyond the last point takes the highest scores
above a high one as exponential (peaks over threshold; Pickands, 1975): a cosine cannot exceed 1, which makes that err
upwards. How rare an error the data can show is counted in pairs of people, not in comparisons.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.domain.fmr import FmrModel, FmrPoint
from pipeline.errors import UsageError
from pipeline.evaluate.comparisons import Comparisons, Floats
from pipeline.evaluate.intervals import percentiles, zero_errors_bound
from pipeline.evaluate.resampling import SEED, draws

FEWEST_MATCHES = 2
_PEAKS = (50, 300)
_REPLICATES = 400
_TAIL = 0.015
"""The share of non-mated scores that is looked at: all that points from an FMR of 1e-2 on need."""


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The highest of `comparisons` non-mated scores, falling, with the numbers of the two people behind each."""

    scores: Floats
    one: npt.NDArray[np.integer]
    two: npt.NDArray[np.integer]
    comparisons: int
    people: int
    pairs: int


@dataclass(frozen=True, slots=True, eq=False)
class Replicate:
    """How often each person was drawn, as the first and as the second of a comparison, and how many comparisons that
    makes."""

    one: Floats
    two: Floats
    comparisons: float


def calibrate(comparisons: Comparisons, data: str) -> FmrModel:
    """The model behind all non-mated comparisons of pictures; raises `UsageError` where they are too few."""
    count = len(comparisons.non_mated)
    kept = min(count, max(200, math.ceil(_TAIL * count)))
    one, two = comparisons.person[comparisons.non_mated_pictures[:kept]].T
    people = comparisons.people
    tail = Tail(comparisons.non_mated[:kept], one, two, count, people, people * (people - 1) // 2)
    return fitted(tail, _all_pairs(comparisons), data)


def fitted(tail: Tail, replicates: Iterable[Replicate], data: str) -> FmrModel:
    """The model of these scores; raises `UsageError` where fewer than two points are supported."""
    thresholds = list(_thresholds(tail))
    if len(thresholds) < 2:
        raise UsageError(
            f"calibrating false match rates on {data}: {tail.comparisons} non-mated comparisons of {tail.pairs} pairs "
            "of people support fewer than two points; give pictures of more people"
        )
    above = np.searchsorted(-tail.scores, [-t for t in thresholds], side="right")
    fmr = above / tail.comparisons
    drawn = np.array([_weighed(tail, replicate, above) for replicate in replicates])
    points: list[FmrPoint] = []
    for column, threshold in enumerate(thresholds):
        low, high = percentiles(drawn[:, column], float(fmr[column]))
        ceiling = points[-1].high if points else 1.0
        high = min(max(high, zero_errors_bound(tail.pairs)), ceiling)
        points.append(FmrPoint(threshold=threshold, fmr=float(fmr[column]), low=low, high=max(high, fmr[column])))
    return FmrModel(
        data=data,
        people=tail.people,
        comparisons=tail.comparisons,
        pairs=tail.pairs,
        points=tuple(points),
        per_decade=_per_decade(tail),
    )


def _thresholds(tail: Tail) -> Iterator[float]:
    """At each decade from 1e-2 on, as far as matches, pairs and the tail carry; each higher than the one before."""
    last, least = -1.0, math.inf
    for power in itertools.count(2):
        fmr = 10.0**-power
        allowed = int(fmr * tail.comparisons * (1 + 1e-12))
        if allowed < FEWEST_MATCHES:
            return
        if allowed >= len(tail.scores):
            continue
        threshold = math.ceil(float(np.nextafter(tail.scores[allowed], 2)) * 1000) / 1000
        matches = int((tail.scores >= threshold).sum())
        if matches < FEWEST_MATCHES or matches < tail.comparisons / tail.pairs or not threshold > last:
            return
        if matches < least:
            last, least = threshold, matches
            yield threshold


def _weighed(tail: Tail, replicate: Replicate, above: npt.NDArray[np.intp]) -> Floats:
    cumulated = np.concatenate([[0.0], np.cumsum(replicate.one[tail.one] * replicate.two[tail.two])])
    return np.asarray(cumulated[above] / replicate.comparisons)


def _per_decade(tail: Tail) -> float:
    """By how much the threshold rises for a tenth of the FMR, beyond a high score."""
    peaks = min(len(tail.scores) - 1, int(np.clip(tail.comparisons // 1000, *_PEAKS)))
    excess = float((tail.scores[:peaks] - tail.scores[peaks]).mean())
    return max(excess, 1e-4) * math.log(10)


def _all_pairs(comparisons: Comparisons) -> Iterator[Replicate]:
    """People drawn anew, all pairs of their pictures compared."""
    held = np.bincount(comparisons.person, minlength=comparisons.people)
    for weights in draws(comparisons.people, _REPLICATES, SEED):
        pictures = weights * held
        yield Replicate(weights, weights, float(pictures.sum() ** 2 - (pictures**2).sum()) / 2)
