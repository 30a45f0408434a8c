"""From approximate scores to the exact answer.

A search passes over the rows in stages. After each it takes, for each probe, the most promising templates of two payers
and computes their similarities in float64: the lower of the two is a floor that the best other payer's true similarity
cannot lie below. In the next stage a row is a hit only if its score plus the proved error reaches that floor; whatever
is no hit is neither the best template nor that of the best other payer, nor equal to one of them. In the end the hits
that still reach the floor are computed in float64, row by row, so that a result does not depend on the batch it was
found in.

Many equal rows can make everything a hit; then hits are settled on the way: computed exactly, two payers kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.gallery.index.codes import SLACK, Floats, Probes
from pipeline.gallery.index.hits import Hits, View, exact, matches, ranked
from pipeline.gallery.index.kernels import Kernel
from pipeline.gallery.index.segments import Rows, Segment
from pipeline.ports import Match, Vector

PROBES_AT_ONCE = 64
_FIRST_STAGE = 1024
"""Rows of which all scores are looked at, to find a first floor."""
_GROWTH = 16
"""Each further stage ends when this many times as many rows were seen. Stages cost; so do the hits of a low floor."""
_APART = 8.0
"""More than the similarities of a probe of length 1 lie apart."""
_HITS_PER_PROBE = 512
"""More hits than this, on average, are settled at once."""


def search(kernel: Kernel, vectors: Vector, view: View) -> list[Match | None]:
    """The best payer and the best other payer for each of `vectors`, float32 (n, d)."""
    single = len(vectors) <= kernel.one_by_one
    at_once = 1 if single else PROBES_AT_ONCE
    found: list[Match | None] = []
    for first in range(0, len(vectors), at_once):
        probes = Probes.of(vectors[first : first + at_once])
        hits = kernel.single(probes, view) if single else _Search(kernel, probes, view).hits()
        found += matches(hits, probes, view)
    return found


def search_rows(vector: Vector, view: View) -> Match | None:
    """The same for one vector, float32 (d,), among `view.rows`; None if there are none."""
    segments = {id(segment): (number, segment) for number, (segment, _) in enumerate(view.parts)}
    places = [(segments[id(segment)][0], row, segment.payer_of[row]) for segment, row in view.rows]
    if not places:
        return None
    part, row, payer = (np.array(column) for column in zip(*places, strict=True))
    hits = Hits(np.zeros(len(row), np.int64), part, row, payer, np.full(len(row), np.inf))
    return matches(hits, Probes.of(vector[None]), view)[0]


class _Search:
    """One batch of probes on its way through the rows."""

    def __init__(self, kernel: Kernel, probes: Probes, view: View) -> None:
        self._scanned = kernel.scan(probes)
        self._probes = probes
        self._view = view
        self._unit = self._scanned.unit
        self._count = len(probes)
        self._floor: Floats = np.full(self._count, -np.inf)
        self._hits = Hits.none()
        self._scale = 1.0 / np.maximum(probes.length, SLACK)

    def hits(self) -> Hits:
        """Rows among which the answers are."""
        for stage in self._stages():
            pending, waiting = [self._hits], len(self._hits)
            for part, first, end in stage:
                hits = self._scan(part, first, end)
                pending.append(hits)
                waiting += len(hits)
                if waiting > _HITS_PER_PROBE * self._count:
                    settled = self._settled(Hits.joined(pending))
                    pending, waiting = [settled], len(settled)
            self._hits = Hits.joined(pending)
            self._raise_floor()
        return self._hits

    def _stages(self) -> Iterator[list[tuple[int, int, int]]]:
        """Pieces (part, first row, end) of each stage."""
        seen, due = 0, _FIRST_STAGE
        stage: list[tuple[int, int, int]] = []
        for part, (_, count) in enumerate(self._view.parts):
            first = 0
            while first < count:
                end = min(count, first + due - seen)
                stage.append((part, first, end))
                seen, first = seen + end - first, end
                if seen == due:
                    yield stage
                    stage, due = [], due * _GROWTH
        if stage:
            yield stage

    def _scan(self, part: int, first: int, end: int) -> Hits:
        segment, moment = self._view.parts[part][0], self._view.moment
        error = self._scanned.error(segment)
        if np.isneginf(self._floor).all():
            self._first_floor(segment, first, end, error)
        floors = (self._floor - error) / self._unit
        probe, row, score = self._scanned.hits(segment, first, end, floors)
        alive = segment.dead[row] > moment
        if not alive.all():
            probe, row, score = probe[alive], row[alive], score[alive]
        upper = score * self._unit[probe] + error[probe]
        return Hits(probe, np.full(len(probe), part), row, segment.payer_of[row], upper)

    def _first_floor(self, segment: Segment, first: int, end: int, error: Floats) -> None:
        """A floor from all scores of one piece, for the probes that find two payers in it."""
        similar = self._scanned.scores(segment, first, end) * self._unit[:, None]
        similar[:, segment.dead[first:end] <= self._view.moment] = -np.inf
        payer_of = segment.payer_of[first:end]
        best = similar.argmax(axis=1)
        similar[payer_of[None, :] == payer_of[best][:, None]] = -np.inf
        self._floor = np.maximum(self._floor, similar.max(axis=1) - error)

    def _raise_floor(self) -> None:
        """To the lower similarity of the two most promising payers of each probe; drops the hits below it."""
        hits = self._hits
        # Ascending by probe, then by how promising: the last of each probe is its best. One key sorts quicker than two;
        # that it rounds the second does not matter, for what is chosen by it is computed.
        order = np.argsort(hits.probe * _APART + hits.upper * self._scale[hits.probe])
        best = order[_ends(hits.probe[order])]
        best_payer = np.full(self._count, -1, np.int32)
        best_payer[hits.probe[best]] = hits.payer[best]
        others = order[hits.payer[order] != best_payer[hits.probe[order]]]
        other = others[_ends(hits.probe[others])]
        two = np.full((2, self._count), -np.inf)
        for similar, chosen in zip(two, (hits.only(best), hits.only(other)), strict=True):
            similar[chosen.probe] = exact(chosen, self._probes, self._view)
        self._floor = np.maximum(self._floor, two.min(axis=0) - SLACK)
        self._hits = hits.only(hits.upper >= self._floor[hits.probe])

    def _settled(self, hits: Hits) -> Hits:
        """Of each probe, the best template and the best of another payer, with their exact similarities."""
        similar = exact(hits, self._probes, self._view)
        pairs = ranked(hits, similar, self._view)
        chosen = np.array([number for _, *two in pairs for number in two if number is not None], np.int64)
        kept = hits.only(chosen)
        return Hits(kept.probe, kept.part, kept.row, kept.payer, similar[chosen] + SLACK)


def _ends(sorted_keys: Rows) -> Rows:
    """Where each run of equal keys ends."""
    if not len(sorted_keys):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.append(sorted_keys[1:] != sorted_keys[:-1], True))
