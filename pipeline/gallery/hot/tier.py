"""The hot tier of one process: a mirror of Redis that answers for regulars, and the writer that fills Redis.

    search --> HotSearch --> Mirror <-- Follower <--(log, entries)-- Redis
    offer  --> Writer ----------------------------(scripts)------->  Redis
    put, removed (the gallery's reader) --> Neighbours, Mirror, Writer

No search touches Redis: it reads memory only, and what it cannot answer the exact index does (`gallery.search`). A
share of the hot answers is searched exactly as well, all the time. If one ever differs beyond what the rule allows, the
exact answer is given, the tier says so and answers nothing for ten minutes: at one in a million such a find is an alarm
about the rule itself, or about this process.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from pipeline import metrics
from pipeline.gallery.hot.decide import HotSearch, agrees
from pipeline.gallery.hot.follower import FORGET_AFTER_S, LOOK_S, Follower, State
from pipeline.gallery.hot.gallery import Gallery
from pipeline.gallery.hot.layout import Entry, EntrySeal, Space
from pipeline.gallery.hot.mirror import Mirror
from pipeline.gallery.hot.neighbours import Neighbours
from pipeline.gallery.hot.standing import Rule
from pipeline.gallery.hot.store import HotStore
from pipeline.gallery.hot.writer import REFRESH_S, Writer
from pipeline.keys.keyring import Keyring
from pipeline.ports import Match, Vector
from pipeline.settings import Hot, Redis

log = structlog.get_logger(__name__)

SUSPENDED_S = 600.0
_WAIT_S = 0.5
_LONGEST_REST_S = 2.0


class Opened(Protocol):
    """What the gallery's reader tells of a template that it put into the index; `vector` in protected space."""

    @property
    def payer_id(self) -> str:
        """Whose it is."""
        ...

    @property
    def vector(self) -> Vector:
        """Float32 (d,)."""
        ...


class HotTier:
    """Make one with `open`, `start` it, `stop` it; everything but these two returns at once."""

    def __init__(
        self,
        gallery: Gallery,
        store: HotStore,
        seal: EntrySeal,
        rule: Rule,
        *,
        ready: Callable[[], bool],
        verify_share: float,
        refresh_s: float = REFRESH_S,
        look_s: float = LOOK_S,
        forget_after_s: float = FORGET_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gallery = gallery
        self._store = store
        self._ready = ready
        self._verify_share = verify_share
        self._clock = clock
        self._suspended_until_s = float("-inf")
        # Not a secret: which answers are looked at twice.
        self._random = random.Random()
        self.neighbours = Neighbours(gallery, rule)
        self.mirror = Mirror(gallery.dimension, on_put=self._want, on_drop=self.neighbours.forget)
        self._search = HotSearch(gallery, self.mirror, self.neighbours)
        self._writer = Writer(store, seal, gallery, self.mirror, refresh_s=refresh_s, clock=clock)
        self._follower = Follower(
            store,
            seal,
            self.mirror,
            alive=self._alive,
            look_s=look_s,
            forget_after_s=forget_after_s,
            clock=clock,
        )
        self._stop = threading.Event()
        self._counter = threading.Thread(target=self._count, name="hot-neighbours", daemon=True)

    @classmethod
    def open(
        cls,
        redis: Redis,
        hot: Hot,
        keyring: Keyring,
        gallery: Gallery,
        *,
        model_sha256: str,
        version: int,
        required_margin: float,
        ready: Callable[[], bool],
    ) -> HotTier:
        """The tier of `gallery`, whose vectors are those of model and key version. `required_margin`: the largest lead
        that vote and risk rules ask for; `ready`: whether the gallery was read to its end. Raises `SettingsError` when
        the keyring lacks the version."""
        space = Space(hot.region, model_sha256, version)
        seal = EntrySeal(keyring, space)
        store = HotStore(
            redis.url, space, timeout_ms=hot.timeout_ms, max_payers=hot.max_payers, max_age_s=hot.max_age_s
        )
        rule = Rule(margin=required_margin)
        return cls(gallery, store, seal, rule, ready=ready, verify_share=hot.verify_share)

    def start(self) -> None:
        """Begins to follow and to write; Redis may be down."""
        self._follower.start()
        self._writer.start()
        self._counter.start()

    def stop(self) -> None:
        """Ends its threads and closes its connections."""
        self._stop.set()
        self.neighbours.wake()
        self._follower.stop()
        self._writer.stop()
        if self._counter.ident is not None:
            self._counter.join(timeout=30)
        self._store.close()

    @property
    def state(self) -> State:
        """Where the mirror is (`follower`)."""
        return self._follower.state

    @property
    def silent_s(self) -> float:
        """How long Redis has said nothing."""
        return self._follower.silent_s

    @property
    def idle(self) -> bool:
        """Whether all that was offered has been written or given up."""
        return self._writer.idle

    @property
    def suspended(self) -> bool:
        """Whether a verified answer was different lately."""
        return self._clock() < self._suspended_until_s

    def search(self, probes: Vector) -> list[Match | None]:
        """For each of `probes`, float32 (n, d) in protected space, the answer if a hot one stands, else None."""
        if self.suspended:
            metrics.HOT_SEARCHES.labels("suspended").inc(len(probes))
            return [None] * len(probes)
        try:
            answers = self._search.search(probes)
        except Exception as error:  # noqa: BLE001 - whatever it is, payments go on without the tier
            # The exact search knows the answer; no payment fails for what only makes it faster.
            log.error("hot_search_failed", why=type(error).__name__, suspended_s=SUSPENDED_S)
            self._suspend("hot_search_failed")
            return [None] * len(probes)
        chosen = [
            row
            for row, answer in enumerate(answers)
            if answer is not None and self._random.random() < self._verify_share
        ]
        if chosen:
            for row, exact in zip(chosen, self._gallery.search(probes[chosen]), strict=True):
                answers[row] = self._verified(answers[row], exact)
        return answers

    def offer(self, payer_id: str) -> None:
        """A payer was recognised or has paid: hot from now on."""
        self._writer.offer(payer_id)

    def put(self, opened: Opened) -> None:
        """A template was put into the gallery, just before this call."""
        self.neighbours.added(opened.payer_id, opened.vector)
        if self.mirror.template_ids(opened.payer_id):
            self._writer.changed(opened.payer_id)

    def removed(self, template_id: str, payer_id: str) -> None:  # noqa: ARG002 - a reader's listener
        """A template was taken out of the gallery, just before this call."""
        if self.mirror.template_ids(payer_id):
            if not self._gallery.templates_of(payer_id):
                self.mirror.drop_payer(payer_id)
            self._writer.changed(payer_id)

    def _verified(self, hot: Match | None, exact: Match | None) -> Match | None:
        same = hot is not None and agrees(hot, exact)
        metrics.HOT_VERIFIED.labels("same" if same else "different").inc()
        if same:
            return hot
        log.error("hot_answer_differs", suspended_s=SUSPENDED_S)
        self._suspend("hot_answer_differs")
        return exact

    def _suspend(self, reason: str) -> None:
        metrics.ALERTS.labels("embedding", reason).inc()
        self._suspended_until_s = self._clock() + SUSPENDED_S

    def _alive(self, payer_id: str) -> bool | None:
        if self._gallery.templates_of(payer_id):
            return True
        return False if self._ready() else None

    def _want(self, entry: Entry) -> None:
        self.neighbours.want(entry.template_ids, entry.payer_id, entry.vectors)

    def _count(self) -> None:
        while not self._stop.is_set():
            if not self._ready():
                self._stop.wait(_WAIT_S)
                continue
            began_s = self._clock()
            try:
                worked = self.neighbours.work(_WAIT_S)
            except Exception as error:  # noqa: BLE001 - whatever it is, payments go on without the tier
                # What was to be counted stays uncounted, so that its answers do not stand.
                log.error("hot_neighbours_failed", why=type(error).__name__)
                self._stop.wait(_LONGEST_REST_S)
                continue
            if worked:
                metrics.HOT_COUNTED.set(self.neighbours.known)
                if self.neighbours.settled:
                    # At most half of the time: the rest is for payments.
                    self._stop.wait(min(self._clock() - began_s, _LONGEST_REST_S))
