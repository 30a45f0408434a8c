"""Open-set search of a gallery of N people (ISO/IEC 19795-1): FPIR and FNIR as N grows.

A search answers with the most similar template when it reaches the threshold (and, with a margin, when no other
person's comes closer to it than that). FPIR is the share of probes of people who are not enrolled that get an answer;
FNIR the share of probes of enrolled people that are not answered with their own. One picture per person is enrolled,
or every one that is not the probe (a person then resembles a probe as much as their most similar picture does); the
probes of enrolled people are the second pictures of mated pairs, those of others everybody's enrolled picture.

No gallery is drawn: of a probe, with k of the M other people at or above the threshold, the chance that a random
gallery of N of them holds none is C(M - k, N) / C(M, N): the rates are exact means over all galleries of that size.
Intervals draw people anew, probes and gallery alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.comparisons import Comparisons, Floats
from pipeline.evaluate.intervals import Interval, log_choose, percentiles, zero_errors_bound
from pipeline.evaluate.resampling import SEED, draws, ratio

REPLICATES = 400
_STEPS = 40
_MOST_PEOPLE = 4000
"""People of whom all pairs are held as one matrix; more are not needed for what the data can say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The rates at one size of the gallery. `margin` 0 is the plain threshold."""

    n: int
    threshold: float
    margin: float
    fpir: float
    fpir_ci: Interval
    fnir: float
    fnir_ci: Interval
    probes_not_enrolled: int
    probes_enrolled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AtFpir:
    """FNIR where the FPIR of one search is held: `threshold` is the lowest that does."""

    n: int
    fpir: float
    threshold: float
    fnir: float
    fnir_ci: Interval


def searches(
    comparisons: Comparisons, threshold: float, margins: Sequence[float] = (0.0,), *, seed: int = SEED
) -> list[Search]:
    """Rates for growing galleries, up to everybody but the probe; empty where there are no mated pairs or no others."""
    world = World.of(comparisons)
    if world is None:
        return []
    weights = draws(world.people, REPLICATES, seed)
    return [world.search(n, threshold, margin, weights) for n in sizes(world.people - 1) for margin in margins]


def at_fpir(comparisons: Comparisons, fpir: float, *, seed: int = SEED) -> list[AtFpir]:
    """FNIR at this FPIR for growing galleries, one picture each; empty as `searches`."""
    world = World.of(comparisons)
    if world is None:
        return []
    weights = draws(world.people, REPLICATES, seed)
    rows = []
    for n in sizes(world.people - 1):
        threshold = world.threshold_at(n, fpir)
        found = world.search(n, threshold, 0.0, weights)
        rows.append(AtFpir(n=n, fpir=fpir, threshold=threshold, fnir=found.fnir, fnir_ci=found.fnir_ci))
    return rows


def sizes(most: int) -> list[int]:
    """1, 3, 10, 30, ... below `most`, and `most` itself."""
    steps = [base * 10**power for power in range(7) for base in (1, 3)]
    return [*(step for step in steps if step < most), most] if most >= 1 else []


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """`impostors` (people, people): row i, the score of person i's enrolled picture as a probe against each other's
    template, minus infinity against their own; `probes` (m, people) the same for the second pictures of mated pairs,
    with their own score apart in `own` (m,) and whose they are in `owner` (m,). `templates` are enrolled in all.
    """

    impostors: Floats
    probes: Floats
    own: Floats
    owner: npt.NDArray[np.int32]
    templates: int

    @property
    def people(self) -> int:
        """Whoever can be enrolled."""
        return len(self.impostors)

    @classmethod
    def of(cls, comparisons: Comparisons, *, every: bool = False) -> World | None:
        """The pictures as a gallery and its probes: enrolled is the first picture of a mated pair where a person has
        one, or with `every` each picture."""
        if not comparisons.mated.size or comparisons.people < 2:
            return None
        person, pairs = comparisons.person, comparisons.mated_pictures
        reference = np.full(comparisons.people, -1)
        for picture in [*pairs[:, 0], *range(len(person))]:
            if reference[person[picture]] < 0:
                reference[person[picture]] = picture
        kept = np.arange(comparisons.people)
        if comparisons.people > _MOST_PEOPLE:
            owners = np.unique(person[pairs[:, 0]])
            kept = np.concatenate([owners, np.setdiff1d(kept, owners)])[:_MOST_PEOPLE]
        place = np.full(comparisons.people, -1)
        place[kept] = np.arange(len(kept))
        enrolled = np.flatnonzero(place[person] >= 0) if every else reference[kept]
        enrolled = enrolled[np.argsort(place[person[enrolled]], kind="stable")]
        gallery = comparisons.embeddings[enrolled].astype(np.float64)
        starts = np.searchsorted(place[person[enrolled]], np.arange(len(kept)))

        def against(pictures: npt.NDArray[np.integer]) -> Floats:
            scores = comparisons.embeddings[pictures].astype(np.float64) @ gallery.T
            return np.asarray(np.maximum.reduceat(scores, starts, axis=1))

        mates = _mates(pairs) if every else _mates(pairs[reference[person[pairs[:, 0]]] == pairs[:, 0]], both=False)
        taken = np.array([picture for picture in mates if place[person[picture]] >= 0], np.int64)
        owner = place[person[taken]].astype(np.int32)
        impostors = against(reference[kept])
        np.fill_diagonal(impostors, -np.inf)
        probes = against(taken)
        vectors = comparisons.embeddings.astype(np.float64)
        own = np.array([max(vectors[probe] @ vectors[mate] for mate in mates[probe]) for probe in taken.tolist()])
        probes[np.arange(len(taken)), owner] = -np.inf
        return cls(impostors, probes, own, owner, len(enrolled))

    def threshold_at(self, n: int, fpir: float) -> float:
        """The lowest threshold at which the FPIR of a search among `n` people is at most `fpir`."""
        everybody = np.ones((1, self.people))
        low, high = -1.0, 1.0 + 1e-6
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._fpir(n, middle, 0.0, everybody)[0] <= fpir else (middle, high)
        return high

    def search(self, n: int, threshold: float, margin: float, weights: Floats) -> Search:
        """Both rates and their intervals; `weights` (replicates, people)."""
        everybody = np.ones((1, self.people))
        fpir = float(self._fpir(n, threshold, margin, everybody)[0])
        fnir = float(self._fnir(n, threshold, margin, everybody)[0])
        fpir_low, fpir_high = percentiles(self._fpir(n, threshold, margin, weights), fpir)
        fnir_low, fnir_high = percentiles(self._fnir(n, threshold, margin, weights), fnir)
        return Search(
            n=n,
            threshold=threshold,
            margin=margin,
            fpir=fpir,
            fpir_ci=(fpir_low, fpir_high if fpir > 0 else max(fpir_high, zero_errors_bound(self.people))),
            fnir=fnir,
            fnir_ci=(
                fnir_low,
                fnir_high if fnir > 0 else max(fnir_high, zero_errors_bound(len(np.unique(self.owner)))),
            ),
            probes_not_enrolled=self.people,
            probes_enrolled=len(self.own),
        )

    def _fpir(self, n: int, threshold: float, margin: float, weights: Floats) -> Floats:
        """(replicates,): an answer is the sum, over the people who can give it, of the chance that they are in the
        gallery and nobody is who would be more similar or too close to them."""
        others = weights.sum(axis=1, keepdims=True) - weights
        answered = np.zeros_like(weights)
        if margin == 0:
            above = weights @ (self.impostors >= threshold).T.astype(np.float64)
            answered = 1.0 - _absent(others, above, n)
        else:
            for probe, who in zip(*np.nonzero(self.impostors >= threshold), strict=True):
                scores = self.impostors[probe]
                rivals = scores > scores[who] - margin
                rivals[who] = False
                competing = weights @ rivals
                pool = others[:, probe]
                answered[:, probe] += _absent(pool, competing, n) - _absent(pool, competing + weights[:, who], n)
        return ratio((weights * answered).sum(axis=1), weights.sum(axis=1))

    def _fnir(self, n: int, threshold: float, margin: float, weights: Floats) -> Floats:
        """(replicates,): own is in the gallery with n - 1 others; answered when none of these is as similar, or too
        close."""
        reached = self.own >= threshold
        rivals = self.probes > (self.own - margin)[:, None] if margin else self.probes >= self.own[:, None]
        competing = weights @ rivals.T.astype(np.float64)
        others = weights.sum(axis=1, keepdims=True) - weights[:, self.owner]
        missed = 1.0 - reached * _absent(others, competing, n - 1)
        drawn = weights[:, self.owner]
        return ratio((drawn * missed).sum(axis=1), drawn.sum(axis=1))


def _mates(pairs: npt.NDArray[np.integer], *, both: bool = True) -> dict[int, list[int]]:
    """The mates of each picture that is searched for: the second of a pair, or with `both` either one."""
    found: dict[int, list[int]] = {}
    for one, two in pairs.tolist():
        found.setdefault(two, []).append(one)
        if both:
            found.setdefault(one, []).append(two)
    return found


def _absent(pool: Floats, marked: Floats, chosen: int) -> Floats:
    """The chance that `chosen` out of `pool` people hold none of the `marked` ones; a pool that is smaller is taken
    whole."""
    whole, marks = pool.round().astype(np.int64), marked.round().astype(np.int64)
    taken = np.minimum(chosen, whole)
    return np.asarray(np.exp(log_choose(whole - marks, taken) - log_choose(whole, taken)))
