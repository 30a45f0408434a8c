"""Rows that may be in an answer, and the answer computed from them in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from pipeline.gallery.index.codes import Floats, Probes
from pipeline.gallery.index.segments import Rows, Segment
from pipeline.ports import Match

_RERANKED_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class View:
    """The gallery of one moment: segments with the rows written by then; `payers`: the id of each payer code."""

    parts: Sequence[tuple[Segment, int]]
    payers: Sequence[str]
    moment: int
    rows: Sequence[tuple[Segment, int]] = ()
    """Of the payers that a search is restricted to."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Parallel, (n,): which probe, in which part, which row, whose; no similarity is above `upper`."""

    probe: Rows
    part: Rows
    row: Rows
    payer: npt.NDArray[np.int32]
    upper: Floats

    @classmethod
    def none(cls) -> Hits:
        """No row."""
        number = np.empty(0, np.int64)
        return cls(number, number, number, np.empty(0, np.int32), np.empty(0))

    @classmethod
    def of(cls, part: int, row: Rows, payer: npt.NDArray[np.int32], upper: Floats) -> Hits:
        """Of one part, for the first probe."""
        return cls(np.zeros(len(row), np.int64), np.full(len(row), part), row, payer, upper)

    @classmethod
    def joined(cls, some: Sequence[Hits]) -> Hits:
        """One after the other."""
        columns = zip(*((hits.probe, hits.part, hits.row, hits.payer, hits.upper) for hits in some), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def only(self, chosen: npt.NDArray[np.bool_] | Rows | slice) -> Hits:
        """Some of them."""
        return Hits(self.probe[chosen], self.part[chosen], self.row[chosen], self.payer[chosen], self.upper[chosen])

    def __len__(self) -> int:
        return len(self.probe)


def exact(hits: Hits, probes: Probes, view: View) -> Floats:
    """Similarities in float64, (n,). Each is one BLAS dot product of two rows: the same whatever lies around them."""
    found = np.empty(len(hits))
    for first in range(0, len(hits), _RERANKED_AT_ONCE):
        some = slice(first, first + _RERANKED_AT_ONCE)
        part, row = hits.part[some], hits.row[some]
        vectors = np.empty((len(row), probes.exact.shape[1]))
        for number in set(part.tolist()):
            here = np.flatnonzero(part == number)
            vectors[here] = view.parts[number][0].vectors[row[here]]
        found[some] = np.vecdot(vectors, probes.exact[hits.probe[some]])
    return found


def ranked(hits: Hits, similar: Floats, view: View) -> Iterator[tuple[int, int, int | None]]:
    """Probe, its best hit (of equal ones that with the smallest template id), the best hit of another payer."""
    probe_of, values, payers = hits.probe.tolist(), similar.tolist(), hits.payer.tolist()
    order = np.lexsort((-similar, hits.probe)).tolist()
    for probe, of_probe in groupby(order, key=probe_of.__getitem__):
        numbers = list(of_probe)
        top = values[numbers[0]]
        equal = [number for number in numbers if values[number] == top]
        best = equal[0] if len(equal) == 1 else min(equal, key=lambda number: template_id(hits, number, view))
        other = next((number for number in numbers if payers[number] != payers[best]), None)
        yield probe, best, other


def template_id(hits: Hits, number: int, view: View) -> str:
    """Of one hit."""
    segment, row = view.parts[int(hits.part[number])][0], int(hits.row[number])
    return segment.names[row]


def matches(hits: Hits, probes: Probes, view: View) -> list[Match | None]:
    """One per probe; None where there is no hit."""
    similar = exact(hits, probes, view)
    found: list[Match | None] = [None] * len(probes)
    for probe, best, other in ranked(hits, similar, view):
        segment, row = view.parts[hits.part[best]][0], hits.row[best]
        found[probe] = Match(
            payer_id=view.payers[hits.payer[best]],
            template_id=segment.names[row],
            similarity=_cosine(similar[best]),
            runner_up=-1.0 if other is None else _cosine(similar[other]),
            lookalike=bool(segment.lookalikes[row]),
        )
    return found


def _cosine(similarity: float) -> float:
    """Held within the range that rounding can leave."""
    return min(1.0, max(-1.0, float(similarity)))
