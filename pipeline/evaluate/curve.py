"""The comparisons as one curve that can be asked again for every weighting of the people: what a bootstrap needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.comparisons import Comparisons, Floats, Indices

_TAIL_SHARE = 0.03
_TAIL_LEAST = 200
_PEAKS = 50
"""Least number of scores that an extrapolation rests on."""


def beyond_the_data(fmr: float, comparisons: int, *, decades: int = 0) -> bool:
    """Whether so many non-mated comparisons show fewer than one match at this rate, also with so many decades added."""
    return fmr * comparisons * 10.0**decades < 1 - 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What one weighting of the people gives; each an array, with a leading axis when stacked."""

    thresholds: Floats
    fixed: Floats
    fnmr_at_fmr: Floats
    fmr: Floats
    fnmr: Floats
    eer: Floats
    eer_threshold: Floats
    auc: Floats

    @classmethod
    def stack(cls, rows: Sequence[Figures]) -> Figures:
        """One row per replicate."""
        return cls(*(np.stack([getattr(row, name) for row in rows]) for name in cls.__slots__))


@dataclass(slots=True, eq=False)
class Curve:
    """The comparisons, sorted and cut once, so that a replicate costs one pass over the highest non-mated scores.

    Only those that some figure can ask for are kept: down to the lowest mated score, and at least the share that the
    largest FMR needs in any replicate. How many the others are follows from the pictures per person alone.
    """

    comparisons: Comparisons
    fmrs: tuple[float, ...]
    fixed: tuple[float, ...]
    length: int = field(init=False)
    _scores: Floats = field(init=False)
    _one: Indices = field(init=False)
    _two: Indices = field(init=False)
    _mated: Floats = field(init=False)
    _mated_person: Indices = field(init=False)
    _pictures: Floats = field(init=False)

    def __post_init__(self) -> None:
        c = self.comparisons
        order = np.argsort(c.mated, kind="stable")
        self._mated, self._mated_person = c.mated[order], c.mated_person[order]
        floor = min([float(self._mated[0]), *self.fixed])
        share = max(_TAIL_SHARE, 3 * max(self.fmrs, default=0.0))
        least = max(_TAIL_LEAST, round(share * len(c.non_mated)))
        self.length = min(len(c.non_mated), max(least, int((c.non_mated >= floor).sum())))
        self._scores = c.non_mated[: self.length]
        self._one, self._two = c.person[c.non_mated_pictures[: self.length]].T
        self._pictures = np.bincount(c.person, minlength=c.people).astype(np.float64)

    def figures(self, weights: Floats) -> Figures:
        """`weights` (people,): how often each was drawn; ones for the estimate itself."""
        cumulated = np.concatenate([[0.0], np.cumsum(weights[self._one] * weights[self._two])])
        total = float(cumulated[-1])
        if self.length < len(self.comparisons.non_mated):
            # All pairs of two people's pictures, counted without listing them.
            held = weights * self._pictures
            total = float((held.sum() ** 2 - (held**2).sum()) / 2)
        mated = weights[self._mated_person]
        below = np.concatenate([[0.0], np.cumsum(mated)])
        drawn = below[-1]
        fixed = np.array(self.fixed)
        if total <= 0 or drawn <= 0:
            at_fmrs, at_fixed, one = (np.full(shape, np.nan) for shape in (len(self.fmrs), len(fixed), ()))
            return Figures(at_fmrs, fixed, at_fmrs, at_fixed, at_fixed, one, one, one)
        thresholds = np.array([self._threshold(fmr, cumulated, total) for fmr in self.fmrs])
        missed = below[np.searchsorted(self._mated, np.nan_to_num(thresholds), side="left")] / drawn
        matching = cumulated[self._above(self._mated)] / total
        candidates = np.maximum(matching, below[:-1] / drawn)
        best = int(np.argmin(candidates))
        ties = cumulated[self._above(self._mated)] - cumulated[self._above(np.nextafter(self._mated, np.inf))]
        inverted = (cumulated[self._above(self._mated)] - ties / 2) / total
        return Figures(
            thresholds,
            fixed,
            np.where(np.isfinite(thresholds), missed, np.nan),
            cumulated[self._above(fixed)] / total,
            below[np.searchsorted(self._mated, fixed, side="left")] / drawn,
            np.array(candidates[best]),
            np.array(self._mated[best]),
            np.array(1.0 - float((mated * inverted).sum() / drawn)),
        )

    def _above(self, thresholds: Floats) -> npt.NDArray[np.intp]:
        """How many non-mated scores are at least each threshold."""
        return np.asarray(len(self._scores) - np.searchsorted(self._scores[::-1], thresholds, side="left"))

    def _threshold(self, fmr: float, cumulated: Floats, total: float) -> float:
        """The lowest threshold with an FMR of at most `fmr`; extrapolated by a decade at most, NaN below."""
        # The count that decides what the data carry is that of the real comparisons, in every replicate.
        real = len(self.comparisons.non_mated)
        if beyond_the_data(fmr, real, decades=1):
            return float("nan")
        if beyond_the_data(fmr, real):
            return self._extrapolated(fmr, cumulated, total)
        allowed = int(np.searchsorted(cumulated, fmr * total * (1 + 1e-12), side="right")) - 1
        if allowed >= len(self._scores):
            return -1.0  # every comparison may match: no cosine is lower
        return float(np.nextafter(self._scores[allowed], np.inf))

    def _extrapolated(self, fmr: float, cumulated: Floats, total: float) -> float:
        peaks = min(len(self._scores) - 1, max(_PEAKS, len(self.comparisons.non_mated) // 1000))
        weight = cumulated[peaks]
        if peaks < 2 or weight <= 0:
            return float("nan")
        start = self._scores[peaks]
        excess = float(np.diff(cumulated[: peaks + 1]) @ (self._scores[:peaks] - start) / weight)
        return float(start + excess * np.log(weight / total / fmr))
