"""How well two groups of scores are told apart: FMR, FNMR, EER (ISO/IEC 19795-1), with intervals by identity.

`similarity[i, j]` compares the template of person i with a probe of person j: mated where i = j. Resampling people (not
pairs) with replacement gives the intervals, because all pairs of one person err together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float64]

REPEATS = 1000
TAIL = 0.1
"""The share of non-mated scores, the highest, that is kept: all that thresholds up to this FMR need."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Scores of n people: `mated` (n, probes) per person, and the highest `kept` (a share) of the non-mated scores with
    the person of the template and of the probe; `non_mated` is how many there were in all.
    """

    mated: Floats
    tail: Floats
    of_template: npt.NDArray[np.intp]
    of_probe: npt.NDArray[np.intp]
    non_mated: int
    kept: float


def trial(templates: Floats, probes: Floats, *, kept: float = TAIL) -> Trial:
    """Every template (n, d) against every probe (n, k, d), rows of length 1."""
    people, per_person = probes.shape[:2]
    mated = np.einsum("nd,nkd->nk", templates, probes)
    tails, rows, columns = [], [], []
    for k in range(per_person):
        scores = templates @ probes[:, k].T
        np.fill_diagonal(scores, -np.inf)
        keep = max(1, int(kept * people * (people - 1)))
        flat = np.argpartition(scores, -keep, axis=None)[-keep:]
        tails.append(scores.ravel()[flat])
        rows.append(flat // people)
        columns.append(flat % people)
    order = np.argsort(-np.concatenate(tails), kind="stable")
    return Trial(
        mated,
        np.concatenate(tails)[order],
        np.concatenate(rows)[order],
        np.concatenate(columns)[order],
        per_person * people * (people - 1),
        kept,
    )


def threshold(scores: Trial, fmr: float, times: Weights | None = None) -> float:
    """The lowest threshold at which at most `fmr` of the non-mated comparisons match (score >= threshold). `times` (n,)
    says how often each person was drawn in a resample.
    """
    if times is None:
        allowed = int(fmr * scores.non_mated)
        return float(np.nextafter(scores.tail[min(allowed, len(scores.tail) - 1)], np.float32(2.0)))
    weight = np.cumsum(times[scores.of_template] * times[scores.of_probe])
    total = scores.non_mated / len(times) / (len(times) - 1) * float(times.sum() ** 2 - (times**2).sum())
    first = min(int(np.searchsorted(weight, fmr * total, side="right")), len(scores.tail) - 1)
    return float(np.nextafter(scores.tail[first], np.float32(2.0)))


def fnmr(scores: Trial, at: float, times: Weights | None = None) -> float:
    """The share of mated comparisons below `at`."""
    missed = (scores.mated < at).mean(axis=1)
    return float(np.average(missed, weights=times))


def fnmr_at(fmr: float) -> Callable[[Trial, Weights | None], float]:
    """The figure "FNMR at the threshold of this FMR", with the threshold found in the same sample."""
    return lambda scores, times: fnmr(scores, threshold(scores, fmr, times), times)


def eer(scores: Trial, times: Weights | None = None) -> float:
    """The error where FMR and FNMR are equal, up to the share that was kept: found by bisection over the FMR."""
    low, high = 0.0, scores.kept * 0.99
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if fnmr(scores, threshold(scores, middle, times), times) > middle else (low, middle)
    return (low + high) / 2


def interval(
    figure: Callable[[Trial, Weights | None], float], scores: Trial, *, repeats: int = REPEATS
) -> tuple[float, float]:
    """The 95 % interval of `figure`: people drawn anew with replacement, percentile method (Efron, 1979)."""
    people = len(scores.mated)
    rng = np.random.default_rng(20261125)
    found = [
        figure(scores, rng.multinomial(people, np.full(people, 1 / people)).astype(np.float64)) for _ in range(repeats)
    ]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def share(hits: npt.NDArray[np.float64], *, repeats: int = REPEATS) -> tuple[float, float, float]:
    """A share with its 95 % interval: `hits` (n,) is each person's share, people are drawn anew with replacement. With
    no event at all the upper bound is 3 / n (Hanley and Lippman-Hand, 1983): no resample shows what was not seen.
    """
    rng = np.random.default_rng(20261125)
    people = len(hits)
    value = float(hits.mean())
    picks = rng.integers(people, size=(repeats, people))
    low, high = (float(q) for q in np.percentile(hits[picks].mean(axis=1), [2.5, 97.5]))
    return value, (1 - min(1.0, 3 / people) if value == 1 else low), (min(1.0, 3 / people) if value == 0 else high)
