"""Open-set search of a gallery of N people (ISO/IEC 19795-1): FPIR and FNIR as N grows.

A search answers with the most similar template when it reaches the threshold (and, with a margin, when no other
person's comes closer to it than that). FPIR is the share of probes of people who are not enrolled that get an answer;
FNIR the share of probes of enrolled people that are not answered with their own. One picture per person is enrolled;
the probes of enrolled people are the second pictures of mated pairs, those of others everybody's enrolled picture.

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

_REPLICATES = 400
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


def searches(
    comparisons: Comparisons, threshold: float, margins: Sequence[float] = (0.0,), *, seed: int = SEED
) -> list[Search]:
    """Rates for growing galleries, up to everybody but the probe; empty where there are no mated pairs or no others."""
    world = _World.of(comparisons)
    if world is None:
        return []
    weights = draws(world.people, _REPLICATES, seed)
    return [world.search(n, threshold, margin, weights) for n in sizes(world.people - 1) for margin in margins]


def sizes(most: int) -> list[int]:
    """1, 3, 10, 30, ... below `most`, and `most` itself."""
    steps = [base * 10**power for power in range(7) for base in (1, 3)]
    return [*(step for step in steps if step < most), most] if most >= 1 else []


@dataclass(frozen=True, slots=True, eq=False)
class _World:
    """`impostors` (people, people): row i, the score of person i's enrolled picture as a probe against each other's
    template, minus infinity against their own; `probes` (m, people) the same for the second pictures of mated pairs,
    with their own score apart in `own` (m,) and whose they are in `owner` (m,).
    """

    impostors: Floats
    probes: Floats
    own: Floats
    owner: npt.NDArray[np.int32]

    @property
    def people(self) -> int:
        return len(self.impostors)

    @classmethod
    def of(cls, comparisons: Comparisons) -> _World | None:
        """One enrolled picture per person: the first of a mated pair where there is one."""
        if not comparisons.mated.size or comparisons.people < 2:
            return None
        reference = np.full(comparisons.people, -1)
        for picture in [*comparisons.mated_pictures[:, 0], *range(len(comparisons.person))]:
            who = comparisons.person[picture]
            if reference[who] < 0:
                reference[who] = picture
        # Only pairs whose first picture is the enrolled one: another is no search against this gallery.
        pairs = [pair for pair in comparisons.mated_pictures if reference[comparisons.person[pair[0]]] == pair[0]]
        kept = np.arange(comparisons.people)
        if comparisons.people > _MOST_PEOPLE:
            owners = np.unique([comparisons.person[pair[0]] for pair in pairs])
            kept = np.concatenate([owners, np.setdiff1d(kept, owners)])[:_MOST_PEOPLE]
        place = np.full(comparisons.people, -1)
        place[kept] = np.arange(len(kept))
        pairs = [pair for pair in pairs if place[comparisons.person[pair[0]]] >= 0]
        owner = place[[comparisons.person[pair[0]] for pair in pairs]].astype(np.int32)
        gallery = comparisons.embeddings[reference[kept]].astype(np.float64)
        impostors = gallery @ gallery.T
        np.fill_diagonal(impostors, -np.inf)
        probes = comparisons.embeddings[[pair[1] for pair in pairs]].astype(np.float64) @ gallery.T
        own = probes[np.arange(len(pairs)), owner].copy()
        probes[np.arange(len(pairs)), owner] = -np.inf
        return cls(impostors, probes, own, owner)

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


def _absent(pool: Floats, marked: Floats, chosen: int) -> Floats:
    """The chance that `chosen` out of `pool` people hold none of the `marked` ones; a pool that is smaller is taken
    whole."""
    whole, marks = pool.round().astype(np.int64), marked.round().astype(np.int64)
    taken = np.minimum(chosen, whole)
    return np.asarray(np.exp(log_choose(whole - marks, taken) - log_choose(whole, taken)))
