"""How many templates a face may be searched among: what is known of an embedder's false matches, and what follows.

Theory of operation. An `FmrModel` holds what was measured of one embedder: thresholds with the share of non-mated
comparisons at or above them (FMR), each with its 95 % interval, and how many people and comparisons that rests on.
Between two points the logarithm of the FMR is taken as a straight line. Beyond the last one the line goes on with the
slope of the measured tail, and one decade below what the data can show (one match among all pairs of different people)
it ends: of a higher threshold the model says "at most this", and of a lower FMR that it is not supported.

A transaction gives a stranger more than one chance. Each judged frame of each attempt is compared with each template:
n = frames x attempts x templates comparisons, and their false positive identification rate per transaction is

    at most n p (the union bound), and 1 - (1 - p)^n if comparisons err independently of each other.

The first holds whatever depends on what and decides here. It is careful three times over: frames of one face err
together, so that six of them give little more than one chance; so do templates of one payer; and one frame at the match
threshold does not decide, another must agree. For small rates the two figures are the same.

So the match threshold must rise with the number of templates, and where the model ends, so does the set: `claim_needed`
says which claim makes it small enough. The last four digits of a telephone number leave one payer in 10,000 in
expectation, which says what to ask for; once they are claimed, the number of templates really left decides. The full
number leaves one payer (1:1). No claim proves anything: it says among whom to look.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from schemas.events import ClaimKind

CLAIMED_SHARE = 1e-4
"""The share of payers that the last four digits of a number leave, in expectation."""
DECADES = 1
"""How far below what the data can show an FMR is extrapolated."""

Support = Literal["measured", "extrapolated", "at_most"]
Needed = Literal["last_four", "full_number", "pin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FmrPoint:
    """A threshold (cosine), the share of non-mated comparisons at or above it, and its 95 % interval."""

    threshold: float
    fmr: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FmrEstimate:
    """An FMR with its 95 % interval; `at_most` where the threshold is beyond what the model can say."""

    fmr: float
    low: float
    high: float
    support: Support


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What a transaction allows: `frames` that are judged in each of `attempts`."""

    frames: int
    attempts: int

    def comparisons(self, templates: int) -> int:
        """How often a face is compared at most, among so many templates."""
        return self.frames * self.attempts * templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Fpir:
    """False positive identification rate of a stranger's whole transaction: `bound` holds whatever errs together
    (union), `independent` is 1 - (1 - FMR)^n. `low` and `high` are the bound at the ends of the FMR's interval."""

    bound: float
    independent: float
    low: float
    high: float
    support: Support


@dataclass(frozen=True, slots=True, kw_only=True)
class FmrModel:
    """What is known of an embedder's false matches. `data` names the pictures; `comparisons` non-mated ones of `people`
    people were made, which are `pairs` different pairs of people: comparisons of one pair err together, so that only
    the pairs say how rare an error the data can show. `points` have rising thresholds and falling FMRs; `per_decade` is
    by how much the threshold rises beyond the last point for a tenth of the FMR.

    Raises `ValueError` for points that contradict each other or promise more than the data can show.
    """

    data: str
    people: int
    comparisons: int
    pairs: int
    points: tuple[FmrPoint, ...]
    per_decade: float

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong:
            raise ValueError(f"false match rates on {self.data}: {wrong}")

    def _wrong(self) -> str:
        if not 2 <= self.people <= self.pairs + 1 <= self.comparisons + 1:
            return f"{self.people} people, {self.pairs} pairs and {self.comparisons} comparisons cannot be"
        if len(self.points) < 2 or not self.per_decade > 0:
            return "two points at least, and a threshold that rises with each decade, are needed"
        for point in self.points:
            if not (-1 <= point.threshold <= 1 and 0 <= point.low <= point.fmr <= point.high <= 1):
                return f"the point at {point.threshold:g} has no threshold or no interval"
            if point.fmr < self.shown:
                return f"the point at {point.threshold:g} says less than one match in {self.pairs} pairs of people"
        for one, two in itertools.pairwise(self.points):
            if not (one.threshold < two.threshold and one.fmr > two.fmr and one.high >= two.high):
                return f"the rates do not fall from {one.threshold:g} to {two.threshold:g}"
        return ""

    @property
    def shown(self) -> float:
        """The least FMR that the data can show: one match among all pairs of people."""
        return 1 / self.pairs

    @property
    def least(self) -> float:
        """The least FMR that the model speaks of."""
        return self.shown * math.pow(10, -DECADES)

    @property
    def highest(self) -> float:
        """The threshold of that FMR: of a higher one nothing more is known."""
        last = self.points[-1]
        return last.threshold + self.per_decade * math.log10(last.fmr / self.least)

    def fmr_at(self, threshold: float) -> FmrEstimate:
        """The FMR at this cosine; 1 below the first point, where nothing was measured."""
        first, last = self.points[0], self.points[-1]
        if not threshold >= first.threshold:
            return FmrEstimate(fmr=1.0, low=first.fmr, high=1.0, support="at_most")
        for one, two in itertools.pairwise(self.points):
            if threshold <= two.threshold:
                share = (threshold - one.threshold) / (two.threshold - one.threshold)
                fmr, low, high = (
                    _between(getattr(one, name), getattr(two, name), share) for name in ("fmr", "low", "high")
                )
                return FmrEstimate(fmr=fmr, low=min(low, fmr), high=max(high, fmr), support="measured")
        fmr = last.fmr * math.pow(10, -(threshold - last.threshold) / self.per_decade)
        if fmr < self.least:
            return FmrEstimate(fmr=self.least, low=0.0, high=last.high, support="at_most")
        # A higher threshold cannot match more often than the last measured one: all that is certain upwards.
        support: Support = "measured" if fmr >= self.shown else "extrapolated"
        return FmrEstimate(fmr=fmr, low=0.0, high=last.high, support=support)

    def threshold_for(self, fmr: float) -> float | None:
        """The lowest cosine whose FMR is at most `fmr`; None where the data do not support so low a rate."""
        if fmr < self.least * (1 - 1e-9):
            return None
        first, last = self.points[0], self.points[-1]
        if fmr >= first.fmr:
            return first.threshold
        for one, two in itertools.pairwise(self.points):
            if fmr >= two.fmr:
                share = math.log(one.fmr / fmr) / math.log(one.fmr / two.fmr)
                return one.threshold + share * (two.threshold - one.threshold)
        return last.threshold + self.per_decade * math.log10(last.fmr / fmr)


def fpir_transaction(model: FmrModel, threshold: float, templates: int, trials: Trials) -> Fpir:
    """The rate at which a stranger's transaction finds somebody, all frames, attempts and templates counted."""
    n, at = trials.comparisons(templates), model.fmr_at(threshold)
    return Fpir(
        bound=min(1.0, n * at.fmr),
        independent=_any_of(n, at.fmr),
        low=_any_of(n, at.low),
        high=min(1.0, n * at.high),
        support=at.support,
    )


def match_threshold(model: FmrModel, least: float, templates: int, trials: Trials, max_fpir: float) -> float | None:
    """The cosine that a vote needs among so many templates, so that a stranger's transaction finds somebody at most
    with `max_fpir`; never below `least`. None where the data support no such set."""
    if templates <= 0:
        return least
    needed = model.threshold_for(max_fpir / trials.comparisons(templates))
    return None if needed is None else max(least, needed)


def supported(model: FmrModel, trials: Trials, max_fpir: float) -> int:
    """The largest number of templates that may be searched at this target."""
    return int(max_fpir / (trials.comparisons(1) * model.least) * (1 + 1e-9))


def claim_needed(templates: int | None, claim: ClaimKind, most: int) -> Needed | None:
    """What the payer must say before a face may be searched among `templates` (None: nobody knows how many), of which
    `most` are supported, given what they `claim` already; None when nothing is missing."""
    if templates is not None and templates <= most:
        return None
    if claim == "full_number" or most < 1:
        return "pin"
    if claim == "none" and templates is not None and math.ceil(templates * CLAIMED_SHARE) <= most:
        return "last_four"
    return "full_number"


def _between(one: float, two: float, share: float) -> float:
    """On the straight line between two logarithms; a rate of nothing has none, there the rates themselves."""
    if one <= 0 or two <= 0:
        return one + share * (two - one)
    return math.exp(math.log(one) + share * (math.log(two) - math.log(one)))


def _any_of(n: int, rate: float) -> float:
    """1 - (1 - rate)^n without the cancellation."""
    return 1.0 if rate >= 1 and n else -math.expm1(n * math.log1p(-rate))
