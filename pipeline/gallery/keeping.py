"""Keeping the local snapshot of a gallery: read once at the start, written again when the gallery has changed.

The reader says when something changed and gives each turn of its loop; what is written is taken in its thread, so that
index, listeners and offsets are of one moment, and sealed in another. After a removal a new snapshot is begun within
`REMOVED_S` (a second, so that several removals make one snapshot): until it is there the old file still holds who was
removed. Otherwise one is written every `interval_s` if there was a change, and one when a long start has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Protocol, runtime_checkable

import numpy as np
import structlog

from pipeline import metrics
from pipeline.errors import FacepayError, InvalidMessage
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.index.segments import Arrays
from pipeline.gallery.mirrors import Kept
from pipeline.gallery.snapshot import Binding, Header, Snapshots
from pipeline.gallery.snapshot import SnapshotRefused as Refused
from pipeline.ports import Clock

log = structlog.get_logger(__name__)

REMOVED_S = 1.0
AGAIN_S = 30.0
"""After a snapshot that could not be written."""
_UUID_CHARS = 36
_PART, _LISTENER = b"\x01", b"\x02"
"""What a record of a snapshot begins with: a part of the index, or what a listener keeps."""


@runtime_checkable
class Section(Protocol):
    """A listener that remembers more than the index does, and keeps it in the snapshot."""

    section: str
    """Its name there."""

    def dump(self) -> bytes:
        """What it remembers now."""
        ...

    def load(self, data: bytes) -> None:
        """Takes over what `dump` gave."""
        ...


class Keeper:
    """One reader's snapshot. All methods but `stop` are called from the reader's thread."""

    def __init__(
        self,
        snapshots: Snapshots,
        index: ExactIndex,
        sections: Sequence[Section],
        clock: Clock,
        *,
        interval_s: float,
        kept: Callable[[Kept | None], None] | None = None,
    ) -> None:
        """`kept` hears which snapshot is on disk."""
        self._snapshots = snapshots
        self._index = index
        self._sections = sections
        self._clock = clock
        self._interval_s = interval_s
        self._kept = kept
        self._mine = False
        self._changed = False
        self._due = float("inf")
        self._writing: Future[Header] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gallery-snapshot")

    def begin(self, binding: Binding, ends: Mapping[int, int]) -> Mapping[int, int]:
        """Takes the lock, and the snapshot if it is good; the offsets to go on from, none to begin anew."""
        self._mine = self._snapshots.acquire()
        if not self._mine and not self._snapshots.read_only:
            log.warning("gallery_snapshot_of_another_process", file=str(self._snapshots.path))
        began = time.monotonic()
        try:
            header = self._load(binding, ends)
        except Refused as refused:
            metrics.SNAPSHOTS.labels(refused.reason).inc()
            log.info("gallery_snapshot_not_used", reason=refused.reason)
            self._changed = True
            if self._mine and refused.reason != "absent":
                self._snapshots.discard()
            return {}
        except FacepayError as error:
            metrics.SNAPSHOTS.labels("failed").inc()
            log.warning("gallery_snapshot_not_used", reason="failed", why=str(error))
            self._changed = True
            return {}
        self._told(header)
        log.info("gallery_snapshot_read", templates=self._index.size, seconds=round(time.monotonic() - began, 1))
        return header.offsets

    def changed(self, *, removed: bool) -> None:
        """The gallery is not what the snapshot says any more."""
        self._changed = True
        if removed:
            self._due = min(self._due, time.monotonic() + REMOVED_S)

    def turn(self, binding: Binding, offsets: Mapping[int, int]) -> None:
        """Once per turn of a reader that is up to date: begins to write when it is time."""
        now = time.monotonic()
        if self._writing is not None and self._writing.done():
            self._finish(self._writing, now)
            self._writing = None
        if not self._mine or not self._changed or self._writing is not None:
            return
        if self._due == float("inf"):
            # A snapshot of this start is worth most when the start was long, so at once; later ones can wait.
            self._due = now if not self._snapshots.path.exists() else now + self._interval_s
        if now >= self._due:
            self._changed, self._due = False, float("inf")
            self._writing = self._pool.submit(self._write, binding, dict(offsets), self._clock(), self._records())

    def stop(self) -> None:
        """Waits for a snapshot that is being written, and gives the lock back."""
        self._pool.shutdown(wait=True)
        self._snapshots.release()

    def _finish(self, writing: Future[Header], now: float) -> None:
        try:
            header = writing.result()
        except FacepayError as error:
            metrics.SNAPSHOTS.labels("failed").inc()
            log.warning("gallery_snapshot_failed", why=str(error))
            self._changed, self._due = True, now + AGAIN_S
            return
        metrics.SNAPSHOTS.labels("written").inc()
        self._told(header)

    def _told(self, header: Header) -> None:
        if self._kept is not None:
            self._kept(Kept(offsets=header.offsets, token=header.token))

    def _records(self) -> Iterator[bytes]:
        """The records of this moment: what the listeners remember is taken now, and so is the moment of the index,
        whose templates are copied while they are written."""
        kept = [(each.section, each.dump()) for each in self._sections]
        parts = self._index.dump_parts()
        first = next(parts, None)

        def records() -> Iterator[bytes]:
            for part in [] if first is None else chain([first], parts):
                if len(part):
                    yield _packed(part)
            for name, data in kept:
                yield _LISTENER + name.encode("ascii") + b"\x00" + data

        return records()

    def _write(self, binding: Binding, offsets: Mapping[int, int], read_at_us: int, records: Iterator[bytes]) -> Header:
        began = time.monotonic()
        header = self._snapshots.save(binding, offsets, read_at_us, records)
        log.info("gallery_snapshot_written", seconds=round(time.monotonic() - began, 1))
        return header

    def _load(self, binding: Binding, ends: Mapping[int, int]) -> Header:
        """Fills the index and the listeners; raises `SnapshotRefused`, and leaves the index empty then."""
        templates: list[str] = []
        kept: dict[str, bytes] = {}

        def take(record: memoryview) -> None:
            kind = bytes(record[:1])
            if kind == _PART:
                part = _unpacked(record, binding.dimension)
                templates.extend(part.template_ids)
                self._index.put_many(part.template_ids, part.payer_ids, part.vectors, part.lookalikes)
            elif kind == _LISTENER:
                name, _, data = bytes(record[1:]).partition(b"\x00")
                kept[name.decode("ascii")] = data
            else:
                raise ValueError("a record of an unknown kind")

        try:
            try:
                header = self._snapshots.load(binding, ends, take)
                for each in self._sections:
                    each.load(kept[each.section])
            except (KeyError, ValueError, InvalidMessage) as error:
                raise Refused("damaged", f"opening the gallery's snapshot: {type(error).__name__}") from None
        except BaseException:
            for template_id in templates:
                self._index.remove(template_id)
            raise
        return header


def _packed(part: Arrays) -> bytes:
    """A part of the index as one record: the number of rows, ids and payers as text, flags, vectors."""
    return b"".join(
        (
            _PART,
            len(part).to_bytes(4, "big"),
            "".join(part.template_ids).encode("ascii"),
            "".join(part.payer_ids).encode("ascii"),
            np.ascontiguousarray(part.lookalikes).tobytes(),
            np.ascontiguousarray(part.vectors).astype("<f4", copy=False).tobytes(),
        )
    )


def _unpacked(record: memoryview, dimension: int) -> Arrays:
    """What `_packed` made, with views into the record; raises `ValueError`."""
    count, start = int.from_bytes(record[1:5], "big"), 5
    names, start = _ids(record, start, count)
    payers, start = _ids(record, start, count)
    lookalikes = np.frombuffer(record, np.bool_, count, start)
    vectors = np.frombuffer(record, "<f4", count * dimension, start + count).reshape(count, dimension)
    return Arrays(names, payers, lookalikes, vectors)


def _ids(record: memoryview, start: int, count: int) -> tuple[list[str], int]:
    end = start + count * _UUID_CHARS
    text = bytes(record[start:end]).decode("ascii")
    if len(text) != count * _UUID_CHARS:
        raise ValueError("a record that is too short")
    return [text[at : at + _UUID_CHARS] for at in range(0, len(text), _UUID_CHARS)], end
