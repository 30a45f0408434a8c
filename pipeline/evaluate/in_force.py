"""Searching at the thresholds in force: the match threshold rises with the gallery, up to what the data support.

A row is a gallery of N people with some templates each. Its threshold is the one that the agents would ask of a frame
(`pipeline.domain.fmr`), its FPIR and FNIR those of a single search with it, as measured; `fpir_transaction` is what
follows for a whole transaction of a stranger from the false match rates alone, all frames, attempts and templates
counted. Where the data support no such gallery, `claim` says what the payer is asked for instead of a search, and the
rates are those of the highest threshold that the data speak of: for comparison, since nobody is searched for there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.domain import fmr
from pipeline.domain.fmr import FmrModel, Needed, Trials
from pipeline.evaluate.comparisons import Comparisons
from pipeline.evaluate.identification import REPLICATES, World, sizes
from pipeline.evaluate.intervals import Interval
from pipeline.evaluate.resampling import SEED, draws


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What decides in force: the embedder's `model`, the least `match` cosine and `margin` of its manifest, the frames
    and attempts of a transaction, and how often a stranger's may find somebody."""

    model: FmrModel
    match: float
    margin: float
    trials: Trials
    max_fpir: float

    @property
    def most_templates(self) -> int:
        """The largest set that the data support."""
        return fmr.supported(self.model, self.trials, self.max_fpir)

    def threshold(self, templates: int) -> float | None:
        """The least cosine of a frame that votes among so many; None where they are too many."""
        return fmr.match_threshold(self.model, self.match, templates, self.trials, self.max_fpir)

    def promise(self, threshold: float, templates: int) -> fmr.Fpir:
        """What follows for a stranger's whole transaction at this threshold."""
        return fmr.fpir_transaction(self.model, threshold, templates, self.trials)

    def claim(self, templates: int) -> Needed | None:
        """What the payer is asked for among so many templates."""
        return fmr.claim_needed(templates, "none", self.most_templates)


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The rates among `n` people with `templates` in all; `claim` is None where a face alone may be searched for."""

    n: int
    templates: int
    threshold: float
    margin: float
    supported: bool
    claim: Needed | None
    fpir: float
    fpir_ci: Interval
    fnir: float
    fnir_ci: Interval
    fpir_transaction: float
    fpir_transaction_ci: Interval
    support: fmr.Support


def in_force(comparisons: Comparisons, rule: Rule, *, every: bool = False, seed: int = SEED) -> list[InForce]:
    """Rows for growing galleries; with `every` picture enrolled a person has several templates."""
    world = World.of(comparisons, every=every)
    if world is None:
        return []
    weights = draws(world.people, REPLICATES, seed)
    rows = []
    for n in sizes(world.people - 1):
        templates = math.ceil(n * world.templates / world.people)
        at, promised = held(rule, templates)
        found = world.search(n, at, rule.margin, weights)
        rows.append(
            InForce(
                n=n,
                templates=templates,
                threshold=at,
                margin=rule.margin,
                supported=rule.threshold(templates) is not None,
                claim=rule.claim(templates),
                fpir=found.fpir,
                fpir_ci=found.fpir_ci,
                fnir=found.fnir,
                fnir_ci=found.fnir_ci,
                fpir_transaction=promised.bound,
                fpir_transaction_ci=(promised.low, promised.high),
                support=promised.support,
            )
        )
    return rows


def held(rule: Rule, templates: int) -> tuple[float, fmr.Fpir]:
    """The threshold among so many templates, the highest one where they are too many, and what it promises."""
    threshold = rule.threshold(templates)
    at = max(rule.match, rule.model.highest) if threshold is None else threshold
    return at, rule.promise(at, templates)


def limits(rule: Rule) -> dict[str, object]:
    """How far the face alone goes, and from where on which claim is needed."""
    most = rule.most_templates
    with_digits = math.floor(most / fmr.CLAIMED_SHARE)
    return {
        "max_fpir": rule.max_fpir,
        "frames": rule.trials.frames,
        "attempts": rule.trials.attempts,
        "templates": most,
        "templates_with_last_four": with_digits,
        "threshold": rule.threshold(most),
        "templates_at_match": _at_match(rule),
        "beyond": rule.claim(most + 1),
        "beyond_last_four": rule.claim(with_digits + 1),
    }


def _at_match(rule: Rule) -> int:
    """The largest set for which the manifest's own threshold is enough."""
    return int(rule.max_fpir / (rule.trials.comparisons(1) * rule.model.fmr_at(rule.match).fmr) * (1 + 1e-9))
