"""How far behind a consumer is, and whether Kafka answers at all: what readiness needs to see a silent stall.

A thread asks the broker for the ends of the assigned partitions every `EVERY_S`. It has a connection of its own, so it
also sees a broker that accepts connections and answers nothing, which the consumer itself keeps quiet about.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # named, not exported

from pipeline import metrics
from pipeline.ports import InMessage
from pipeline.runtime.health import Health
from pipeline.settings import Kafka

EVERY_S = 1.0
ANSWER_S = 2.0


class LagWatch:
    """Told by the loop what it owns and has finished; tells `Health` what waits."""

    def __init__(self, kafka: Kafka, agent: str, health: Health) -> None:
        self._kafka = kafka
        self._agent = agent
        self._health = health
        self._lock = threading.Lock()
        self._next: dict[tuple[str, int], int | None] = {}
        self._newest_us = 0

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
        client = AdminClient({"bootstrap.servers": self._kafka.bootstrap, "log_level": 0})
        while True:
            self._look(client)
            time.sleep(EVERY_S)

    def _look(self, client: AdminClient) -> None:
        with self._lock:
            positions = dict(self._next)
        latest, earliest = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(topic, p): latest for topic, p in positions}
        starts = {TopicPartition(topic, p): earliest for (topic, p), at in positions.items() if at is None}
        try:
            if not wanted:
                client.list_topics(timeout=ANSWER_S)
            ends = _offsets(client, wanted)
            begins = _offsets(client, starts)
        except (KafkaException, TimeoutError) as error:
            self._health.set_ready("kafka", ok=False, why=f"Kafka at {self._kafka.bootstrap} does not answer: {error}")
            return
        self._health.set_ready("kafka", ok=True)
        waiting = 0
        for where, at in positions.items():
            waiting += max(0, ends[where] - (begins[where] if at is None else at))
        self._health.waiting(waiting)
        behind_s = max(0.0, time.time() - self._newest_us / 1e6) if waiting and self._newest_us else 0.0
        metrics.LAG_SECONDS.labels(self._agent).set(behind_s)


def _offsets(client: AdminClient, wanted: dict[TopicPartition, OffsetSpec]) -> dict[tuple[str, int], int]:
    if not wanted:
        return {}
    futures = client.list_offsets(wanted, request_timeout=ANSWER_S)
    return {(t.topic, t.partition): future.result(ANSWER_S + 1).offset for t, future in futures.items()}
