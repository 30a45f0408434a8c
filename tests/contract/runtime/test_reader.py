"""Reading whole topics without a group: from the beginning or a time, to the end and on, through a broker's death."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from pipeline.errors import InvalidMessage, KafkaUnavailable
from pipeline.local import LocalStack
from pipeline.local.loopback import free_ports
from pipeline.ports import InMessage
from pipeline.runtime import reader as module
from pipeline.runtime.producer import make_producer
from pipeline.runtime.reader import TopicReader, read_topic
from pipeline.settings import Kafka
from tests.stack import create_topics, unique, wait_until

ROOT = Path(__file__).resolve().parents[3]


def sent(kafka: Kafka, topic: str, values: list[bytes], *, producer: Producer | None = None) -> None:
    """On Kafka when it returns."""
    chosen = make_producer(kafka) if producer is None else producer
    for value in values:
        chosen.produce(topic, value, key=value)
    assert chosen.flush(20) == 0


def follow(kafka: Kafka, topics: list[str], **options: object) -> tuple[TopicReader, list[bytes]]:
    """A started reader and what it has read so far."""
    read: list[bytes] = []
    reader = TopicReader(
        kafka,
        topics,
        lambda message: read.append(message.value or b""),
        name=unique("r"),
        **options,  # type: ignore[arg-type]
    )
    reader.start()
    return reader, read


def test_it_reads_to_the_end_and_on(kafka: str) -> None:
    """All partitions of all topics, empty ones too, in order within each; then what comes."""
    settings, full, empty = Kafka(bootstrap=kafka), unique("full"), unique("empty")
    create_topics(kafka, {full: 3, empty: 2})
    sent(settings, full, [b"%d" % n for n in range(200)])
    reader, read = follow(settings, [full, empty])
    try:
        assert reader.wait_caught_up(20)
        assert sorted(read) == sorted(b"%d" % n for n in range(200))
        sent(settings, empty, [b"late"])
        wait_until(lambda: b"late" in read, 10, "what came later")
        assert reader.alive
    finally:
        reader.stop()
    assert not reader.alive


def test_only_what_is_committed_is_read(kafka: str) -> None:
    """An aborted transaction leaves nothing, and its markers do not keep a reader from its end."""
    settings, topic = Kafka(bootstrap=kafka), unique("committed")
    create_topics(kafka, {topic: 1})
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": unique("tx")})
    producer.init_transactions(20)
    for value, end in ((b"kept", producer.commit_transaction), (b"gone", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(20)
        end(20)
    reader, read = follow(settings, [topic], read_committed=True)
    assert reader.wait_caught_up(20)
    reader.stop()
    assert read == [b"kept"]
    assert [m.value for m in read_topic(settings, topic, read_committed=True)] == [b"kept"]
    assert [m.value for m in read_topic(settings, topic, read_committed=False)] == [b"kept", b"gone"]


def test_it_begins_at_a_time(kafka: str) -> None:
    """Records older than `since_us` are not read."""
    settings, topic = Kafka(bootstrap=kafka), unique("since")
    create_topics(kafka, {topic: 1})
    producer = make_producer(settings)
    now_ms = time.time_ns() // 1_000_000
    for value, at_ms in ((b"old", now_ms - 60_000), (b"new", now_ms)):
        producer.produce(topic, value, timestamp=at_ms)
    assert producer.flush(20) == 0
    since_us = (now_ms - 30_000) * 1000
    reader, read = follow(settings, [topic], since_us=since_us)
    assert reader.wait_caught_up(20)
    reader.stop()
    assert read == [b"new"]
    assert [m.value for m in read_topic(settings, topic, read_committed=False, since_us=since_us)] == [b"new"]
    later = (now_ms + 30_000) * 1000
    assert list(read_topic(settings, topic, read_committed=False, since_us=later)) == []


def test_an_invalid_record_is_skipped(kafka: str) -> None:
    """A reader follows what others have judged: it logs the position and goes on."""
    settings, topic = Kafka(bootstrap=kafka), unique("invalid")
    create_topics(kafka, {topic: 1})
    sent(settings, topic, [b"a", b"bad", b"z"])
    read: list[bytes | None] = []

    def take(message: InMessage) -> None:
        if message.value == b"bad":
            raise InvalidMessage("not_json", "no JSON")
        read.append(message.value)

    reader = TopicReader(settings, [topic], take, name=unique("r"))
    reader.start()
    assert reader.wait_caught_up(20)
    reader.stop()
    assert read == [b"a", b"z"]


DYING = """
import sys, time
from pipeline.runtime import logs
from pipeline.runtime.reader import TopicReader
from pipeline.settings import Kafka, Log

def take(message):
    raise RuntimeError("unexpected")

logs.configure(Log(style="json"), "reader")
TopicReader(Kafka(bootstrap=sys.argv[1]), [sys.argv[2]], take).start()
time.sleep(60)
"""


def test_an_unexpected_error_ends_the_process(kafka: str) -> None:
    """Exit 70 with a log line: a process whose reader is dead would decide on what it no longer knows."""
    settings, topic = Kafka(bootstrap=kafka), unique("dying")
    create_topics(kafka, {topic: 1})
    sent(settings, topic, [b"x"])
    done = subprocess.run(
        [sys.executable, "-c", DYING, kafka, topic], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 70
    assert "reader_failed" in done.stderr


def test_it_survives_the_broker(own_stack: LocalStack) -> None:
    """Started before Kafka is there, it waits; a kill -9 and a restart later it goes on and has lost nothing."""
    settings, topic = Kafka(bootstrap=own_stack.addresses.kafka), unique("survives")
    create_topics(settings.bootstrap, {topic: 2})
    sent(settings, topic, [b"first"])
    own_stack.kafka.kill()
    reader, read = follow(settings, [topic])
    try:
        own_stack.kafka.start()
        assert reader.wait_caught_up(30)
        assert read == [b"first"]
        own_stack.kafka.kill()
        own_stack.kafka.start()
        sent(settings, topic, [b"second"])
        wait_until(lambda: b"second" in read, 30, "what came after the restart")
    finally:
        reader.stop()


# what -> how it is asked
ASKED: dict[str, Callable[[Kafka], object]] = {
    "a topic that does not exist": lambda kafka: list(read_topic(kafka, "no-such-topic", read_committed=True)),
    "a broker that is not there": lambda _: list(
        read_topic(Kafka(bootstrap=f"127.0.0.1:{free_ports(1)[0]}"), "hints", read_committed=True)
    ),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_what_cannot_be_read_is_said_in_one_sentence(
    kafka: str, ask: Callable[[Kafka], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a bounded time, naming what was tried."""
    monkeypatch.setattr(module, "METADATA_TIMEOUT_S", 1.0)
    with pytest.raises(KafkaUnavailable, match=r"^reading the topic") as told:
        ask(Kafka(bootstrap=kafka))
    assert "\n" not in str(told.value)


def test_a_partition_without_a_leader_for_a_moment_is_asked_again(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is just back answers "not leader" at first; only other answers end the reading."""
    topic = unique("leaderless")
    create_topics(kafka, {topic: 1})
    answers = [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE]

    class Leaderless(Consumer):
        def get_watermark_offsets(self, *args: Any, **named: Any) -> Any:
            if answers:
                raise KafkaException(KafkaError(answers.pop(0)))
            return super().get_watermark_offsets(*args, **named)

    monkeypatch.setattr("pipeline.runtime.reader.Consumer", Leaderless)
    assert list(read_topic(Kafka(bootstrap=kafka), topic, read_committed=True)) == []
    assert not answers
    answers.append(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaUnavailable, match="reading the topic"):
        list(read_topic(Kafka(bootstrap=kafka), topic, read_committed=True))
