"""How outcomes come back to the fraud agent: `settlements`, read committed, into the payers' histories.

How it works: a reader goes over the settlements of the history's window, then follows the topic; each outcome is
noted in its payer's history by compare-and-set, and noting it again changes nothing. When the reader has caught up, the
store is marked warm. When the store has lost its data, `refill` has the topic read again from the window's start.

An outcome is never skipped because Redis is away: it waits, and the reader with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from agents.fraud import windows
from agents.risk_state import Mode, RiskState, Write
from pipeline.domain.features import History, decode_history, encode_history, with_outcome
from pipeline.errors import InvalidMessage, RedisUnavailable
from pipeline.ports import Clock, InMessage
from pipeline.runtime.reader import TopicReader
from pipeline.settings import Kafka, Risk
from pipeline.topics import SETTLEMENTS
from schemas.codec import decode
from schemas.events import Settlement

PAUSE_S = 0.2
"""Between two tries to reach Redis, or two looks at the reader."""


class Reader(Protocol):
    """What is needed of `pipeline.runtime.reader.TopicReader`."""

    def start(self) -> None:
        """Begins to read."""
        ...

    def stop(self) -> None:
        """Ends; no callback runs after it."""
        ...

    def wait_caught_up(self, timeout_s: float) -> bool:
        """Whether the end as of the start was reached in time."""
        ...


ReaderFactory = Callable[[Callable[[InMessage], None], int], Reader]
"""Makes a reader of `settlements` from a callback and the time (microseconds UTC) to begin at."""


def settlements_reader(kafka: Kafka) -> ReaderFactory:
    """Readers of the real topic."""

    def make(on_message: Callable[[InMessage], None], since_us: int) -> Reader:
        return TopicReader(
            kafka, (SETTLEMENTS,), on_message, since_us=since_us, read_committed=True, name="fraud-outcomes"
        )

    return make


class OutcomeHistory:
    """Keeps histories in step with `settlements`; `start` and `stop` it with the agent."""

    def __init__(self, state: RiskState, settings: Risk, clock: Clock, reader: ReaderFactory) -> None:
        self._state = state
        self._windows = windows(settings)
        self._clock = clock
        self._reader = reader
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        self._wanted.set()
        self._thread = threading.Thread(target=self._run, name="fraud-outcomes", daemon=True)

    def start(self) -> None:
        """Begins to read, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and its reader."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join()

    def refill(self) -> None:
        """The store lost its data: fill it again. Returns at once."""
        self._wanted.set()

    def note(self, message: InMessage) -> None:
        """Notes one outcome; raises `InvalidMessage` for a record that is none."""
        settlement = decode(message.value, Settlement)
        if settlement.payer_id is None:
            return
        while not self._stopping.is_set():
            try:
                if self._noted(settlement, settlement.payer_id):
                    return
            except RedisUnavailable:
                self._stopping.wait(PAUSE_S)

    def _noted(self, settlement: Settlement, payer_id: str) -> bool:
        """One attempt; False when another writer came between. Raises `RedisUnavailable`."""
        known = self._state.read([(payer_id, settlement.intent_id)])[1][0]
        try:
            before = decode_history(known.history)
        except InvalidMessage:
            before = History()
        after = with_outcome(before, settlement, self._windows)
        if after == before:
            return True
        step = Write(payer_id, settlement.intent_id, known.version, encode_history(after), mode=Mode.HISTORY)
        return self._state.write([step])[0].kept

    def _run(self) -> None:
        reader: Reader | None = None
        while True:
            self._wanted.wait()
            if self._stopping.is_set():
                break
            if reader is None or not self._is_warm():
                if reader is not None:
                    reader.stop()
                reader = self._reader(self.note, self._clock() - self._windows.history_us)
                reader.start()
                self._mark_warm(reader)
            self._wanted.clear()
        if reader is not None:
            reader.stop()

    def _is_warm(self) -> bool:
        """Whether the store has its data; one that cannot be asked is taken as it was: its verdicts say so."""
        try:
            return self._state.read([])[0]
        except RedisUnavailable:
            return True

    def _mark_warm(self, reader: Reader) -> None:
        while not self._stopping.is_set():
            if not reader.wait_caught_up(PAUSE_S):
                continue
            try:
                self._state.set_warm()
            except RedisUnavailable:
                self._stopping.wait(PAUSE_S)
            else:
                return
