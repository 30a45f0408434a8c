"""The thread that keeps the mirror like Redis: reads everything once, then follows the log.

    COLD --all entries read--> FOLLOWING --a call failed or ran out of time--> LOST --the log goes on--> FOLLOWING
                                                                                    `--anything else: read all--'

A record of the log says which payer changed; the entry itself is read from the hash, so a record that is read twice or
late does no harm. Each second, and after each failure, it is looked where Redis is. Everything is read anew at the
start, when the server or the epoch is another one, when the number goes back, and when numbers are missing (trimmed
away, or written by nobody here). Waiting calls end by themselves each half second, so that a silent Redis is noticed;
after a failure the pause grows to two seconds.

A mirror that does not hear from Redis goes on answering: an answer must hold in the exact index of this process, which
hears of erased and new payers from Kafka, so age costs answers and cannot make one wrong. But nobody's vectors stay
longer than the tier may keep them: after `forget_after_s` of silence the mirror is emptied.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

import structlog

from pipeline import metrics
from pipeline.errors import InvalidMessage, RedisUnavailable
from pipeline.gallery.hot.layout import EntrySeal
from pipeline.gallery.hot.mirror import Mirror
from pipeline.gallery.hot.store import Change, HotStore, Position

log = structlog.get_logger(__name__)

State = Literal["cold", "following", "lost"]
STATES: tuple[State, ...] = ("cold", "following", "lost")

FORGET_AFTER_S = 3_600.0
LOOK_S = 1.0
_TIDY_S = 60.0
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class Follower:
    """`start` and `stop` it; `alive` says whether the gallery has a payer (None: it cannot tell yet)."""

    def __init__(
        self,
        store: HotStore,
        seal: EntrySeal,
        mirror: Mirror,
        *,
        alive: Callable[[str], bool | None],
        look_s: float = LOOK_S,
        forget_after_s: float = FORGET_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._seal = seal
        self._mirror = mirror
        self._alive = alive
        self._look_s = look_s
        self._forget_after_s = forget_after_s
        self._clock = clock
        self._heard_s = clock()
        self._looked_s = self._tidied_s = self._read_s = float("-inf")
        self._at: Position | None = None
        self._behind = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hot-follower", daemon=True)
        self.state: State = "cold"

    def start(self) -> None:
        """Begins in a thread of its own; Redis may be down."""
        self._set(self.state)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=30)

    @property
    def silent_s(self) -> float:
        """How long Redis has said nothing."""
        return self._clock() - self._heard_s

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._step()
                failures = 0
                continue
            except RedisUnavailable:
                self._lose()
            except Exception as error:  # noqa: BLE001 - whatever it is, payments go on without the tier
                # Nobody pays worse for it than with a cold mirror: begin anew, and say so.
                log.error("hot_tier_failed", why=type(error).__name__)
                self._forget()
            self._stop.wait(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
            failures += 1

    def _lose(self) -> None:
        if self.state == "following":
            log.warning("hot_tier_lost_redis")
            self._set("lost")
        self._looked_s = float("-inf")
        if self._at is not None and self.silent_s > self._forget_after_s:
            self._forget()

    def _forget(self) -> None:
        self._at = None
        self._mirror.keep_only(())
        self._set("cold")

    def _step(self) -> None:
        """One look at Redis; raises `RedisUnavailable`."""
        if self._clock() - self._looked_s >= self._look_s:
            self._look()
        at = self._at
        if at is None:  # pragma: no cover - `_look` has set it
            return
        changes = self._store.changes(at.seq)
        self._hear()
        if not changes:
            return
        self._behind = False
        if [change.seq for change in changes] != list(range(at.seq + 1, at.seq + 1 + len(changes))):
            self._reload("gap")
            return
        self._apply(changes)
        self._at = Position(at.server, at.epoch, changes[-1].seq)

    def _look(self) -> None:
        """Compares where Redis is with where the mirror is; also after every failure."""
        there, at = self._store.position(), self._at
        self._hear()
        reason = _difference(at, there)
        if reason is None and at is not None and there.seq > at.seq:
            # The log says so at the next reading, or it has lost what we lack.
            reason, self._behind = ("trimmed" if self._behind else None), not self._behind
        if reason is not None:
            self._reload(reason)
        elif self.state != "following":
            self._set("following")
        self._looked_s = self._clock()
        if self._clock() - self._tidied_s >= _TIDY_S:
            self._tidied_s = self._clock()
            self._store.tidy()

    def _reload(self, reason: str) -> None:
        metrics.HOT_RELOADS.labels(reason).inc()
        if self._clock() - self._read_s < self._look_s:
            # Whatever asks for it again and again, reading everything stays rare.
            self._stop.wait(self._look_s)
        if reason == "gap":
            self._store.tidy()
        # The position comes first: what changes while we read is read again from the log.
        self._at, self._behind = None, False
        there = self._store.position()
        seen: set[str] = set()
        for tag, sealed in self._store.scan():
            if self._stop.is_set():
                return
            if self._take(tag, sealed):
                seen.add(tag)
            self._hear()
        self._mirror.keep_only(seen)
        self._at, self._read_s = there, self._clock()
        self._set("following")
        log.info("hot_tier_loaded", reason=reason, payers=self._mirror.payers)

    def _apply(self, changes: Sequence[Change]) -> None:
        # Only the last word on a payer counts.
        last = {change.tag: change.op for change in changes}
        put = [tag for tag, op in last.items() if op == "put"]
        for tag, op in last.items():
            if op != "put":
                self._mirror.drop(tag)
        for tag, sealed in zip(put, self._store.entries(put), strict=True):
            if sealed is None:
                self._mirror.drop(tag)
            else:
                self._take(tag, sealed)

    def _take(self, tag: str, sealed: bytes) -> bool:
        """Into the mirror with an entry; False for one that is none of ours, and for one of a payer whom the gallery
        does not have: an erasure that did not reach Redis, or that Redis has lost."""
        try:
            entry = self._seal.open(tag, sealed, self._mirror.dimension)
            self._mirror.put(tag, entry)
        except InvalidMessage as error:
            metrics.HOT_REFUSED.labels(error.reason).inc()
        except ValueError:
            metrics.HOT_REFUSED.labels("vector_invalid").inc()
        else:
            # Asked after the entry is there: an erasure in between finds it, or we see here that it happened.
            if self._alive(entry.payer_id) is not False:
                return True
            self._store.drop(tag)
        self._mirror.drop(tag)
        return False

    def _hear(self) -> None:
        self._heard_s = self._clock()
        metrics.HOT_HEARD.set_to_current_time()

    def _set(self, state: State) -> None:
        self.state = state
        for each in STATES:
            metrics.HOT_STATE.labels(each).set(each == state)


def _difference(at: Position | None, there: Position) -> str | None:
    """Why the mirror cannot go on from `at`, None if it can."""
    if at is None:
        return "start"
    if at.server != there.server:
        return "server"
    if at.epoch != there.epoch:
        return "epoch"
    return "rolled_back" if there.seq < at.seq else None
