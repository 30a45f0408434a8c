"""Which answers of the mirror may stand for the exact ones.

An answer stands when all of this holds, and the reason is counted when it does not:

- the payer leads every other hot one by what any later rule asks for (`Rule.lead`);
- nobody else can be nearer than that, but with probability `Rule.limit` at most (`standing`, `neighbours`);
- all answers together risk `Rule.mean` a search at most: each search pays that into an account, and each answer that
  stands takes its own bound out of it;
- the exact index, asked about this payer and those nearest to them, gives the same template at the same similarity and
  the same lead: so the payer is alive there, no better template of theirs is missing here, and what is told is what an
  exact search would tell;
- the payer has no lookalike.

What a hot answer says of the best other payer (`Match.runner_up`) is a bound: nobody is nearer than that.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import numpy as np

from pipeline import metrics
from pipeline.gallery.hot.gallery import Gallery
from pipeline.gallery.hot.mirror import Lead, Mirror
from pipeline.gallery.hot.neighbours import Around, Neighbours
from pipeline.gallery.hot.standing import LEVELS, risk
from pipeline.ports import Match, Vector

_MOST = 10_000
"""Searches that the account holds at most."""
_SAME = 1e-5
"""How far the similarity of one template may differ between two indexes that hold it."""


class HotSearch:
    """Searches the mirror and says what stands. Safe for several threads."""

    def __init__(self, gallery: Gallery, mirror: Mirror, neighbours: Neighbours) -> None:
        self._gallery = gallery
        self._mirror = mirror
        self._neighbours = neighbours
        self._lock = threading.Lock()
        self._account = neighbours.rule.limit

    def search(self, probes: Vector) -> list[Match | None]:
        """For each of `probes`, float32 (n, d), the answer if it stands, else None."""
        self._pay_in(len(probes))
        results: Counter[str] = Counter()
        answers: list[Match | None] = [None] * len(probes)
        leading: list[tuple[int, Lead, Around]] = []
        found_hot = self._mirror.search(probes) if self._neighbours.settled else []
        for row, found in enumerate(found_hot):
            around = self._led(found)
            if found is not None and isinstance(around, Around):
                leading.append((row, found, around))
            else:
                results[str(around)] += 1
        if leading:
            rows = [row for row, _, _ in leading]
            levels = self._neighbours.levels(probes[rows], np.stack([around.vector for _, _, around in leading]))
            for (row, found, around), level in zip(leading, levels, strict=True):
                answer = self._judged(probes[row], found, around, int(level))
                if isinstance(answer, Match):
                    answers[row] = answer
                results["hit" if isinstance(answer, Match) else answer] += 1
        # What was added to the gallery while we looked may be nearer than anything compared with.
        if not self._neighbours.settled:
            results, answers = Counter({"gallery_moves": len(answers)}), [None] * len(answers)
        for why, count in results.items():
            metrics.HOT_SEARCHES.labels(why).inc(count)
        return answers

    def _led(self, found: Lead | None) -> Around | str:
        """What is known of the template that leads clearly, or why there is none."""
        if found is None:
            return "nobody_hot"
        if not found.similarity - found.runner_up >= self._neighbours.rule.lead:
            return "thin_margin"
        around = self._neighbours.around(found.template_id)
        if around is None:
            self._neighbours.first(found.template_id)
            return "not_counted"
        return around

    def _judged(self, probe: Vector, found: Lead, around: Around, level: int) -> Match | str:
        """The answer, or why it does not stand."""
        if level >= LEVELS or not found.similarity >= around.least[level]:
            return "below_least"
        rule = self._neighbours.rule
        risked = risk(rule, self._gallery.dimension, around.counts, level, found.similarity)
        if not risked <= self._account:
            return "spent"
        exact = self._gallery.search_payers(probe, (found.payer_id, *around.nearest))
        if exact is None or exact.payer_id != found.payer_id:
            return "not_alive"
        if exact.template_id != found.template_id or not abs(exact.similarity - found.similarity) <= _SAME:
            return "changed"
        if exact.lookalike:
            return "lookalike"
        if not exact.similarity - exact.runner_up >= rule.lead:
            return "near_neighbour"
        self._pay_in(0, risked)
        bound = max(found.runner_up, exact.runner_up, exact.similarity - rule.lead)
        return replace(exact, runner_up=max(-1.0, bound), searched="hot")

    def _pay_in(self, searches: int, risked: float = 0.0) -> None:
        rule = self._neighbours.rule
        with self._lock:
            # What is not used up does not add up without end: a quiet night buys no careless morning.
            self._account = min(_MOST * rule.mean, self._account + searches * rule.mean) - risked
        metrics.HOT_RISK.inc(risked)


def agrees(hot: Match, exact: Match | None) -> bool:
    """Whether an exact answer leaves a hot one standing: the same payer, template and similarity, and nobody nearer
    than the hot one said."""
    return (
        exact is not None
        and (exact.payer_id, exact.template_id) == (hot.payer_id, hot.template_id)
        and abs(exact.similarity - hot.similarity) <= _SAME
        and exact.runner_up <= hot.runner_up + _SAME
        and exact.lookalike == hot.lookalike
    )
