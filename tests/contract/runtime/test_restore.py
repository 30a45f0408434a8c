"""The records just before a committed offset, as an agent that must remember them sees them again after a restart."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from pipeline.ports import Emit, InMessage
from pipeline.runtime.producer import make_producer, produce
from pipeline.runtime.reader import read_topic
from pipeline.runtime.restore import recent_records
from pipeline.settings import Kafka
from tests.stack import create_topics, unique


def filled(kafka: Kafka, values: int, *, transactional: bool = False) -> list[InMessage]:
    """A topic of one partition with `values` records; they themselves."""
    topic = unique("restore")
    create_topics(kafka.bootstrap, {topic: 1})
    producer: Producer = make_producer(kafka, transactional_id=topic) if transactional else make_producer(kafka)
    if transactional:
        producer.init_transactions(30)
        producer.begin_transaction()
    for number in range(values):
        produce(producer, Emit(topic, b"key", b"%d" % number))
    if transactional:
        producer.commit_transaction(30)
    assert producer.flush(30) == 0
    return list(read_topic(kafka, topic, read_committed=True))


def test_records_from_a_time_up_to_the_offset_come_in_order(kafka: str) -> None:
    """Everything before the committed offset, nothing at or after it."""
    where = Kafka(bootstrap=kafka)
    records = filled(where, 30)
    found = recent_records(where, records[0].topic, 0, 20, records[0].timestamp_us)
    assert found == records[:20]


def test_what_is_older_than_the_window_is_left_out(kafka: str) -> None:
    """A window that begins after the last record, and one that begins at a record's own time."""
    where = Kafka(bootstrap=kafka)
    records = filled(where, 3)
    topic = records[0].topic
    assert recent_records(where, topic, 0, 3, time.time_ns() // 1_000 + 60_000_000) == []
    since_us = records[1].timestamp_us
    assert recent_records(where, topic, 0, 3, since_us) == [r for r in records if r.timestamp_us >= since_us]


def test_an_offset_behind_a_transaction_marker_is_reached(kafka: str) -> None:
    """The last position before the committed offset need not be a record."""
    where = Kafka(bootstrap=kafka)
    records = filled(where, 5, transactional=True)
    assert recent_records(where, records[0].topic, 0, 6, records[0].timestamp_us) == records
