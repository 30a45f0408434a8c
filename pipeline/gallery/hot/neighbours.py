"""How near everybody else is to each hot template: what `standing` needs to know, kept true while people enrol.

A hot template's neighbourhood is counted once over the whole exact index of this process, 256 templates in one pass and
by a thread that works at most half of the time (`Neighbours.work`); until then no answer of that template stands. From
then on each template that is put into the index is compared with all hot ones (`added`). What was added and not yet
compared is pending, and while anything is, nothing stands. Templates that leave the gallery stay counted: too careful.

Nothing of it is shared through Redis: a count made by another process says how near everybody was in its gallery, at
its time.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.gallery.hot.gallery import Gallery
from pipeline.gallery.hot.scan import ROUNDING, scan
from pipeline.gallery.hot.standing import BINS, EDGES, LEVELS, NEVER, Rule, least, levels
from pipeline.ports import Vector

_FIRST_ROWS = 256
_AT_ONCE = 256
_PENDING_AT_ONCE = 64
_VERY_NEAR = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """A hot template, float32 (d,); how many templates of others are how near, int64 (BINS,); from which similarity on
    its answers stand at each level, float32 (LEVELS,); and the payers nearest to it, compared with exactly."""

    vector: Vector = field(repr=False)
    counts: npt.NDArray[np.int64] = field(repr=False)
    least: npt.NDArray[np.float32] = field(repr=False)
    nearest: tuple[str, ...] = field(repr=False)


class Neighbours:
    """`want` templates, let one thread call `work`, and ask `around` and `levels`. Safe for several threads."""

    def __init__(self, gallery: Gallery, rule: Rule) -> None:
        self._gallery = gallery
        self.rule = rule
        self._lock = threading.Lock()
        self._some_work = threading.Condition(self._lock)
        self._rows: dict[str, int] = {}
        self._rows_of: dict[str, set[int]] = {}
        self._free: list[int] = []
        self._payers: list[str] = []
        self._nearest: list[tuple[str, ...]] = []
        dimension = gallery.dimension
        self._vectors: Vector = np.zeros((0, dimension), np.float32)
        self._counts: npt.NDArray[np.int64] = np.zeros((0, BINS), np.int64)
        self._least: npt.NDArray[np.float32] = np.zeros((0, LEVELS), np.float32)
        self._known: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._wanted: dict[str, tuple[str, Vector]] = {}
        self._pending: list[tuple[str, Vector]] = []
        self._spread: tuple[npt.NDArray[np.float32], int] | None = None

    @property
    def settled(self) -> bool:
        """Whether every template added has been compared. Asked without the lock: what is pending leaves the list when
        it has been dealt with, not before."""
        return not self._pending

    @property
    def known(self) -> int:
        """How many templates have their neighbours counted."""
        return int(self._known.sum())

    def want(self, template_ids: Sequence[str], payer_id: str, vectors: Vector) -> None:
        """Asks for a payer's templates to be counted; `vectors` float32 (k, d)."""
        with self._lock:
            for template_id, vector in zip(template_ids, vectors, strict=True):
                row = self._rows.get(template_id)
                if row is None or not np.array_equal(self._vectors[row], vector):
                    self._forget(template_id)
                    self._wanted[template_id] = (payer_id, vector)
            self._some_work.notify_all()

    def forget(self, template_ids: Sequence[str]) -> None:
        """Drops templates that are hot no longer."""
        with self._lock:
            for template_id in template_ids:
                self._forget(template_id)

    def first(self, template_id: str) -> None:
        """Moves a wanted template to the front: it is asked for at this moment."""
        with self._lock:
            found = self._wanted.pop(template_id, None)
            if found is not None:
                self._wanted = {template_id: found, **self._wanted}

    def levels(self, probes: Vector, templates: Vector) -> npt.NDArray[np.int64]:
        """How freely each of `probes` may vary around its of `templates`, both float32 (n, d): `standing.levels`."""
        with self._lock:
            spread = self._spread
        if spread is None:
            return np.full(len(probes), LEVELS)
        second, payers = spread
        along = np.einsum("nd,nd->n", probes, templates)[:, None]
        away = probes - along * templates
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
        squares = np.einsum("nd,nd->n", away @ second, away).astype(np.float64)
        return levels(self.rule, self._gallery.dimension, squares, payers)

    def around(self, template_id: str) -> Around | None:
        """What is known of a template; None while its neighbours are not counted."""
        with self._lock:
            row = self._rows.get(template_id)
            if row is None or not self._known[row]:
                return None
            return Around(
                self._vectors[row].copy(), self._counts[row].copy(), self._least[row].copy(), self._nearest[row]
            )

    def added(self, payer_id: str, vector: Vector) -> None:
        """A template was put into the gallery, just before this call."""
        with self._lock:
            if self._rows:
                self._pending.append((payer_id, vector))
                self._some_work.notify_all()

    def wake(self) -> None:
        """Ends a wait of `work`."""
        with self._lock:
            self._some_work.notify_all()

    def work(self, timeout_s: float) -> bool:
        """Does one piece of what is to do, waiting up to `timeout_s` for some; False when there was none. One thread
        may call it. It computes without the lock: no search waits for it."""
        with self._lock:
            if not self._pending and not self._wanted:
                self._some_work.wait(timeout_s)
            some = self._pending[:_PENDING_AT_ONCE]
            names = [] if some else list(self._wanted)[:_AT_ONCE]
            chosen = [(name, *self._wanted.pop(name)) for name in names]
            # The rows are there before the count begins: whoever is added from here on is compared with them.
            rows = [self._row(name, payer_id, vector) for name, payer_id, vector in chosen]
        if some:
            self._compare(some)
        elif chosen:
            self._scan(chosen, rows)
        return bool(some or chosen)

    def _scan(self, chosen: Sequence[tuple[str, str, Vector]], rows: Sequence[int]) -> None:
        found = scan(
            self._gallery,
            np.stack([vector for _, _, vector in chosen]),
            [payer_id for _, payer_id, _ in chosen],
            self.rule.nearest,
        )
        judged = least(self.rule, self._gallery.dimension, found.counts)
        with self._lock:
            self._spread = (found.second, found.payers)
            for number, (row, (name, _, _)) in enumerate(zip(rows, chosen, strict=True)):
                # It may have been dropped meanwhile; only this thread gives a row to another.
                if self._rows.get(name) == row:
                    self._counts[row], self._least[row] = found.counts[number], judged[number]
                    self._nearest[row] = found.nearest[number]
                    self._known[row] = True

    def _compare(self, some: Sequence[tuple[str, Vector]]) -> None:
        with self._lock:
            rows = np.fromiter(self._rows.values(), np.int64, len(self._rows))
            place = {row: at for at, row in enumerate(rows.tolist())}
            own = [[place[row] for row in self._rows_of.get(payer_id, ())] for payer_id, _ in some]
            vectors, counts = self._vectors[rows], self._counts[rows]
        cosines = vectors @ np.stack([vector for _, vector in some]).T + ROUNDING
        bins = np.clip(np.searchsorted(EDGES, cosines, side="right") - 1, 0, BINS - 1)
        moved = np.zeros(len(rows), np.bool_)
        closer: dict[int, tuple[str, ...]] = {}
        for column, (payer_id, _) in enumerate(some):
            others = np.ones(len(rows), np.bool_)
            others[own[column]] = False
            # A newcomer who is very near joins those compared with exactly, while there is room.
            for at in np.flatnonzero(others & (cosines[:, column] >= _VERY_NEAR)).tolist():
                nearest = closer.get(at, self._nearest[rows[at]])
                if len(nearest) < 2 * self.rule.nearest:
                    closer[at] = (*nearest, payer_id)
                    others[at] = False
            counts[others, bins[others, column]] += 1
            # Those in the first bin move nothing that is worth working out again: a million add less than 1e-9.
            moved |= others & (bins[:, column] > 0)
        judged = least(self.rule, self._gallery.dimension, counts[moved])
        with self._lock:
            # A row dropped meanwhile is nobody's until this thread gives it away, and then begins anew.
            self._counts[rows] = counts
            self._least[rows[moved]] = judged
            for at, nearest in closer.items():
                self._nearest[rows[at]] = nearest
            del self._pending[: len(some)]

    def _row(self, template_id: str, payer_id: str, vector: Vector) -> int:
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._rows[template_id] = row
        self._payers[row] = payer_id
        self._rows_of.setdefault(payer_id, set()).add(row)
        self._vectors[row] = vector
        self._counts[row], self._least[row], self._nearest[row] = 0, NEVER, ()
        return row

    def _forget(self, template_id: str) -> None:
        self._wanted.pop(template_id, None)
        row = self._rows.pop(template_id, None)
        if row is None:
            return
        self._vectors[row] = 0.0
        self._known[row] = False
        rows = self._rows_of[self._payers[row]]
        rows.discard(row)
        if not rows:
            del self._rows_of[self._payers[row]]
        self._payers[row], self._nearest[row] = "", ()
        self._free.append(row)

    def _grow(self) -> None:
        before, after = len(self._payers), max(_FIRST_ROWS, 2 * len(self._payers))

        def wider(array: npt.NDArray[np.generic], fill: float = 0) -> npt.NDArray[np.generic]:
            new = np.full((after, *array.shape[1:]), fill, array.dtype)
            new[:before] = array
            return new

        self._vectors = wider(self._vectors).astype(np.float32)
        self._counts = wider(self._counts).astype(np.int64)
        self._least = wider(self._least, float(NEVER)).astype(np.float32)
        self._known = wider(self._known).astype(np.bool_)
        self._payers += [""] * (after - before)
        self._nearest += [()] * (after - before)
        self._free += list(range(after - 1, before - 1, -1))
