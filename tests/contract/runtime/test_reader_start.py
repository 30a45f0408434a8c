"""Where a reader begins: nothing that is written while it looks for its place is skipped."""

from __future__ import annotations

import time
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
