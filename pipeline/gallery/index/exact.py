"""The exact index: templates come and go while searches run, and each search sees the gallery of one moment.

Every change is a moment, counted. A search notes the moment and the segments under the lock and computes outside it: it
stops nobody. A template that is removed or replaced is marked with the moment and overwritten as soon as every search
that could see it has ended. When more than half of a segment's rows are removed, the living ones are written anew and
the segment is overwritten in the same way, so memory follows what is enrolled.

A template's place is one number, `segment * SEGMENT_ROWS + row`.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline import metrics
from pipeline.gallery.index.choice import choose
from pipeline.gallery.index.histogram import histogram
from pipeline.gallery.index.hits import View
from pipeline.gallery.index.kernels import Kernel, KernelName
from pipeline.gallery.index.payers import Payers
from pipeline.gallery.index.search import search, search_rows
from pipeline.gallery.index.segments import FIRST_ROWS, SEGMENT_ROWS, Arrays, Form, Segment, Stored, Vectors
from pipeline.gallery.templates import NORM_TOLERANCE
from pipeline.ports import Match, Vector

_PUT_AT_ONCE = 1024
"""Templates written under one hold of the lock: a few milliseconds."""


class ExactIndex:
    """The search part of `ports.GallerySearch`, filled by `put` and `remove`; safe for several threads."""

    def __init__(
        self,
        dimension: int,
        *,
        kernel: KernelName | Kernel = "auto",
        stored: Stored = "float32",
        folder: Path | None = None,
    ) -> None:
        """`kernel`: `auto` is the quickest that this machine has. `stored`: with `float16` a template is rounded to
        half precision when it is put; answers are exact for the vectors as rounded. `folder`: vectors lie in nameless
        files there instead of in memory, whose pages the system may write out: let it be on an encrypted disk.

        Raises `UsageError` if this machine cannot run the kernel asked for."""
        self._kernel = choose(kernel, dimension) if isinstance(kernel, str) else kernel
        self._form = Form(dimension, stored, folder, self._kernel.coder)
        self._lock = threading.Lock()
        self._segments = {0: Segment(self._form, FIRST_ROWS)}
        self._tail = 0
        """Number of the segment that gets new rows."""
        self._places: dict[str, int] = {}
        self._payers = Payers()
        self._moment = 0
        self._searching: Counter[int] = Counter()
        """How many searches run, by the moment that they see."""
        self._ended: deque[tuple[int, Segment, int | None, int | None]] = deque()
        """Moment, segment, row (None: all) to overwrite, payer code to free, once no earlier search runs."""

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._form.dimension

    @property
    def kernel(self) -> str:
        """What scans the gallery."""
        return self._kernel.name

    @property
    def size(self) -> int:
        """Number of templates searched."""
        return len(self._places)

    @property
    def payers(self) -> int:
        """Number of payers who have a template."""
        return len(self._payers)

    @property
    def bytes_per_template(self) -> float:
        """Bytes of arrays per template, room for further ones included; ids and their places take about 250 more."""
        with self._lock:
            rooms = sum(segment.room for segment in self._segments.values())
            return rooms * self._form.bytes_per_row / max(1, len(self._places))

    @property
    def bytes_read_per_template(self) -> int:
        """Bytes of every template that a search for one probe must read."""
        return self._form.bytes_read

    @property
    def ready(self) -> bool:
        """True: what was put is what is searched. Whether a topic was read to its end, its reader knows."""
        return True

    def put(self, template_id: str, payer_id: str, vector: Vector, *, lookalike: bool = False) -> None:
        """Adds a template or replaces it, in one step for every search. `vector` float32 (d,), of length 1; raises
        `ValueError` for another shape or length."""
        if vector.shape != (self.dimension,):
            raise ValueError(f"a template has shape {vector.shape}, the gallery holds ({self.dimension},)")
        self.put_many([template_id], [payer_id], vector[None], np.array([lookalike]))

    def put_many(
        self,
        template_ids: Sequence[str],
        payer_ids: Sequence[str],
        vectors: Vectors,
        lookalikes: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """As `put` for each, in order, some thousands in one step. `vectors` (n, d), each of length 1; `lookalikes`
        bool (n,). Raises `ValueError` for other shapes or lengths, and then puts none."""
        flags = np.zeros(len(template_ids), np.bool_) if lookalikes is None else lookalikes
        if vectors.shape != (len(template_ids), self.dimension) or not len(payer_ids) == len(flags) == len(vectors):
            raise ValueError(
                f"templates have shape {vectors.shape} and {len(template_ids)} ids, the gallery holds"
                f" (n, {self.dimension})"
            )
        starts = range(0, len(vectors), _PUT_AT_ONCE)
        if not all(_of_length_1(vectors[start : start + _PUT_AT_ONCE]) for start in starts):
            raise ValueError("a template is no finite vector of length 1")
        for start in starts:
            some = slice(start, start + _PUT_AT_ONCE)
            with self._lock:
                self._moment += 1
                self._append(template_ids[some], payer_ids[some], vectors[some], flags[some])
                self._changed()

    def load(self, arrays: Arrays) -> None:
        """Puts all templates of a dump."""
        self.put_many(arrays.template_ids, arrays.payer_ids, arrays.vectors, arrays.lookalikes)

    def remove(self, template_id: str) -> bool:
        """Takes a template out; False if there is none of that id."""
        with self._lock:
            if template_id not in self._places:
                return False
            self._moment += 1
            self._remove(template_id)
            self._changed()
            return True

    def remove_payer(self, payer_id: str) -> int:
        """Takes all templates of a payer out, in one step; how many there were."""
        with self._lock:
            self._moment += 1
            names = [self._name(place) for place in self._payers.places(payer_id)]
            for name in names:
                self._remove(name)
            self._changed()
            return len(names)

    def holds(self, template_id: str) -> bool:
        """Whether a search that begins now sees this template."""
        return template_id in self._places

    def size_of(self, payer_ids: Collection[str]) -> int:
        """How many templates these payers have."""
        with self._lock:
            return sum(len(self._payers.places(payer)) for payer in set(payer_ids))

    def payer_of(self, template_id: str) -> str | None:
        """Whose template it is; None if no search that begins now sees it."""
        with self._lock:
            place = self._places.get(template_id)
            if place is None:
                return None
            segment, row = self._at(place)
            return self._payers.names[int(segment.payer_of[row])]

    def templates_of(self, payer_id: str) -> tuple[tuple[str, Vector], ...]:
        """Ids and vectors, float32 (d,), of a payer, by id; empty if nobody is known by that id."""
        with self._lock:
            places = [(self._name(place), *self._at(place)) for place in self._payers.places(payer_id)]
            found = [(name, segment.vectors[row].astype(np.float32)) for name, segment, row in places]
        return tuple(sorted(found, key=lambda template: template[0]))

    def search(self, probes: Vector) -> Sequence[Match | None]:
        """The best payer and the best other payer for each of `probes`, float32 (n, d), each of length 1; None for each
        when the gallery is empty. Raises `ValueError` for another shape and for numbers that are not finite."""
        self._check(probes, (len(probes), self.dimension) if probes.ndim else ())
        with self._view() as view:
            return search(self._kernel, probes, view)

    def search_payers(self, probe: Vector, payer_ids: Collection[str]) -> Match | None:
        """As `search` for one probe, float32 (d,), among these payers alone; None if none of them has a template."""
        self._check(probe, (self.dimension,))
        with self._view(payer_ids) as view:
            return search_rows(probe, view)

    def histogram(self, vectors: Vector, payer_ids: Sequence[str], edges: Vector) -> npt.NDArray[np.int64]:
        """How many templates of other payers than its own are how like each of `vectors`, float32 (n, d): counts
        (n, k) between `edges`, float32 (k + 1,), ascending. A similarity may be counted higher than it is, by at most
        the error of a scan, and never lower; one beyond the edges is counted at the end. `payer_ids`: n payers."""
        self._check(vectors, (len(payer_ids), self.dimension))
        with self._view() as view:
            with self._lock:
                own = np.array([self._payers.code(payer) for payer in payer_ids], np.int64)
            return histogram(self._kernel, vectors, own, edges, view)

    def dump(self) -> Arrays:
        """All templates of this moment."""
        parts = list(self.dump_parts())
        return Arrays(
            [name for part in parts for name in part.template_ids],
            [name for part in parts for name in part.payer_ids],
            np.concatenate([part.lookalikes for part in parts]),
            np.concatenate([part.vectors for part in parts]),
        )

    def dump_parts(self) -> Iterator[Arrays]:
        """The same in parts of at most `SEGMENT_ROWS`, all of the moment when the first is asked for. What is removed
        meanwhile is overwritten only when the iterator has ended or was closed."""
        with self._view() as view:
            for segment, written in view.parts:
                rows = segment.alive(written, view.moment)
                yield Arrays(
                    [segment.names[row] for row in rows],
                    [view.payers[code] for code in segment.payer_of[rows]],
                    segment.lookalikes[rows],
                    segment.vectors[rows],
                )

    def _check(self, probes: Vector, shape: tuple[int, ...]) -> None:
        if probes.shape != shape:
            expected = self.dimension if len(shape) == 1 else f"n, {self.dimension}"
            raise ValueError(f"probes have shape {probes.shape}, the gallery holds ({expected})")
        if not np.isfinite(probes).all():
            raise ValueError("probes have numbers that are not finite")

    @contextmanager
    def _view(self, payer_ids: Collection[str] = ()) -> Iterator[View]:
        """The gallery of this moment, or the templates of some payers in it; stays readable until the end."""
        with self._lock:
            moment = self._moment
            parts = [(segment, segment.count) for segment in self._segments.values() if segment.living]
            rows = [self._at(place) for payer in set(payer_ids) for place in self._payers.places(payer)]
            self._searching[moment] += 1
        try:
            yield View(parts, self._payers.names, moment, rows)
        finally:
            with self._lock:
                self._searching[moment] -= 1
                if not self._searching[moment]:
                    del self._searching[moment]
                self._wipe()

    def _append(
        self,
        template_ids: Sequence[str],
        payer_ids: Sequence[str],
        vectors: Vectors,
        lookalikes: npt.NDArray[np.bool_],
    ) -> None:
        start = 0
        while start < len(template_ids):
            tail = self._with_room()
            base = self._tail * SEGMENT_ROWS + tail.count
            some = slice(start, start + tail.room - tail.count)
            names, flags = template_ids[some], lookalikes[some]
            codes = [self._payers.add(payer, base + number) for number, payer in enumerate(payer_ids[some])]
            tail.write(names, np.array(codes, np.int32), flags, vectors[some])
            # Only now the old ones: a replacement leaves no moment without its payer.
            replaced = []
            for number, name in enumerate(names, base):
                if (old := self._places.get(name)) is not None:
                    replaced.append(old)
                    self._mark(old)
                self._places[name] = number
            for old in {place // SEGMENT_ROWS for place in replaced}:
                self._tidy(old)
            start += len(names)

    def _remove(self, template_id: str) -> None:
        place = self._places.pop(template_id)
        self._mark(place)
        self._tidy(place // SEGMENT_ROWS)

    def _mark(self, place: int) -> None:
        """From this moment on no search sees the template."""
        segment, row = self._at(place)
        segment.dead[row] = self._moment
        segment.living -= 1
        code = int(segment.payer_of[row])
        last = self._payers.drop(code, place)
        self._ended.append((self._moment, segment, row, code if last else None))

    def _tidy(self, number: int) -> None:
        """Writes the living rows of a segment anew if they are less than half of it."""
        segment = self._segments.get(number)
        if segment is None or segment.count <= FIRST_ROWS or 2 * segment.living >= segment.count:
            return
        if number == self._tail:
            self._rewrite_tail(segment)
            return
        del self._segments[number]
        rows = segment.alive(segment.count, self._moment)
        while len(rows):
            tail = self._with_room()
            room = tail.room - tail.count
            self._take(self._tail, tail, number, segment, rows[:room])
            rows = rows[room:]
        self._ended.append((self._moment, segment, None, None))

    def _with_room(self) -> Segment:
        """The last segment, after making room in it."""
        tail = self._segments[self._tail]
        if tail.count < tail.room:
            return tail
        if tail.room < SEGMENT_ROWS or 2 * tail.living <= tail.room:
            return self._rewrite_tail(tail)
        self._tail = next(number for number in count() if number not in self._segments)
        new = self._segments[self._tail] = Segment(self._form, SEGMENT_ROWS)
        return new

    def _rewrite_tail(self, tail: Segment) -> Segment:
        """A new last segment with the living rows and as much room again."""
        room = FIRST_ROWS
        while room < min(SEGMENT_ROWS, 2 * tail.living):
            room *= 2
        new = Segment(self._form, room)
        self._segments[self._tail] = new
        self._take(self._tail, new, self._tail, tail, tail.alive(tail.count, self._moment))
        self._ended.append((self._moment, tail, None, None))
        return new

    def _take(self, number: int, segment: Segment, from_number: int, old: Segment, rows: npt.NDArray[np.int64]) -> None:
        """Copies rows of `old` to the end of `segment` and notes where they are now."""
        first = segment.take(old, rows)
        for place, row in enumerate(rows.tolist(), number * SEGMENT_ROWS + first):
            self._places[old.names[row]] = place
            self._payers.move(int(old.payer_of[row]), from_number * SEGMENT_ROWS + row, place)

    def _at(self, place: int) -> tuple[Segment, int]:
        number, row = divmod(place, SEGMENT_ROWS)
        return self._segments[number], row

    def _name(self, place: int) -> str:
        segment, row = self._at(place)
        return segment.names[row]

    def _changed(self) -> None:
        metrics.GALLERY.set(len(self._places))
        self._wipe()

    def _wipe(self) -> None:
        """Overwrites what no search can be reading any more."""
        oldest = min(self._searching, default=self._moment)
        while self._ended and self._ended[0][0] <= oldest:
            _, segment, row, code = self._ended.popleft()
            segment.wipe(row)
            if code is not None:
                self._payers.free(code)


def _of_length_1(vectors: Vectors) -> bool:
    """Whether each row is a finite vector of length 1."""
    lengths = np.linalg.norm(vectors.astype(np.float32, copy=False), axis=1)
    return bool((np.abs(lengths - 1.0) <= NORM_TOLERANCE).all())
