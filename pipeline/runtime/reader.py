"""Reading whole topics without a consumer group: the gateway's book, the gallery, the fraud agent's history, the audit.

A `TopicReader` is a background thread that reads every partition of its topics from a time (or the beginning) and goes
on for ever; `caught_up` tells that it has passed the ends seen when it started. It keeps no offsets anywhere: a restart
reads again, unless whoever it reads for knows where to go on (`resume`). What it calls must be idempotent.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.errors import InvalidMessage, KafkaUnavailable
from pipeline.ports import Headers, InMessage
from pipeline.settings import Kafka

log = structlog.get_logger(__name__)

Place = tuple[str, int]
"""A topic and a partition of it."""

PARTITION_EOF: int = KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own codes start with an underscore
METADATA_TIMEOUT_S = 10.0
_LEADER_LOOK_S = 0.1
_NO_LEADER = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
UNEXPECTED = 70
"""Exit code of a process that met something it does not understand: a supervisor starts it again."""


def in_message(record: Message) -> InMessage:
    """A confluent-kafka record as the parts see it."""
    topic, partition, offset = record.topic(), record.partition(), record.offset()
    if topic is None or partition is None or offset is None:
        raise KafkaUnavailable("reading a record: it has no position; this client does not speak to this broker")
    found = record.headers() or []
    raw_headers = found.items() if isinstance(found, dict) else found
    headers: Headers = tuple((name, _bytes(value)) for name, value in raw_headers)
    at_ms = record.timestamp()[1]
    return InMessage(
        topic, partition, offset, _optional(record.key()), _optional(record.value()), headers, at_ms * 1000
    )


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _optional(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _consumer(kafka: Kafka, name: str, *, read_committed: bool) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            # A group name is required by the client and never used: nothing is subscribed or committed.
            "group.id": f"facepay-reader-{name}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # A position that retention has passed by: go on from what is there.
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed" if read_committed else "read_uncommitted",
            # The end of a partition as an event: positions do not count transaction markers and compacted records.
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "reconnect.backoff.max.ms": 1_000,
            "partition.assignment.strategy": "range",
        },
        logger=logging.getLogger("librdkafka"),
    )


def _start_positions(consumer: Consumer, topics: Sequence[str], since_us: int | None) -> list[TopicPartition]:
    """Where to begin in each partition; raises `KafkaUnavailable`."""
    starts: list[TopicPartition] = []
    for topic in topics:
        metadata = consumer.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics[topic]
        if metadata.error is not None or not metadata.partitions:
            raise KafkaUnavailable(f"reading the topic {topic}: it does not exist; run `facepay topics apply`")
        starts.extend(TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in sorted(metadata.partitions))
    if since_us is not None:
        # The ends are taken before the times are asked for: what is written between the two is read, not skipped.
        ends = {(t.topic, t.partition): _end(consumer, t) for t in starts}
        asked = [TopicPartition(t.topic, t.partition, since_us // 1000) for t in starts]
        found = consumer.offsets_for_times(asked, timeout=METADATA_TIMEOUT_S)
        # A negative answer means that nothing is as new as that.
        starts = [
            TopicPartition(t.topic, t.partition, t.offset if t.offset >= 0 else ends[t.topic, t.partition])
            for t in found
        ]
    return starts


def _end(consumer: Consumer, partition: TopicPartition) -> int:
    """The partition's end now; raises `KafkaUnavailable`. A broker that is just back has no leader for a moment."""
    deadline = time.monotonic() + METADATA_TIMEOUT_S
    while True:
        try:
            marks = consumer.get_watermark_offsets(partition, timeout=METADATA_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > deadline:
                raise
            consumer.list_topics(partition.topic, timeout=METADATA_TIMEOUT_S)
            time.sleep(_LEADER_LOOK_S)
            continue
        if marks is None:
            raise KafkaUnavailable(f"reading the topic {partition.topic}: Kafka does not tell where it ends")
        return int(marks[1])


class TopicReader:
    """Calls `on_message` for each record, in order within a partition, from a thread of its own.

    What `on_message` raises ends the process (exit 70), but for `InvalidMessage`, which is logged and skipped: a reader
    only follows what others have already judged.
    """

    def __init__(
        self,
        kafka: Kafka,
        topics: Sequence[str],
        on_message: Callable[[InMessage], None],
        *,
        since_us: int | None = None,
        read_committed: bool = False,
        name: str = "reader",
        on_batch: Callable[[Sequence[InMessage]], None] | None = None,
        on_turn: Callable[[], None] | None = None,
        resume: Callable[[Mapping[Place, int]], Mapping[Place, int]] | None = None,
    ) -> None:
        """With `on_batch`, records go there, those of one fetch together, and `on_message` is not called.

        `on_turn` is called in the same thread after each look at Kafka, some twenty times a second at least. `resume`
        is called with the ends of all partitions whenever the reader begins to read, and says where to go on; a
        partition that it leaves out is read from its beginning (or `since_us`).
        """
        self._kafka = kafka
        self._topics = tuple(topics)
        self._on_message = on_message
        self._since_us = since_us
        self._read_committed = read_committed
        self._name = name
        self._on_batch = on_batch
        self._on_turn = on_turn
        self._resume = resume
        self._positions: dict[Place, int] = {}
        self._stop = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"reader-{name}", daemon=True)

    def start(self) -> None:
        """Starts the thread; Kafka may still be down, the reader waits for it."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=30)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read up to the end that it had when the reader started."""
        return self._caught_up.is_set()

    @property
    def positions(self) -> Mapping[Place, int]:
        """By partition, the first record that was not yet handed over; records that compaction removed count."""
        return dict(self._positions)

    def wait_caught_up(self, timeout_s: float) -> bool:
        """Waits for `caught_up`; False when `timeout_s` passed first."""
        return self._caught_up.wait(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                consumer = _consumer(self._kafka, self._name, read_committed=self._read_committed)
                try:
                    self._follow(consumer)
                except (KafkaUnavailable, KafkaException) as error:
                    log.warning("reader_waits_for_kafka", reader=self._name, why=str(error))
                    self._stop.wait(1.0)
                finally:
                    consumer.close()
        except BaseException:
            log.exception("reader_failed", reader=self._name)
            os._exit(UNEXPECTED)

    def _follow(self, consumer: Consumer) -> None:
        starts = _start_positions(consumer, self._topics, self._since_us)
        if self._resume is not None:
            known = self._resume({(t.topic, t.partition): _end(consumer, t) for t in starts})
            starts = [TopicPartition(t.topic, t.partition, known.get((t.topic, t.partition), t.offset)) for t in starts]
        missing = {(t.topic, t.partition) for t in starts}
        consumer.assign(starts)
        while not self._stop.is_set():
            # `consume` alone would wait out its timeout for the 500, on the latency of whoever waits for one record.
            first = consumer.poll(0.05)
            records = [] if first is None else [first, *consumer.consume(500, 0.0)]
            messages, ended = [], {}
            for record in records:
                error = record.error()
                if error is None:
                    messages.append(in_message(record))
                elif error.code() == PARTITION_EOF:
                    ended[record.topic() or "", record.partition() or 0] = record.offset() or 0
                else:
                    self._judge(error)
            self._hand_over_all(messages)
            passed = {(m.topic, m.partition): m.offset + 1 for m in messages}
            # One step for whoever reads it in another thread.
            self._positions = {**self._positions, **passed, **ended}
            missing -= ended.keys()
            if not missing:
                self._caught_up.set()
            if self._on_turn is not None:
                self._on_turn()

    def _judge(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(error)
        log.debug("reader_error", reader=self._name, error=error.name())

    def _hand_over_all(self, messages: Sequence[InMessage]) -> None:
        if self._on_batch is None:
            for message in messages:
                self._hand_over(message)
        elif messages:
            self._on_batch(messages)

    def _hand_over(self, message: InMessage) -> None:
        try:
            self._on_message(message)
        except InvalidMessage as error:
            log.warning(
                "reader_skips_record",
                reader=self._name,
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                reason=error.reason,
            )


def partitions_of(kafka: Kafka, topic: str) -> int:
    """How many partitions a topic has; raises `KafkaUnavailable`."""
    consumer = _consumer(kafka, f"once-{topic}", read_committed=False)
    try:
        return len(_start_positions(consumer, [topic], None))
    except KafkaException as error:
        raise _unreachable(kafka, topic, error) from None
    finally:
        consumer.close()


def ends_of(kafka: Kafka, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends now; raises `KafkaUnavailable`."""
    consumer = _consumer(kafka, f"once-{topic}", read_committed=False)
    try:
        return {t.partition: _end(consumer, t) for t in _start_positions(consumer, [topic], None)}
    except KafkaException as error:
        raise _unreachable(kafka, topic, error) from None
    finally:
        consumer.close()


def read_topic(
    kafka: Kafka,
    topic: str,
    *,
    read_committed: bool,
    since_us: int | None = None,
    partition: int | None = None,
    offsets: Mapping[int, int] | None = None,
) -> Iterator[InMessage]:
    """All records of a topic up to its end as of now, partition by partition interleaved; for the audit and tests.

    With `partition` only that one's; `offsets` says, by partition, where to begin (a partition it leaves out: at its
    beginning, or `since_us`). Raises `KafkaUnavailable` when the topic is missing or Kafka does not answer within 10 s.
    """
    consumer = _consumer(kafka, f"once-{topic}", read_committed=read_committed)
    try:
        starts = [t for t in _start_positions(consumer, [topic], since_us) if partition in {None, t.partition}]
        if offsets is not None:
            starts = [TopicPartition(topic, t.partition, offsets.get(t.partition, t.offset)) for t in starts]
        # Who waits for a moment without anything new waits for ever where somebody goes on writing.
        open_ends = {t.partition: _end(consumer, t) for t in starts}
        consumer.assign(starts)
        heard = time.monotonic()
        while open_ends:
            first = consumer.poll(0.5)
            records = [] if first is None else [first, *consumer.consume(1000, 0.0)]
            if records:
                heard = time.monotonic()
            elif time.monotonic() - heard > METADATA_TIMEOUT_S:
                raise KafkaUnavailable(f"reading the topic {topic}: Kafka at {kafka.bootstrap} stopped answering")
            for record in records:
                error = record.error()
                if error is None:
                    message = in_message(record)
                    yield message
                    if message.offset + 1 >= open_ends.get(message.partition, 0):
                        open_ends.pop(message.partition, None)
                elif error.code() == PARTITION_EOF:
                    open_ends.pop(record.partition() or 0, None)
                elif error.fatal():
                    raise KafkaUnavailable(f"reading the topic {topic}: {error.str()}")
    except KafkaException as error:
        raise _unreachable(kafka, topic, error) from None
    finally:
        consumer.close()


def _unreachable(kafka: Kafka, topic: str, error: KafkaException) -> KafkaUnavailable:
    return KafkaUnavailable(
        f"reading the topic {topic} at {kafka.bootstrap}: {error.args[0].str()}; is Kafka running there?"
    )
