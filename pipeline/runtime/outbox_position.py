"""How far a lane's outbox has been emitted: written with each Kafka transaction, recovered at each assignment.

The position travels as metadata of the offsets that the transaction commits, so it is atomic with what was emitted. If
the metadata is gone (Kafka forgets the offsets of a group that was empty for days; somebody reset them), the position
is recovered from the emitted records themselves, read committed: each carries ledger_id, incarnation, lane and
outbox_seq as headers. It is never assumed to be 0.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.errors import KafkaUnavailable, LedgerMismatch
from pipeline.ports import InMessage, LedgerIdentity
from pipeline.runtime.reader import PARTITION_EOF, in_message
from pipeline.settings import Kafka

log = structlog.get_logger(__name__)

TIMEOUT_S = 20.0
TAIL_RECORDS = 1_000
"""How many records before the end are looked at first; ten times as many each time none is from a ledger."""


@dataclass(frozen=True, slots=True)
class Position:
    """The last emitted outbox row of a lane; `outbox` 0: nothing was ever emitted."""

    ledger: str
    incarnation: int
    outbox: int


def encode_position(position: Position) -> str:
    """As it stands in an offset's metadata."""
    return msgspec.json.encode(position).decode()


def decode_position(metadata: str | None) -> Position | None:
    """The position in an offset's metadata; None if there is none or it is not ours."""
    if not metadata:
        return None
    try:
        return msgspec.json.decode(metadata, type=Position)
    except msgspec.DecodeError:
        return None


def emitted_position(
    kafka: Kafka, consumer: Consumer, lane: int, sources: Sequence[str], outputs: Sequence[str]
) -> Position | None:
    """What Kafka says was emitted last for `lane`; None when nothing was ever emitted by any ledger.

    `sources` are the input topics, whose committed offsets carry the position; `outputs` the topics emitted to.
    """
    committed = consumer.committed([TopicPartition(topic, lane) for topic in sources], timeout=TIMEOUT_S)
    told = [p for at in committed if (p := decode_position(at.metadata)) is not None]
    if told:
        return max(told, key=lambda p: (p.incarnation, p.outbox))
    found = [p for topic in outputs if (p := _last_emitted(kafka, topic, lane)) is not None]
    log.info("outbox_position_recovered", lane=lane, found=max((p.outbox for p in found), default=None))
    return max(found, key=lambda p: (p.incarnation, p.outbox), default=None)


def check_position(position: Position | None, identity: LedgerIdentity, lane: int, outbox_seq: int) -> int:
    """The position to go on from; raises `LedgerMismatch` when Kafka knows more than this ledger, or another one."""
    if position is None:
        return 0
    if position.ledger != identity.ledger_id:
        raise LedgerMismatch(
            f"taking lane {lane}: Kafka holds outcome {position.outbox} (incarnation {position.incarnation}) and the"
            f" ledger ends at {outbox_seq} (incarnation {identity.incarnation}): it is behind Kafka, perhaps restored"
            " from a backup; run `facepay ledger recover`"
        )
    return position.outbox


def position_of(message: InMessage, lane: int) -> Position | None:
    """The position that an emitted record of `lane` carries in its headers."""
    values = [message.header(name) for name in ("ledger_id", "incarnation", "lane", "outbox_seq")]
    if any(value is None for value in values):
        return None
    ledger, incarnation, of_lane, seq = (value.decode() for value in values if value is not None)
    return Position(ledger, int(incarnation), int(seq)) if int(of_lane) == lane else None


def _last_emitted(kafka: Kafka, topic: str, lane: int) -> Position | None:
    """The last record of `lane` in a topic, read committed: looks at the end first and goes back as far as needed."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "facepay-outbox-position",  # required by the client, never joined
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
        # A lane's outcomes are in the partition of its number; a topic that is no lane's (the dead letter) mixes them.
        candidates = [lane] if lane in partitions and len(partitions) > 1 else sorted(partitions)
        found = [p for partition in candidates if (p := _last_in(consumer, topic, partition, lane)) is not None]
        return max(found, key=lambda p: (p.incarnation, p.outbox), default=None)
    except KafkaException as error:
        raise KafkaUnavailable(
            f"looking for the last outcome of lane {lane} in {topic}: {error.args[0].str()}"
        ) from None
    finally:
        consumer.close()


def _last_in(consumer: Consumer, topic: str, partition: int, lane: int) -> Position | None:
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
    end, span = high, TAIL_RECORDS
    while end > low:
        start = max(low, end - span)
        found: Position | None = None
        for message in _records(consumer, topic, partition, start, end):
            found = position_of(message, lane) or found
        if found is not None:
            return found
        end, span = start, span * 10
    return None


def _records(consumer: Consumer, topic: str, partition: int, start: int, end: int) -> list[InMessage]:
    consumer.assign([TopicPartition(topic, partition, start)])
    found: list[InMessage] = []
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for record in consumer.consume(1000, 0.2):
            error = record.error()
            if error is not None:
                if error.code() == PARTITION_EOF:
                    return found
                raise KafkaException(error)
            message = in_message(record)
            if message.offset >= end:
                return found
            found.append(message)
            deadline = time.monotonic() + TIMEOUT_S
    raise KafkaUnavailable(f"reading partition {partition} of {topic}: Kafka stopped answering")
