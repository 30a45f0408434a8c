"""How events come back to the gateway: readers of the topics fill the book and wake who waits.

Readers run in threads of their own and apply each event under a lock, so that "caught up" means that the book has it.
The book is rebuilt at each start from the last `history_s` of commands, verdicts, hints and settlements (read
committed), and `payers` from its beginning; there is no other state, so any number of gateways may run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from pipeline.gateway.book import Fact, IntentBook, Key, Record
from pipeline.gateway.pins import Profiles
from pipeline.gateway.waiting import Waiters
from pipeline.ports import Clock, InMessage
from pipeline.runtime.reader import TopicReader
from pipeline.settings import Kafka
from pipeline.topics import COMMANDS, HINTS, PAYERS, SETTLEMENTS, VERDICTS
from schemas.codec import decode
from schemas.events import Cancel, Confirm, Hint, NoteHint, OpenIntent, Refund, Settlement, Verdict

T = TypeVar("T")

FACTS: tuple[type[Fact], ...] = (OpenIntent, Confirm, Cancel, Refund, NoteHint, Verdict, Hint, Settlement)


class Feed:
    """The book, kept up to date; `on_hint` is called with the key of an intent whose hint settlement was not told."""

    def __init__(
        self,
        kafka: Kafka,
        profiles: Profiles,
        waiters: Waiters,
        clock: Clock,
        *,
        history_us: int,
        on_hint: Callable[[Key], None],
    ) -> None:
        self._book = IntentBook(history_us)
        self._lock = threading.Lock()
        self._waiters = waiters
        self._clock = clock
        self._on_hint = on_hint
        since_us = clock() - history_us
        self._readers: Sequence[TopicReader] = (
            TopicReader(kafka, (COMMANDS, VERDICTS, HINTS), self.take, since_us=since_us, name="gateway-facts"),
            TopicReader(
                kafka, (SETTLEMENTS,), self.take, since_us=since_us, read_committed=True, name="gateway-settlements"
            ),
            TopicReader(kafka, (PAYERS,), profiles.apply, name="gateway-payers"),
        )

    def start(self) -> None:
        """Starts the readers."""
        for reader in self._readers:
            reader.start()

    def stop(self) -> None:
        """Stops the readers."""
        for reader in self._readers:
            reader.stop()

    @property
    def caught_up(self) -> bool:
        """Whether everything that was there at the start is in the book."""
        return all(reader.caught_up and reader.alive for reader in self._readers)

    def take(self, message: InMessage) -> None:
        """Takes in one record; raises `InvalidMessage`, which the reader counts and skips."""
        fact = decode(message.value, *FACTS)
        key = fact.terminal_id, fact.intent_id
        with self._lock:
            if not self._book.apply(fact, self._clock()):
                return
            record = self._book.find(*key)
            unnoted = record is not None and record.unnoted_hint is not None
        self._waiters.wake(key, fact.terminal_id)
        if unnoted and self.caught_up:
            self._on_hint(key)

    def find(self, terminal_id: str, intent_id: str) -> Record | None:
        """A copy of the record, if that terminal may see it."""
        with self._lock:
            record = self._book.find(terminal_id, intent_id)
            return record.copy() if record is not None else None

    def look(self, at: Callable[[IntentBook], T]) -> T:
        """What `at` finds in the book, which nobody changes meanwhile."""
        with self._lock:
            return at(self._book)
