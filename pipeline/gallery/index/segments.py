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

SEGMENT_ROWS = 8192
"""Room of a full segment: 8-bit codes of 512 dimensions take 4 MiB, the scores of 64 probes 2 MiB."""
FIRST_ROWS = 256
"""Room of the first segment; it grows by copies of twice the room up to `SEGMENT_ROWS`."""
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
        """Numbers of one template: vector, code, payer, moment, flag."""
        codes = self.dimension if self.coder else 0
        return self.dimension * np.dtype(self.stored).itemsize + codes + 4 + 8 + 1


class Segment:
    """Room for `room` rows; `count` of them are written, `living` of those not removed."""

    __slots__ = ("codes", "count", "dead", "form", "length", "living", "lookalikes", "names", "payer_of", "residual",
                 "room", "vectors")  # fmt: skip

    def __init__(self, form: Form, room: int) -> None:
        self.form = form
        self.room = room
        self.count = 0
        self.living = 0
        self.vectors = _room_for_vectors(form, room)
        self.codes: npt.NDArray[np.int8] = np.zeros((room, form.dimension if form.coder else 0), np.int8)
        self.payer_of: npt.NDArray[np.int32] = np.zeros(room, np.int32)
        self.dead: Rows = np.full(room, ALIVE, np.int64)
        self.lookalikes: npt.NDArray[np.bool_] = np.zeros(room, np.bool_)
        self.names: list[str] = []
        self.residual = 0.0
        """No row's vector is further from its code than this."""
        self.length = 0.0
        """No row's code is longer than this, as a vector."""

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
            self.residual = max(self.residual, coded.residual)
            self.length = max(self.length, coded.length)
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
        self.residual = max(self.residual, other.residual)
        self.length = max(self.length, other.length)
        self.payer_of[first:end] = other.payer_of[rows]
        self.lookalikes[first:end] = other.lookalikes[rows]
        self.names.extend([other.names[row] for row in rows])
        self.living += len(rows)
        self.count = end
        return first

    def wipe(self, row: int | None) -> None:
        """Overwrites the vector, code and id of a row, or (None) of all; no search may be reading them."""
        rows = slice(None) if row is None else row
        self.vectors[rows] = 0.0
        self.codes[rows] = 0
        if row is None:
            self.names.clear()
        elif self.names:
            self.names[row] = ""

    def alive(self, count: int, moment: int) -> Rows:
        """The rows below `count` that a search of `moment` sees."""
        return np.flatnonzero(self.dead[:count] > moment)


def _room_for_vectors(form: Form, room: int) -> Vectors:
    shape = (room, form.dimension)
    if form.folder is None:
        return np.zeros(shape, form.stored)
    # The file has no name any more when it gets its first row, and goes with the process.
    with tempfile.TemporaryFile(dir=form.folder, prefix="facepay-index-") as file:
        return np.memmap(file, np.dtype(form.stored), "w+", shape=shape)
