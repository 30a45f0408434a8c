"""The thread that puts payers into Redis after they were recognised, off the payment's path.

`offer` only notes the payer in a bounded queue; when that is full, or the payer was written within the last minute, it
is counted and forgotten: the next sighting offers again. A write that fails is not repeated for the same reason; but
what `changed` asks for (templates that are others now, or gone) is owed, and tried each second until Redis takes it.
After a failure the writer lets a second pass without trying, so that a dead Redis costs nothing.

A payer is written as the exact index has them at that moment. If they are erased in between, one of two things takes
the entry out again: the tombstone, which refuses the put (`scripts.PUT`), or the look at the index after the put.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import numpy as np
import structlog

from pipeline import metrics
from pipeline.errors import RedisUnavailable
from pipeline.gallery.hot.gallery import Gallery
from pipeline.gallery.hot.layout import MAX_TEMPLATES, Entry, EntrySeal
from pipeline.gallery.hot.mirror import Mirror
from pipeline.gallery.hot.store import HotStore

log = structlog.get_logger(__name__)

QUEUE = 4_096
REFRESH_S = 60.0
_REST_S = 1.0
_REMEMBERED = 100_000

Job = tuple[Literal["seen", "changed"], str]


class Writer:
    """`start` and `stop` it. `offer` and `changed` never block."""

    def __init__(
        self,
        store: HotStore,
        seal: EntrySeal,
        gallery: Gallery,
        mirror: Mirror,
        *,
        refresh_s: float = REFRESH_S,
        size: int = QUEUE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._seal = seal
        self._gallery = gallery
        self._mirror = mirror
        self._refresh_s = refresh_s
        self._clock = clock
        self._jobs: queue.Queue[Job | None] = queue.Queue(size)
        self._lock = threading.Lock()
        self._offered: OrderedDict[str, float] = OrderedDict()
        self._owed: set[str] = set()
        self._rest_until_s = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hot-writer", daemon=True)

    def start(self) -> None:
        """Begins to write in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the write it is at."""
        self._stop.set()
        with contextlib.suppress(queue.Full):
            self._jobs.put_nowait(None)
        if self._thread.ident is not None:
            self._thread.join(timeout=30)

    @property
    def idle(self) -> bool:
        """Whether all that was offered has been dealt with."""
        return self._jobs.unfinished_tasks == 0 and not self._owed

    def offer(self, payer_id: str) -> None:
        """A payer was recognised."""
        with self._lock:
            now_s = self._clock()
            if now_s - self._offered.get(payer_id, float("-inf")) < self._refresh_s:
                return
            if self._enqueue(("seen", payer_id)):
                self._offered[payer_id] = now_s
                self._offered.move_to_end(payer_id)
                if len(self._offered) > _REMEMBERED:
                    self._offered.popitem(last=False)

    def changed(self, payer_id: str) -> None:
        """A hot payer's templates changed, or are gone."""
        if not self._enqueue(("changed", payer_id)):
            with self._lock:
                self._owed.add(payer_id)

    def _enqueue(self, job: Job) -> bool:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            metrics.HOT_WRITES.labels("full").inc()
            return False
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            job: Job | None = None
            with contextlib.suppress(queue.Empty):
                job = self._jobs.get(timeout=_REST_S)
                try:
                    if job is not None:
                        self._do(*job)
                finally:
                    self._jobs.task_done()
            with self._lock:
                owed = self._owed if self._clock() >= self._rest_until_s else set()
                self._owed = self._owed - owed
            for payer_id in owed:
                self._do("changed", payer_id)

    def _do(self, what: str, payer_id: str) -> None:
        result = "failed"
        if self._clock() >= self._rest_until_s:
            try:
                result = self._write(payer_id, anew=what == "changed")
            except RedisUnavailable:
                self._rest_until_s = self._clock() + _REST_S
            except Exception as error:  # noqa: BLE001 - whatever it is, payments go on without the tier
                log.error("hot_writer_failed", why=type(error).__name__)
                self._rest_until_s = self._clock() + _REST_S
        if result == "failed":
            with self._lock:
                self._offered.pop(payer_id, None)
                if what == "changed":
                    self._owed.add(payer_id)
        metrics.HOT_WRITES.labels(result).inc()

    def _write(self, payer_id: str, *, anew: bool) -> str:
        tag = self._seal.tag(payer_id)
        templates = self._gallery.templates_of(payer_id)
        if not 0 < len(templates) <= MAX_TEMPLATES:
            self._store.drop(tag)
            return "dropped"
        ids = tuple(template_id for template_id, _ in templates)
        if not anew and set(ids) == set(self._mirror.template_ids(payer_id)) and self._store.touch(tag):
            return "touched"
        entry = Entry(payer_id, ids, np.stack([vector for _, vector in templates]))
        if not self._store.put(tag, self._seal.seal(entry)):
            return "refused"
        if not self._gallery.templates_of(payer_id):
            self._store.drop(tag)
            return "dropped"
        return "put"
