"""How far behind a consumer is, and whether Kafka answers at all: what readiness needs to see a silent stall.

A thread asks the broker for the ends of the assigned partitions every `EVERY_S`. It has a connection of its own, so it
also sees a broker that accepts connections and answers nothing, which a consumer keeps quiet about: its assignment
stays, and its last known ends are as old as its last answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # named, not exported

from pipeline import metrics
from pipeline.ports import InMessage
from pipeline.runtime.health import Health
from pipeline.settings import Kafka

EVERY_S = 1.0
ANSWER_S = 2.0
COMMITTED_S = 20.0
COORDINATOR_MOVES = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError._WAIT_COORD,  # noqa: SLF001 - librdkafka's own codes start with an underscore
    }
)


def committed_offsets(kafka: Kafka, group: str, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Where a group has committed (negative: nowhere yet), without joining it; raises `KafkaException`."""
    settings = {"bootstrap.servers": kafka.bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer(settings)
    try:
        return ask_committed(consumer, partitions)
    finally:
        consumer.close()


def ask_committed(consumer: Consumer, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
    """As `committed_offsets`, by a consumer that is there; asks again while the group's coordinator moves."""
    deadline = time.monotonic() + COMMITTED_S
    while partitions:
        try:
            return consumer.committed(list(partitions), timeout=COMMITTED_S)
        except KafkaException as error:
            if error.args[0].code() not in COORDINATOR_MOVES or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    return []


class LagWatch:
    """Told by the loop what it owns and has finished; tells `Health` what waits."""

    def __init__(self, kafka: Kafka, agent: str, health: Health) -> None:
        self._kafka = kafka
        self._agent = agent
        self._health = health
        self._lock = threading.Lock()
        self._next: dict[tuple[str, int], int | None] = {}
        self._newest_us = 0
        self._waits_since = 0.0

    def start(self) -> None:
        """Starts the watching thread."""
        threading.Thread(target=self._watch, name="lag", daemon=True).start()

    def assigned(self, committed: Sequence[TopicPartition]) -> None:
        """Partitions that came, with their committed offset (negative: none yet)."""
        with self._lock:
            self._next |= {(t.topic, t.partition): t.offset if t.offset >= 0 else None for t in committed}

    def taken(self, partitions: Sequence[TopicPartition]) -> None:
        """Partitions that went."""
        with self._lock:
            for at in partitions:
                self._next.pop((at.topic, at.partition), None)

    def finished(self, last: Iterable[InMessage]) -> None:
        """The last record of each partition of a finished batch."""
        with self._lock:
            for message in last:
                if (message.topic, message.partition) in self._next:
                    self._next[message.topic, message.partition] = message.offset + 1
                self._newest_us = max(self._newest_us, message.timestamp_us)

    def _watch(self) -> None:
        client = None
        while True:
            if client is None:  # not `or`: a client has a length, of what it has queued, and so is false when idle
                client = AdminClient({"bootstrap.servers": self._kafka.bootstrap, "log_level": 0})
            try:
                self._look(client)
                self._health.set_ready("kafka", ok=True)
            except Exception as error:  # noqa: BLE001 - a watch that ended would leave its last answer standing for ever
                said = error.args[0].str() if isinstance(error, KafkaException) else error
                why = f"Kafka at {self._kafka.bootstrap} does not answer: {said}"
                self._health.set_ready("kafka", ok=False, why=why)
                # A new one asks for the leaders again; the old one goes on with those it knew, also after an election.
                client = None
            time.sleep(EVERY_S)

    def _look(self, client: AdminClient) -> None:
        with self._lock:
            positions = dict(self._next)
        latest, earliest = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        if not positions:
            client.list_topics(timeout=ANSWER_S)
        ends = _offsets(client, {TopicPartition(topic, p): latest for topic, p in positions})
        begins = _offsets(client, {TopicPartition(*at): earliest for at, n in positions.items() if n is None})
        self._tell(sum(max(0, ends[at] - (begins[at] if n is None else n)) for at, n in positions.items()))

    def _tell(self, waiting: int) -> None:
        self._health.waiting(waiting)
        now_s = time.time()
        if not waiting:
            self._waits_since = 0.0
        elif not self._waits_since:
            self._waits_since = now_s
        # After a quiet hour the newest finished record is an hour old, but nothing has waited that long.
        oldest_s = max(self._newest_us / 1e6, self._waits_since)
        metrics.LAG_SECONDS.labels(self._agent).set(max(0.0, now_s - oldest_s) if waiting else 0.0)


def _offsets(client: AdminClient, wanted: Mapping[TopicPartition, OffsetSpec]) -> dict[tuple[str, int], int]:
    if not wanted:
        return {}
    futures = client.list_offsets(dict(wanted), request_timeout=ANSWER_S)
    found = {(t.topic, t.partition): future.result(ANSWER_S + 1).offset for t, future in futures.items()}
    # librdkafka knows the leaders of old and gives no error when one of them does not answer: it gives no offset.
    silent = sorted(partition for (_, partition), offset in found.items() if offset < 0)
    if silent:
        raise TimeoutError(f"no answer for the partitions {silent} within {ANSWER_S} s")
    return found
