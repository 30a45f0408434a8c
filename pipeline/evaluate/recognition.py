"""Error rates of comparing two pictures (ISO/IEC 19795-1:2021): FMR, FNMR, EER and the area under the curve.

At a threshold t, a comparison matches when its score is at least t. FMR(t) is the share of non-mated comparisons that
match, FNMR(t) the share of mated ones that do not; both are about pictures that were acquired, failures are counted
apart. For a given FMR, t is the lowest threshold at which the data's own FMR is not above it. EER is the least, over
all t, of the larger of the two rates. AUC is the chance that a mated score is above a non-mated one, ties counted half.

Every interval draws people anew (`resampling`), thresholds with them. Where no error was seen, the bound is that of
zero errors in as many trials as there are mated people (`intervals.zero_errors_bound`), never an empty interval.

How far down an FMR can be stated is bounded by the data. With n non-mated comparisons, below 1 / n no match was seen
and the threshold is extrapolated by one decade at most, with the scores above a high one taken as exponential (peaks
over threshold; Pickands, 1975: the bound of a cosine makes that err upwards). Below that nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.comparisons import Comparisons, Floats
from pipeline.evaluate.curve import Curve, Figures, beyond_the_data
from pipeline.evaluate.intervals import Interval, percentiles, zero_errors_bound
from pipeline.evaluate.resampling import REPLICATES, SEED, affordable, draws

FMRS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The false match rates that are reported, as far as the data carry them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtFmr:
    """FNMR where the FMR is held. `threshold` and `fnmr` are None where the data do not support the FMR."""

    fmr: float
    threshold: float | None
    fnmr: float | None
    ci: Interval | None
    mated: int
    missed: int | None
    extrapolated: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtThreshold:
    """Both rates at a threshold that was fixed before: one of the manifest's."""

    name: str
    threshold: float
    fmr: float
    fmr_ci: Interval
    false_matches: int
    non_mated: int
    fnmr: float
    fnmr_ci: Interval
    missed: int
    mated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """All figures of the comparisons."""

    fnmr_at_fmr: Sequence[AtFmr]
    at_thresholds: Sequence[AtThreshold]
    eer: float
    eer_ci: Interval
    eer_threshold: float
    auc: float
    auc_ci: Interval
    mated: int
    mated_people: int
    non_mated: int
    people: int
    replicates: int


def rates(
    comparisons: Comparisons,
    thresholds: Mapping[str, float],
    *,
    fmrs: Sequence[float] = FMRS,
    seed: int = SEED,
    most_replicates: int = REPLICATES,
) -> Recognition | None:
    """The figures at `fmrs` and at the named `thresholds`; None without a mated or without a non-mated comparison."""
    if not comparisons.mated.size or not comparisons.non_mated.size:
        return None
    curve = Curve(comparisons, tuple(fmrs), tuple(thresholds.values()))
    replicates = min(most_replicates, affordable(curve.length))
    estimate = curve.figures(np.ones(comparisons.people))
    drawn = Figures.stack([curve.figures(row) for row in draws(comparisons.people, replicates, seed)])
    people = len(np.unique(comparisons.mated_person))
    bound = zero_errors_bound(people)
    eer, auc = float(estimate.eer), float(estimate.auc)
    eer_low, eer_high = percentiles(drawn.eer, eer)
    auc_low, auc_high = percentiles(drawn.auc, auc)
    nobody_missed = bool((comparisons.mated >= estimate.eer_threshold).all())
    return Recognition(
        fnmr_at_fmr=[_at_fmr(comparisons, estimate, drawn, k, fmr, bound) for k, fmr in enumerate(fmrs)],
        at_thresholds=[
            _at_threshold(comparisons, estimate, drawn, k, name, bound) for k, name in enumerate(thresholds)
        ],
        eer=eer,
        eer_ci=(eer_low, max(eer_high, bound) if nobody_missed else eer_high),
        eer_threshold=float(estimate.eer_threshold),
        auc=auc,
        auc_ci=(min(auc_low, 1 - bound) if nobody_missed else auc_low, auc_high),
        mated=len(comparisons.mated),
        mated_people=people,
        non_mated=len(comparisons.non_mated),
        people=comparisons.people,
        replicates=replicates,
    )


def _at_fmr(
    comparisons: Comparisons, estimate: Figures, drawn: Figures, column: int, fmr: float, bound: float
) -> AtFmr:
    mated, count = comparisons.mated, len(comparisons.non_mated)
    threshold = float(estimate.thresholds[column])
    if not np.isfinite(threshold):
        return AtFmr(
            fmr=fmr,
            threshold=None,
            fnmr=None,
            ci=None,
            mated=len(mated),
            missed=None,
            extrapolated=False,
            note=f"not supported by the data: {count} non-mated comparisons",
        )
    fnmr = float(estimate.fnmr_at_fmr[column])
    extrapolated = beyond_the_data(fmr, count)
    return AtFmr(
        fmr=fmr,
        threshold=threshold,
        fnmr=fnmr,
        ci=_missed_interval(fnmr, drawn.fnmr_at_fmr[:, column], bound),
        mated=len(mated),
        missed=int((mated < threshold).sum()),
        extrapolated=extrapolated,
        note="extrapolated: no non-mated comparison scored this high" if extrapolated else "",
    )


def _at_threshold(
    comparisons: Comparisons, estimate: Figures, drawn: Figures, column: int, name: str, bound: float
) -> AtThreshold:
    mated, non_mated = comparisons.mated, comparisons.non_mated
    threshold = float(estimate.fixed[column])
    fmr, fnmr = float(estimate.fmr[column]), float(estimate.fnmr[column])
    matches = int((non_mated >= threshold).sum())
    low, high = percentiles(drawn.fmr[:, column], fmr)
    return AtThreshold(
        name=name,
        threshold=threshold,
        fmr=fmr,
        fmr_ci=(low, high if matches else max(high, zero_errors_bound(len(non_mated)))),
        false_matches=matches,
        non_mated=len(non_mated),
        fnmr=fnmr,
        fnmr_ci=_missed_interval(fnmr, drawn.fnmr[:, column], bound),
        missed=int((mated < threshold).sum()),
        mated=len(mated),
    )


def _missed_interval(fnmr: float, replicates: Floats, bound: float) -> Interval:
    """A bootstrap of no error is no interval: there the bound of zero errors speaks."""
    low, high = percentiles(replicates, fnmr)
    return (low, max(high, bound)) if fnmr == 0 else (low, high)
