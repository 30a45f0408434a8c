"""How far a lane's outbox has been emitted: written with each Kafka transaction, recovered at each assignment.

The position travels as metadata of the offset of the lane's first source, which every transaction that emits rows of
the lane commits: so it is atomic with what was emitted. If that metadata is gone (Kafka forgets the offsets of a group
that was empty for days; somebody reset them), the position is recovered from the emitted records themselves, read
committed: each carries ledger_id, incarnation, lane and outbox_seq as headers. It is never assumed to be 0.

Committed offsets are asked for with an isolation level of read committed, so that Kafka answers only after a
transaction that a former owner left open has ended: what was emitted can then no longer change.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.errors import KafkaUnavailable, LedgerMismatch
from pipeline.ports import InMessage, LedgerIdentity
from pipeline.runtime.reader import PARTITION_EOF, in_message
from pipeline.settings import Kafka

log = structlog.get_logger(__name__)
librdkafka = logging.getLogger("librdkafka")

TIMEOUT_S = 20.0
AGAIN_S = 0.05
ELECTING = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
TAIL_RECORDS = 1_000
"""How many records before the end are looked at first; ten times as many each time some lane is still not found."""


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


def emitted_positions(
    kafka: Kafka, consumer: Consumer, lanes: Sequence[int], sources: Sequence[str], outputs: Sequence[str]
) -> dict[int, Position]:
    """What Kafka says was emitted last, by lane; a lane is absent when no ledger ever emitted anything for it.

    `sources` are the input topics, whose committed offsets carry the position, the first one's always the newest;
    `outputs` the topics emitted to, the first of them co-partitioned with the lanes. Raises `KafkaException` or
    `KafkaUnavailable` when Kafka does not answer within 20 s.
    """
    found: dict[int, list[Position]] = {lane: [] for lane in lanes}
    sure: set[int] = set()
    asked = [TopicPartition(topic, lane) for topic in sources for lane in lanes]
    for at in consumer.committed(asked, timeout=TIMEOUT_S):
        if at.error is not None:
            # Such as a transaction that is still open: an answer "none" would be a guess.
            raise KafkaException(at.error)
        position = decode_position(at.metadata)
        if position is not None:
            found[at.partition].append(position)
            if at.topic == sources[0]:
                sure.add(at.partition)
    lost = [lane for lane in lanes if lane not in sure]
    if lost:
        for lane, position in _recovered(kafka, lost, outputs):
            found[lane].append(position)
        newest = {lane: max((p.outbox for p in found[lane]), default=None) for lane in sorted(lost)}
        log.info("outbox_position_recovered", newest=newest)
    return {lane: max(told, key=_order) for lane, told in found.items() if told}


def check_position(position: Position | None, identity: LedgerIdentity, lane: int, outbox_seq: int) -> int:
    """The position to go on from; raises `LedgerMismatch` when Kafka knows more than this ledger, or another one."""
    if position is None:
        return 0
    if position.ledger != identity.ledger_id:
        raise LedgerMismatch(
            f"taking lane {lane}: Kafka holds outcomes of the ledger {position.ledger}, this is the ledger"
            f" {identity.ledger_id}; use the ledger that belongs to this cluster (FACEPAY_LEDGER__URL)"
        )
    if position.outbox > outbox_seq or position.incarnation > identity.incarnation:
        raise LedgerMismatch(
            f"taking lane {lane}: Kafka holds outcome {position.outbox} (incarnation {position.incarnation}) and the"
            f" ledger ends at {outbox_seq} (incarnation {identity.incarnation}): it is behind Kafka, perhaps restored"
            " from a backup; bring back the newest copy of the ledger, nothing may be decided twice"
        )
    return position.outbox


def position_in_headers(message: InMessage) -> tuple[int, Position] | None:
    """The lane and position that an emitted record carries; None for a record that no ledger emitted."""
    ledger, *numbers = (message.header(name) for name in ("ledger_id", "incarnation", "lane", "outbox_seq"))
    try:
        incarnation, lane, seq = (int(number or b"") for number in numbers)
        return lane, Position((ledger or b"").decode("ascii"), incarnation, seq)
    except ValueError:
        return None


def _order(position: Position) -> tuple[int, int]:
    return position.incarnation, position.outbox


def _recovered(kafka: Kafka, lanes: Sequence[int], outputs: Sequence[str]) -> Iterator[tuple[int, Position]]:
    """The last record of each lane in each output, read committed."""
    settings = {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": "facepay-outbox-position",  # required by the client, never joined
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 20,
    }
    reader = Consumer({**settings, "isolation.level": "read_committed"}, logger=librdkafka)
    # Asked for the end of a partition, a reader of committed records names the first open transaction instead.
    ends = Consumer({**settings, "isolation.level": "read_uncommitted"}, logger=librdkafka)
    try:
        for lane in lanes:
            yield from _last_in(reader, ends, TopicPartition(outputs[0], lane), [lane]).items()
        # A topic that is no lane's (the dead letter) holds any lane's records in any partition.
        for topic in outputs[1:]:
            for partition in sorted(ends.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions):
                yield from _last_in(reader, ends, TopicPartition(topic, partition), lanes).items()
    except KafkaException as error:
        raise KafkaUnavailable(f"looking for the last outcomes of lanes {lanes}: {error.args[0].str()}") from None
    finally:
        reader.close()
        ends.close()


def _last_in(reader: Consumer, ends: Consumer, where: TopicPartition, lanes: Sequence[int]) -> Mapping[int, Position]:
    """Looks at the end of a partition first and goes back as far as needed."""
    low, high = _bounds(ends, where)
    found: dict[int, Position] = {}
    end, span = high, TAIL_RECORDS
    while end > low and len(found) < len(lanes):
        start = max(low, end - span)
        newer = dict(found)
        for message in _records(reader, where, start, end):
            told = position_in_headers(message)
            if told is not None and told[0] in lanes and told[0] not in newer:
                found[told[0]] = told[1]
        end, span = start, span * 10
    return found


def _bounds(ends: Consumer, where: TopicPartition) -> tuple[int, int]:
    """The first and the next offset of a partition. A broker that has just started may not lead it yet: asked again."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            low, high = ends.get_watermark_offsets(where, timeout=TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in ELECTING or time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_S)
        else:
            return low, high


def _records(reader: Consumer, where: TopicPartition, start: int, end: int) -> Iterator[InMessage]:
    """The committed records from `start` up to, without, `end`. Waits while an open transaction hides some of them."""
    reader.assign([TopicPartition(where.topic, where.partition, start)])
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        first = reader.poll(0.2)
        for record in [] if first is None else [first, *reader.consume(1000, 0.0)]:
            error = record.error()
            if error is None:
                message = in_message(record)
                if message.offset >= end:
                    return
                yield message
                deadline = time.monotonic() + TIMEOUT_S
            elif error.code() != PARTITION_EOF:
                raise KafkaException(error)
            elif (record.offset() or 0) >= end:
                return
    raise KafkaUnavailable(f"reading partition {where.partition} of {where.topic}: Kafka stopped answering")
