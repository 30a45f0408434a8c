"""Where a reader begins: nothing that is written while it looks for its place is skipped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from pipeline.ports import InMessage
from pipeline.runtime import reader
from pipeline.runtime.producer import make_producer
from pipeline.settings import Kafka
from tests.stack import create_topics, unique, wait_until


def test_what_is_written_while_a_reader_looks_for_its_place_is_read(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that comes right after "nothing is as new as that" is handed over, and what is older is not."""
    settings = Kafka(bootstrap=kafka)
    topic = unique("reader-start")
    create_topics(kafka, {topic: 1})
    producer = make_producer(settings)
    producer.produce(topic, b"old", timestamp=1_000)
    assert producer.flush(20) == 0

    class Racing(Consumer):
        """A consumer that a record overtakes between two questions."""

        def offsets_for_times(self, partitions: list[TopicPartition], *args: Any, **more: Any) -> list[TopicPartition]:
            found = super().offsets_for_times(partitions, *args, **more)
            producer.produce(topic, b"new")
            assert producer.flush(20) == 0
            return found

    monkeypatch.setattr(reader, "Consumer", Racing)
    read: list[InMessage] = []
    since_us = time.time_ns() // 1_000 - 60_000_000
    follower = reader.TopicReader(settings, (topic,), read.append, since_us=since_us, name=unique("start"))
    follower.start()
    try:
        wait_until(lambda: read, 20, "the record is read")
        assert follower.wait_caught_up(20)
        assert [message.value for message in read] == [b"new"]
    finally:
        follower.stop()


def test_whoever_knows_where_to_go_on_reads_from_there(kafka: str) -> None:
    """`resume` is told the ends and names a place; records come in batches, and positions count on to the end, also of
    a partition that has nothing."""
    settings, topic = Kafka(bootstrap=kafka), unique("resume")
    create_topics(kafka, {topic: 2})
    producer = make_producer(settings)
    for number in range(10):
        producer.produce(topic, b"%d" % number, partition=0)
    assert producer.flush(20) == 0
    asked: list[dict[reader.Place, int]] = []
    read: list[bytes | None] = []
    turns: list[int] = []

    def resume(ends: Mapping[reader.Place, int]) -> Mapping[reader.Place, int]:
        asked.append(dict(ends))
        return {(topic, 0): 7}

    follower = reader.TopicReader(
        settings, (topic,), lambda _: pytest.fail("a record came alone"), name=unique("resume"), resume=resume,
        on_batch=lambda batch: read.extend(message.value for message in batch), on_turn=lambda: turns.append(1),
    )  # fmt: skip
    follower.start()
    try:
        assert follower.wait_caught_up(20)
        assert asked == [{(topic, 0): 10, (topic, 1): 0}]
        assert read == [b"7", b"8", b"9"]
        assert follower.positions == {(topic, 0): 10, (topic, 1): 0}
        producer.produce(topic, b"10", partition=1)
        assert producer.flush(20) == 0
        wait_until(lambda: follower.positions[topic, 1] == 1, 20, "what came later")
        assert read[-1] == b"10"
        assert turns
    finally:
        follower.stop()


def test_reading_a_topic_ends_where_it_ended_when_it_began(kafka: str) -> None:
    """Also while somebody goes on writing; one partition alone, or from given offsets, on demand."""
    settings, topic = Kafka(bootstrap=kafka), unique("bounded")
    create_topics(kafka, {topic: 2})
    producer = make_producer(settings)
    for number in range(6):
        producer.produce(topic, b"%d" % number, partition=number % 2)
    assert producer.flush(20) == 0
    assert reader.partitions_of(settings, topic) == 2
    assert reader.ends_of(settings, topic) == {0: 3, 1: 3}
    only = reader.read_topic(settings, topic, read_committed=False, partition=1)
    assert [message.value for message in only] == [b"1", b"3", b"5"]
    later = reader.read_topic(settings, topic, read_committed=False, offsets={0: 2, 1: 3})
    assert [message.value for message in later] == [b"4"]
    found = []
    for message in reader.read_topic(settings, topic, read_committed=False):
        found.append(message.value)
        producer.produce(topic, b"more", partition=message.partition)
        assert producer.flush(20) == 0
    assert len(found) < 20
