"""Searching a city of drawn people (`loadtests.people.train.crowd`): FPIR and FNIR of N up to 100,000.

Everybody's enrolled picture is a template. The galleries of N people are disjoint: of a hundred thousand, a hundred
times a thousand, ten times ten thousand, and all; a rate is the mean over them. Strangers' pictures are searched for in
each, enrolled people's in each with their own template added. A search answers with the most similar payer when it
reaches the threshold in force and leads the next by the margin.

The false match rates that thresholds follow from are calibrated on the pictures of enrolled people against everybody
else's templates, and FPIR is measured with strangers: with other probes, and with the same templates. Intervals draw
the people who come to the counter anew; the gallery stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loadtests.people.train.crowd import Crowd
from pipeline.domain.fmr import FmrModel, Needed, Support
from pipeline.evaluate.calibration import Replicate, Tail, fitted
from pipeline.evaluate.comparisons import Floats
from pipeline.evaluate.in_force import Rule, held
from pipeline.evaluate.intervals import Interval, percentiles, zero_errors_bound
from pipeline.evaluate.resampling import SEED, draws, ratio

_BATCH = 256
_BLOCK = 100
_SMALL_BLOCK = 10
_TAIL = 1.5e-3
"""The share of non-mated scores that false match rates are calibrated on: those from an FMR of 1e-3 on."""
_REPLICATES = 400
NOBODY = -2.0
"""Less than any cosine."""

Cosines = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rates at one size of the gallery and one threshold. `wrong` is the share of searches by enrolled people that
    found somebody else, a part of `fnir`. Of two pictures of a person, `fpir_either` is the share of strangers of whom
    one found somebody, `fnir_neither` that of enrolled people whom none found.
    """

    n: int
    galleries: int
    threshold: float
    margin: float
    supported: bool
    claim: Needed | None
    fpir: float
    fpir_ci: Interval
    fpir_either: float
    fnir: float
    fnir_ci: Interval
    fnir_neither: float
    wrong: float
    fpir_transaction: float
    fpir_transaction_ci: Interval
    support: Support


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The two best other people in each block of the gallery: `strangers` and `others` (people, pictures, blocks, 2),
    best first; `own` (people, pictures) is an enrolled person's similarity to their own template. `enrolled` people in
    blocks of `block`, the last of which may not be full. `tail` are the highest non-mated scores of enrolled people.
    """

    strangers: Cosines = field(repr=False)
    others: Cosines = field(repr=False)
    own: Cosines = field(repr=False)
    enrolled: int
    block: int
    tail: Tail

    def sizes(self) -> list[int]:
        """Sizes of galleries: 1, 3, 10, 30, ... blocks, and everybody."""
        steps = [self.block * base * 10**power for power in range(7) for base in (1, 3)]
        return [*(step for step in steps if step < self.enrolled), self.enrolled]


def compare(crowd: Crowd) -> Scores:
    """Everybody who came to the counter against everybody enrolled."""
    enrolled = len(crowd.enrolled)
    block = _BLOCK if enrolled >= 10 * _BLOCK else _SMALL_BLOCK
    own = np.einsum("mpd,md->mp", crowd.mated, crowd.enrolled[crowd.owner])
    tails: list[tuple[Cosines, npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    count = crowd.mated.shape[0] * crowd.mated.shape[1] * (enrolled - 1)
    floor: float | None = None
    others = []
    for rows, scores in _against(crowd.mated, crowd.enrolled):
        who = rows // crowd.mated.shape[1]
        scores[np.arange(len(rows)), crowd.owner[who]] = NOBODY
        if floor is None:
            keep = max(200, int(2 * _TAIL * scores.size))
            floor = float(
                np.partition(scores, scores.size - min(keep, scores.size), axis=None)[-min(keep, scores.size)]
            )
        probe, template = np.nonzero(scores >= floor)
        tails.append((scores[probe, template], crowd.owner[who[probe]], template))
        others.append(_two_best(scores, block))
    strangers = [_two_best(scores, block) for _, scores in _against(crowd.strangers, crowd.enrolled)]
    return Scores(
        strangers=np.concatenate(strangers).reshape(*crowd.strangers.shape[:2], -1, 2),
        others=np.concatenate(others).reshape(*crowd.mated.shape[:2], -1, 2),
        own=own.astype(np.float32),
        enrolled=enrolled,
        block=block,
        tail=_tail(tails, count, len(crowd.owner), enrolled),
    )


def calibrated(scores: Scores, data: str) -> FmrModel:
    """What the searches of enrolled people say of false matches; raises `UsageError` where they are too few."""
    people = scores.enrolled
    came = np.zeros(people)
    came[np.unique(scores.tail.one)] = 1
    one = draws(people, _REPLICATES, SEED)
    # Who never came to the counter has no picture there: only those who did are drawn as the first of a comparison.
    visitors = draws(int(came.sum()), _REPLICATES, SEED + 1)

    def replicates() -> Iterator[Replicate]:
        for templates, probes in zip(one, visitors, strict=True):
            first = came.copy()
            first[came == 1] = probes
            yield Replicate(first, templates, float(scores.tail.comparisons))

    return fitted(scores.tail, replicates(), data)


def rates(scores: Scores, rule: Rule, sizes: Sequence[int], *, rising: bool) -> list[Found]:
    """A row per size, at the threshold in force for so many templates, or at the manifest's (not `rising`)."""
    rows = []
    for n in sizes:
        at, promised = held(rule, n) if rising else (rule.match, rule.promise(rule.match, n))
        strangers, others = (_galleries(found, scores, n) for found in (scores.strangers, scores.others))
        false = (strangers[..., 0] >= at) & (strangers[..., 0] - strangers[..., 1] >= rule.margin)
        own, best = scores.own[..., None], others[..., 0]
        hit = (own >= at) & (own - best >= rule.margin)
        wrong = (best >= at) & (best - np.maximum(own, others[..., 1]) >= rule.margin)
        fpir, fpir_ci = _share(false.mean(axis=(1, 2)))
        fnir, fnir_ci = _share(1.0 - hit.mean(axis=(1, 2)))
        rows.append(
            Found(
                n=n,
                galleries=strangers.shape[2],
                threshold=at,
                margin=rule.margin,
                supported=rule.threshold(n) is not None,
                claim=rule.claim(n),
                fpir=fpir,
                fpir_ci=fpir_ci,
                fpir_either=float(false.any(axis=1).mean()),
                fnir=fnir,
                fnir_ci=fnir_ci,
                fnir_neither=1.0 - float(hit.any(axis=1).mean()),
                wrong=float(wrong.mean()),
                fpir_transaction=promised.bound,
                fpir_transaction_ci=(promised.low, promised.high),
                support=promised.support,
            )
        )
    return rows


def _against(probes: Cosines, enrolled: Cosines) -> Iterator[tuple[npt.NDArray[np.intp], Cosines]]:
    """Row numbers of the flattened `probes` (people, pictures, d), and their cosines with everybody enrolled."""
    flat = probes.reshape(-1, probes.shape[-1])
    for start in range(0, len(flat), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(flat)))
        yield rows, flat[rows] @ enrolled.T


def _two_best(scores: Cosines, block: int) -> Cosines:
    """(rows, blocks, 2): the two highest of each block, the last one filled up with nobody."""
    rows, people = scores.shape
    blocks = -(-people // block)
    padded = np.full((rows, blocks * block), NOBODY, np.float32)
    padded[:, :people] = scores
    cut = padded.reshape(rows * blocks, block)
    where = cut.argmax(axis=1)
    every = np.arange(len(cut))
    best = cut[every, where].copy()
    cut[every, where] = NOBODY
    return np.stack([best, cut.max(axis=1)], axis=-1).reshape(rows, blocks, 2)


def _galleries(found: Cosines, scores: Scores, n: int) -> Cosines:
    """(people, pictures, galleries, 2): the two best of each gallery of `n`; everybody is one gallery."""
    if n == scores.enrolled:
        joined = found[:, :, None, :, :]
    else:
        together = n // scores.block
        galleries = scores.enrolled // scores.block // together
        joined = found[:, :, : galleries * together].reshape(*found.shape[:2], galleries, together, 2)
    flat = joined.reshape(*joined.shape[:3], -1)
    return np.asarray(np.partition(flat, -2, axis=-1)[..., [-1, -2]])


def _tail(
    parts: Sequence[tuple[Cosines, npt.NDArray[np.intp], npt.NDArray[np.intp]]], count: int, visitors: int, people: int
) -> Tail:
    scores, one, two = (np.concatenate([part[column] for part in parts]) for column in range(3))
    order = np.argsort(-scores, kind="stable")[: max(200, int(_TAIL * count))]
    # Two visitors meet twice, each before the other's template: one pair of people.
    pairs = visitors * (people - 1) - visitors * (visitors - 1) // 2
    return Tail(scores[order].astype(np.float64), one[order], two[order], count, people, pairs)


def _share(values: Floats) -> tuple[float, Interval]:
    """The mean of each person's share (people,), people drawn anew."""
    mean = float(values.mean())
    weights = draws(len(values))
    low, high = percentiles(ratio(weights @ values, weights.sum(axis=1)), mean)
    bound = zero_errors_bound(len(values))
    return mean, (low if mean < 1 else min(low, 1 - bound), high if mean > 0 else max(high, bound))
