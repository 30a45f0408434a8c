"""How far each process that holds the gallery in memory has read, so that an erasure can prove itself.

A mirror is a process with the gallery in memory: an embedding agent. Its reader reports, as committed offsets of a
consumer group of its own (`facepay-gallery-<name>`), which records it has applied and which its snapshot has in it;
when, and the snapshot's token, stand in the offset's metadata. Nobody is ever a member of these groups; the
broker forgets them when nothing was reported for its `offsets.retention.minutes` (7 days).

A mirror reports every `BEAT_S` and soon after something was removed. One that has ended says so; one that was killed
cannot, and is taken for ended when it has been silent for `SILENT_S`: it has lost its memory then, and a process that
starts applies every tombstone before it is ready. Clocks of hosts may differ by less than `SILENT_S`.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from pipeline.errors import KafkaUnavailable
from pipeline.ports import Clock
from pipeline.settings import Kafka

log = structlog.get_logger(__name__)

GROUP = "facepay-gallery-"
BEAT_S = 2.0
SILENT_S = 15.0
_TIMEOUT_S = 10.0


def mirror_name(instance: str) -> str:
    """The name of a process of this host, the same after a restart; `instance` is the setting `agent.instance`."""
    return f"{re.sub('[^A-Za-z0-9._-]', '-', socket.gethostname())[:64]}-{instance}"


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of one partition's offset."""

    at_us: int
    """When it was reported; 0: the process has ended in order."""
    snapshot: int | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A snapshot: which records are in it (the first one that is not, by partition), and its token (`snapshot`)."""

    offsets: Mapping[int, int]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one mirror has reported last: the first record not applied by partition, and its snapshot."""

    name: str
    at_us: int
    offsets: Mapping[int, int]
    snapshot: Kept | None

    def alive(self, now_us: int) -> bool:
        """Whether the process still runs, as far as one can tell."""
        return now_us - self.at_us < SILENT_S * 1e6


class Reports:
    """Reports of one mirror, from a thread of its own: the reader is never held up by it. Kafka that is down is no
    trouble: the next beat reports again."""

    def __init__(self, kafka: Kafka, topic: str, name: str, clock: Clock) -> None:
        self._kafka = kafka
        self._topic = topic
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._offsets: Mapping[int, int] = {}
        self._snapshot: Kept | None = None
        self._soon = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gallery-reports", daemon=True)

    def start(self) -> None:
        """Begins to report."""
        self._thread.start()

    def stop(self) -> None:
        """Says that this mirror has ended, and waits for the thread."""
        self._stop.set()
        self._soon.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=30)

    def applied(self, offsets: Mapping[int, int], *, soon: bool) -> None:
        """What was applied by now; `soon`: somebody may wait for it."""
        with self._lock:
            self._offsets = offsets
        if soon:
            self._soon.set()

    def kept(self, snapshot: Kept | None) -> None:
        """What the snapshot on disk has in it."""
        with self._lock:
            self._snapshot = snapshot
        self._soon.set()

    def _run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._kafka.bootstrap,
                "group.id": GROUP + self._name,
                "enable.auto.commit": False,
                "reconnect.backoff.max.ms": 1_000,
            },
            logger=logging.getLogger("librdkafka"),
        )
        try:
            while not self._stop.is_set():
                self._report(consumer, self._clock())
                self._soon.wait(BEAT_S)
                self._soon.clear()
            self._report(consumer, 0)
        finally:
            consumer.close()

    def _report(self, consumer: Consumer, at_us: int) -> None:
        with self._lock:
            offsets, snapshot = self._offsets, self._snapshot
        if not offsets:
            return
        notes = {
            partition: _Note(
                at_us=at_us,
                snapshot=None if snapshot is None else snapshot.offsets.get(partition, 0),
                token=None if snapshot is None else snapshot.token,
            )
            for partition in offsets
        }
        try:
            consumer.commit(
                offsets=[
                    TopicPartition(self._topic, p, offset, metadata=msgspec.json.encode(notes[p]).decode())
                    for p, offset in offsets.items()
                ],
                asynchronous=False,
            )
        except KafkaException as error:
            log.debug("gallery_report_failed", why=error.args[0].name())


def standings(kafka: Kafka, topic: str) -> list[Standing]:
    """What every mirror of `topic` has reported last; raises `KafkaUnavailable`."""
    client = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    try:
        listed = client.list_consumer_groups(request_timeout=_TIMEOUT_S).result(_TIMEOUT_S + 5)
        groups = [group.group_id for group in listed.valid or [] if group.group_id.startswith(GROUP)]
        found = []
        for group in groups:
            asked = client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)], request_timeout=_TIMEOUT_S
            )
            committed = asked[group].result(_TIMEOUT_S + 5).topic_partitions or []
            standing = _standing(group.removeprefix(GROUP), [c for c in committed if c.topic == topic])
            if standing is not None:
                found.append(standing)
    except KafkaException as error:
        raise KafkaUnavailable(
            f"asking which agents hold the gallery, at {kafka.bootstrap}: {error.args[0].str()}; check Kafka and do it "
            "again"
        ) from None
    return found


def _standing(name: str, committed: Sequence[TopicPartition]) -> Standing | None:
    notes: dict[int, _Note] = {}
    for each in committed:
        try:
            notes[each.partition] = msgspec.json.decode((each.metadata or "").encode(), type=_Note)
        except msgspec.MsgspecError:
            return None  # not one of ours
    if not notes:
        return None
    token = next((note.token for note in notes.values() if note.token is not None), None)
    return Standing(
        name=name,
        at_us=min(note.at_us for note in notes.values()),
        offsets={each.partition: each.offset for each in committed},
        snapshot=None
        if token is None
        else Kept(offsets={partition: note.snapshot or 0 for partition, note in notes.items()}, token=token),
    )
