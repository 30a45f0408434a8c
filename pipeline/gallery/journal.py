"""The journal: who did what to whose data, appended as one chain of hashes per subject, confirmed before it counts.

Whoever appends owns the subject's partition for that moment: a Kafka transaction under the id of the partition
(`<topic>-<partition>`) fences whoever wrote there before, then the partition is read to its end (read committed), and
what is appended is the successor of what is there. So two operators who act at once make one chain, not two that begin
at the same entry; the one who was fenced reads again and appends behind the other. A process that goes on writing reads
the partition once.

An entry's id derives from its subject, what was done and `once`; an entry whose id the chain already has is not
appended again, so that what failed half way can be done again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaException, Producer

from pipeline.domain.consent import follows
from pipeline.domain.lanes import lane_of
from pipeline.errors import InvalidMessage, KafkaUnavailable
from pipeline.ports import Clock
from pipeline.runtime.reader import partitions_of, read_topic
from pipeline.settings import Kafka
from pipeline.topics import JOURNAL, PARTITIONER
from schemas.codec import decode, encode
from schemas.events import ConsentRecord, JournalDeed, JournalEntry
from schemas.ids import derived_id

_TIMEOUT_S = 20.0
_TRIES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What is to be noted of a subject. `once` tells apart what may be done several times: the same `what` and `once`
    of a subject are noted once."""

    what: JournalDeed
    once: str = ""
    templates: int | None = None
    model_sha256: str | None = None
    key_version: int | None = None
    consent: ConsentRecord | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """One entry as it was read, with its bytes, which the next one's hash is of."""

    entry: JournalEntry
    raw: bytes = field(repr=False)


class Journal:
    """Appends in the name of `who`; safe for several threads. `close` it."""

    def __init__(self, kafka: Kafka, who: str, clock: Clock, *, topic: str = JOURNAL) -> None:
        self._kafka = kafka
        self._who = who
        self._clock = clock
        self._topic = topic
        self._lock = threading.Lock()
        self._partitions: int | None = None
        self._open: dict[int, _Partition] = {}

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def chain(self, subject: str) -> list[Noted]:
        """Every entry of a subject, oldest first; raises `KafkaUnavailable`."""
        return read_chain(self._kafka, subject, topic=self._topic)

    def append(self, subject: str, deeds: Callable[[Sequence[JournalEntry]], Sequence[Deed]]) -> list[JournalEntry]:
        """Appends what `deeds` makes of the subject's chain so far, in one transaction; returns what was new, once
        Kafka has it. Raises `KafkaUnavailable`: then do it again, nothing is noted twice."""
        with self._lock:
            why = ""
            for _ in range(_TRIES):
                try:
                    partition = self._partition(subject)
                    return partition.append(subject, lambda chain: self._entries(subject, chain, deeds(chain)))
                except KafkaException as error:
                    # Fenced by another writer, or the broker went away: what is there must be read again.
                    why = error.args[0].name()
                    self._drop(subject)
            raise KafkaUnavailable(
                f"writing to the topic {self._topic} at {self._kafka.bootstrap}: it failed {_TRIES} times, last with "
                f"{why}; check Kafka and do it again"
            )

    def close(self) -> None:
        """Lets go of the producers."""
        with self._lock:
            self._open.clear()

    def _entries(self, subject: str, chain: Sequence[JournalEntry], deeds: Sequence[Deed]) -> list[JournalEntry]:
        known = {entry.event_id for entry in chain}
        last = chain[-1] if chain else None
        new: list[JournalEntry] = []
        for deed in deeds:
            event_id = derived_id(subject, "journal", deed.what, deed.once)
            if event_id in known:
                continue
            entry = JournalEntry(
                event_id=event_id,
                subject=subject,
                sequence=1,
                previous_sha256=None,
                what=deed.what,
                who=self._who,
                at_us=self._clock(),
                templates=deed.templates,
                model_sha256=deed.model_sha256,
                key_version=deed.key_version,
                consent=deed.consent,
            )
            last = follows(entry, last)
            known.add(event_id)
            new.append(last)
        return new

    def _partition(self, subject: str) -> _Partition:
        if self._partitions is None:
            self._partitions = partitions_of(self._kafka, self._topic)
        number = lane_of(subject.encode(), self._partitions)
        if number not in self._open:
            self._open[number] = _Partition(self._kafka, self._topic, number)
        return self._open[number]

    def _drop(self, subject: str) -> None:
        if self._partitions is not None:
            self._open.pop(lane_of(subject.encode(), self._partitions), None)


class _Partition:
    """One partition, owned since the constructor returned and until somebody else's does."""

    def __init__(self, kafka: Kafka, topic: str, number: int) -> None:
        self._topic = topic
        self._number = number
        self._producer = Producer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "transactional.id": f"{topic}-{number}",
                "transaction.timeout.ms": 10_000,
                "retry.backoff.ms": 10,
                "partitioner": PARTITIONER,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 3,
            },
            logger=logging.getLogger("librdkafka"),
        )
        self._producer.init_transactions(_TIMEOUT_S)
        # Nobody else can write here now without fencing this producer: what is read stays the end.
        self._chains: dict[str, list[JournalEntry]] = {}
        for message in read_topic(kafka, topic, read_committed=True, partition=number):
            try:
                entry = decode(message.value, JournalEntry)
            except InvalidMessage:
                continue  # an audit's business; it is nobody's past
            self._chains.setdefault(entry.subject, []).append(entry)

    def append(
        self, subject: str, entries: Callable[[Sequence[JournalEntry]], list[JournalEntry]]
    ) -> list[JournalEntry]:
        new = entries(self._chains.get(subject, []))
        if not new:
            return new
        self._producer.begin_transaction()
        for entry in new:
            self._producer.produce(self._topic, encode(entry), key=subject.encode(), partition=self._number)
        self._producer.commit_transaction(_TIMEOUT_S)
        self._chains.setdefault(subject, []).extend(new)
        return new


def read_chain(kafka: Kafka, subject: str, *, topic: str = JOURNAL) -> list[Noted]:
    """Every entry of a subject as it was read, oldest first. Raises `KafkaUnavailable`, and `InvalidMessage` for one
    that is no entry."""
    number = lane_of(subject.encode(), partitions_of(kafka, topic))
    return [
        Noted(decode(message.value, JournalEntry), message.value or b"")
        for message in read_topic(kafka, topic, read_committed=True, partition=number)
        if message.key == subject.encode()
    ]
