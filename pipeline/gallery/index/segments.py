"""Rows of templates in segments of fixed room: the vectors as they are, and what a kernel scans of them.

A row is written once, before any search can see it, and never again until it is wiped. A removed row is marked with the
moment (`dead`) from which no new search sees it; a search begun earlier still does, without a copy of anything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.gallery.index.codes import Coder

SEGMENT_ROWS = 16_384
"""Room of a full segment. Larger ones cost fewer calls; smaller ones are written anew in less time under the lock."""
OVERREAD = 8
"""Rows beyond the room that a loop may read; nobody believes what it finds there."""
FIRST_ROWS = 256
"""Room of the first segment; it grows by copies of twice the room up to `SEGMENT_ROWS`."""
CACHE_LINE = 64
HUGE_PAGE = 2**21
ALIVE = np.iinfo(np.int64).max

Stored = Literal["float32", "float16"]
Vectors = npt.NDArray[np.float32] | npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Arrays:
    """Templates as a snapshot keeps them, all of one moment: parallel, in no order. `vectors`: (n, d) in the type that
    the index stores; `lookalikes`: bool (n,)."""

    template_ids: Sequence[str]
    payer_ids: Sequence[str]
    lookalikes: npt.NDArray[np.bool_]
    vectors: Vectors = field(repr=False)

    def __len__(self) -> int:
        return len(self.template_ids)


@dataclass(frozen=True, slots=True)
class Form:
    """How segments keep their rows: `coder` is None where the kernel scans the vectors themselves."""

    dimension: int
    stored: Stored
    folder: Path | None
    coder: Coder | None

    @property
    def bytes_per_row(self) -> int:
        """Numbers of one template: vector, payer, moment, flag, codes with their offset and residual."""
        codes = sum(self.widths) + 8 if self.coder else 0
        return self.dimension * np.dtype(self.stored).itemsize + 4 + 8 + 1 + codes

    @property
    def bytes_read(self) -> int:
        """Bytes of a row that a search for one probe must read: the smallest codes there are, with their residuals."""
        codes, halves = self.widths
        return halves + 4 if halves else codes or self.dimension * np.dtype(self.stored).itemsize

    @property
    def widths(self) -> tuple[int, int]:
        """Bytes of a row's 8-bit and 4-bit codes."""
        if self.coder is None:
            return 0, 0
        return self.coder.width, self.coder.width // 2 if self.coder.coarse else 0


class Segment:
    """Room for `room` rows; `count` of them are written, `living` of those not removed."""

    __slots__ = (
        "__weakref__",
        "addresses",
        "codes",
        "count",
        "dead",
        "form",
        "half_length",
        "halves",
        "length",
        "living",
        "lookalikes",
        "names",
        "offsets",
        "payer_of",
        "residual",
        "residuals",
        "room",
        "vectors",
        "wiped",
    )  # fmt: skip

    def __init__(self, form: Form, room: int) -> None:
        self.form = form
        self.room = room
        self.count = 0
        self.living = 0
        self.wiped = 0
        """How often something of it was overwritten: copies elsewhere are old then."""
        self.vectors = _room_for_vectors(form, room)
        width, half_width = form.widths
        self.codes: npt.NDArray[np.int8] = aligned(room + OVERREAD, width).view(np.int8)
        self.offsets: npt.NDArray[np.int32] = np.zeros(room + OVERREAD, np.int32)
        """-128 times the sum of each row's code: a scan with unsigned probes begins there."""
        self.halves = aligned(room + OVERREAD, half_width)
        self.residuals: npt.NDArray[np.float32] = np.zeros(room + OVERREAD, np.float32)
        """No row's vector is further from its 4-bit code than this."""
        self.addresses = tuple(part.ctypes.data for part in (self.codes, self.offsets, self.halves, self.residuals))
        """Of these four, for compiled loops."""
        self.payer_of: npt.NDArray[np.int32] = np.zeros(room, np.int32)
        self.dead: Rows = np.full(room, ALIVE, np.int64)
        self.lookalikes: npt.NDArray[np.bool_] = np.zeros(room, np.bool_)
        self.names: list[str] = []
        self.residual = 0.0
        """No row's vector is further from its code than this."""
        self.length = 0.0
        """No row's code is longer than this, as a vector; without codes, no vector."""
        self.half_length = 0.0
        """No row's 4-bit code is longer than this."""

    def write(
        self,
        names: Sequence[str],
        payer_of: npt.NDArray[np.int32],
        lookalikes: npt.NDArray[np.bool_],
        vectors: Vectors,
    ) -> int:
        """Adds rows at the end, where there must be room; the first one's number. They are seen once `count` is
        raised, which is last."""
        first, end = self.count, self.count + len(names)
        self.vectors[first:end] = vectors
        if self.form.coder is not None:
            coded = self.form.coder.code(self.vectors[first:end])
            self.codes[first:end] = coded.codes
            self.offsets[first:end] = -128 * coded.codes.sum(axis=1, dtype=np.int32)
            self.residual = max(self.residual, coded.residual)
            self.length = max(self.length, coded.length)
            if self.form.coder.coarse:
                self.halves[first:end] = coded.halves
                self.residuals[first:end] = coded.residuals
                self.half_length = max(self.half_length, coded.half_length)
        else:
            self.length = max(self.length, float(np.linalg.norm(vectors.astype(np.float64), axis=1).max(initial=0.0)))
        self.payer_of[first:end] = payer_of
        self.lookalikes[first:end] = lookalikes
        self.names.extend(names)
        self.living += len(names)
        self.count = end
        return first

    def take(self, other: Segment, rows: Rows) -> int:
        """Copies rows of a segment of the same form to the end, where there must be room; the first one's number."""
        first, end = self.count, self.count + len(rows)
        self.vectors[first:end] = other.vectors[rows]
        self.codes[first:end] = other.codes[rows]
        self.offsets[first:end] = other.offsets[rows]
        self.halves[first:end] = other.halves[rows]
        self.residuals[first:end] = other.residuals[rows]
        self.residual = max(self.residual, other.residual)
        self.length = max(self.length, other.length)
        self.half_length = max(self.half_length, other.half_length)
        self.payer_of[first:end] = other.payer_of[rows]
        self.lookalikes[first:end] = other.lookalikes[rows]
        self.names.extend([other.names[row] for row in rows])
        self.living += len(rows)
        self.count = end
        return first

    def wipe(self, row: int | None) -> None:
        """Overwrites the vector, codes and id of a row, or (None) of all; no search may be reading them."""
        rows = slice(None) if row is None else row
        self.wiped += 1
        self.vectors[rows] = 0.0
        self.codes[rows] = 0
        self.halves[rows] = 0
        if row is None:
            self.names.clear()
        elif self.names:
            self.names[row] = ""

    def alive(self, count: int, moment: int) -> Rows:
        """The rows below `count` that a search of `moment` sees."""
        return np.flatnonzero(self.dead[:count] > moment)


def aligned(rows: int, width: int) -> npt.NDArray[np.uint8]:
    """Zeros that begin where a cache line does, because a vector across two lines costs two reads; large ones begin
    where a huge page does, because the processor reads ahead only within a page."""
    size = rows * width
    border = HUGE_PAGE if size >= HUGE_PAGE else CACHE_LINE
    raw = np.zeros(size + border, np.uint8)
    start = -raw.ctypes.data % border
    return raw[start : start + size].reshape(rows, width)


def _room_for_vectors(form: Form, room: int) -> Vectors:
    shape = (room, form.dimension)
    if form.folder is None:
        return np.zeros(shape, form.stored)
    # The file has no name any more when it gets its first row, and goes with the process.
    with tempfile.TemporaryFile(dir=form.folder, prefix="facepay-index-") as file:
        return np.memmap(file, np.dtype(form.stored), "w+", shape=shape)
