"""The hot payers of a process: what `follower` has read of Redis, as one small matrix.

A payer's templates come and go together. The matrix has no holes: the last row moves to where one was removed. What
stands here is a hint, computed in float32: `decide` lets nothing stand that the exact index of the process does not
confirm. Safe for several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import metrics
from pipeline.gallery.hot.layout import Entry
from pipeline.gallery.templates import NORM_TOLERANCE
from pipeline.ports import Vector

_FIRST_ROWS = 256
_BELOW_ALL = np.float32(-3.0)


@dataclass(frozen=True, slots=True)
class Lead:
    """Who leads the hot payers for a probe, and the similarity of the best other one (-1.0 if there is none)."""

    payer_id: str
    template_id: str
    similarity: float
    runner_up: float


class Mirror:
    """`on_put` is told each entry that is new or changed, `on_drop` the ids of templates that went."""

    def __init__(
        self,
        dimension: int,
        *,
        on_put: Callable[[Entry], None] = lambda _: None,
        on_drop: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self.dimension = dimension
        self._matrix: Vector = np.zeros((_FIRST_ROWS, dimension), np.float32)
        self._names: list[tuple[str, str]] = []
        self._rows: dict[str, int] = {}
        self._on_put = on_put
        self._on_drop = on_drop
        self._lock = threading.RLock()
        self._payers: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._tags: dict[str, str] = {}

    @property
    def payers(self) -> int:
        """How many payers are hot."""
        return len(self._payers)

    @property
    def size(self) -> int:
        """How many templates they have."""
        return len(self._rows)

    def search(self, probes: Vector) -> list[Lead | None]:
        """Who leads for each of `probes`, float32 (n, d); None for each when nobody is hot."""
        with self._lock:
            count = len(self._names)
            if not count:
                return [None] * len(probes)
            similar = probes @ self._matrix[:count].T
            found: list[Lead | None] = []
            for row, best in enumerate(np.argmax(similar, axis=1).tolist()):
                template_id, payer_id = self._names[best]
                similarity = float(similar[row, best])
                own = [self._rows[name] for name in self._payers[self._tags[payer_id]][1]]
                similar[row, own] = _BELOW_ALL
                found.append(Lead(payer_id, template_id, similarity, max(-1.0, float(similar[row].max()))))
            return found

    def template_ids(self, payer_id: str) -> tuple[str, ...]:
        """The ids of a hot payer's templates; none for a payer who is not hot."""
        with self._lock:
            tag = self._tags.get(payer_id)
            return () if tag is None else self._payers[tag][1]

    def hot(self) -> list[tuple[str, str]]:
        """Tag and payer id of everybody here."""
        with self._lock:
            return [(tag, payer_id) for tag, (payer_id, _) in self._payers.items()]

    def put(self, tag: str, entry: Entry) -> None:
        """Adds a payer, or replaces the templates. Raises `ValueError` for vectors of another length than 1."""
        lengths = np.linalg.norm(entry.vectors, axis=1)
        if len(lengths) != len(entry.template_ids) or not (np.abs(lengths - 1.0) <= NORM_TOLERANCE).all():
            raise ValueError("a hot template is no finite vector of length 1")
        with self._lock:
            _, before = self._payers.get(tag, ("", ()))
            gone = [each for each in before if each not in entry.template_ids]
            if any(
                self._names[self._rows[each]][1] != entry.payer_id for each in entry.template_ids if each in self._rows
            ):
                raise ValueError("a hot template is another payer's")
            self._payers[tag] = (entry.payer_id, entry.template_ids)
            self._tags[entry.payer_id] = tag
            changed = False
            for template_id, vector in zip(entry.template_ids, entry.vectors, strict=True):
                changed |= self._write(template_id, entry.payer_id, vector)
            self._remove(gone)
            if changed:
                self._on_put(entry)
            metrics.HOT_PAYERS.set(len(self._payers))

    def drop(self, tag: str) -> bool:
        """Takes a payer out; whether there was one."""
        with self._lock:
            payer_id, template_ids = self._payers.pop(tag, ("", ()))
            self._tags.pop(payer_id, None)
            self._remove(template_ids)
            metrics.HOT_PAYERS.set(len(self._payers))
            return bool(payer_id)

    def drop_payer(self, payer_id: str) -> bool:
        """The same by the payer's id."""
        with self._lock:
            tag = self._tags.get(payer_id)
            return tag is not None and self.drop(tag)

    def keep_only(self, tags: Collection[str]) -> None:
        """Takes everybody out but `tags`."""
        with self._lock:
            for tag in [tag for tag in self._payers if tag not in tags]:
                self.drop(tag)

    def _write(self, template_id: str, payer_id: str, vector: Vector) -> bool:
        row = self._rows.get(template_id)
        if row is not None and np.array_equal(self._matrix[row], vector):
            return False
        if row is None:
            row = len(self._names)
            if row == len(self._matrix):
                matrix = np.zeros((2 * row, self.dimension), np.float32)
                matrix[:row] = self._matrix
                self._matrix = matrix
            self._names.append((template_id, payer_id))
            self._rows[template_id] = row
        self._matrix[row] = vector
        return True

    def _remove(self, template_ids: Sequence[str]) -> None:
        for template_id in template_ids:
            row, last = self._rows.pop(template_id), len(self._names) - 1
            self._matrix[row] = self._matrix[last]
            self._matrix[last] = 0.0
            self._names[row] = self._names[last]
            self._names.pop()
            if row != last:
                self._rows[self._names[row][0]] = row
        if template_ids:
            self._on_drop(template_ids)
