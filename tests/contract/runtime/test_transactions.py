"""One Kafka transaction and what follows from each kind of error that librdkafka reports in the middle of it.

The producer is the real one; an error of the wanted kind is put before a real call, which is what a disturbance looks
like from outside.
"""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from pipeline.ports import Emit
from pipeline.runtime.reader import read_topic
from pipeline.runtime.transactions import Doubtful, Transactions, with_position
from pipeline.settings import Agent, Kafka
from tests.stack import create_topics, unique

RETRIABLE = KafkaError(KafkaError._TIMED_OUT, "in doubt", False, True, False)
REQUIRES_ABORT = KafkaError(KafkaError.ILLEGAL_GENERATION, "a rebalance goes on", False, False, True)
TIMED_OUT_ABORT = KafkaError(KafkaError._TIMED_OUT, "too late", False, False, True)
FATAL = KafkaError(KafkaError._FENCED, "somebody newer is there", True, False, False)
OTHER = KafkaError(KafkaError._STATE, "nobody knows", False, False, False)


class Stumbling:
    """The real producer, whose call `name` fails once with `error` before it is made."""

    def __init__(self, producer: Producer, name: str, error: KafkaError) -> None:
        self._producer = producer
        self._name = name
        self._error: KafkaError | None = error

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._producer, name)
        if name != self._name:
            return made

        def stumble(*arguments: object) -> object:
            if self._error is None:
                return made(*arguments)
            error, self._error = self._error, None
            raise KafkaException(error)

        return stumble


class Till:
    """A producer in a group with one topic in and one out."""

    def __init__(self, bootstrap: str) -> None:
        self.kafka = Kafka(bootstrap=bootstrap)
        self.group, self.source, self.target = unique("group"), unique("in"), unique("out")
        create_topics(bootstrap, {self.source: 1, self.target: 1})
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": self.group})
        self.transactions = Transactions(self.kafka, Agent(), self.group)
        # The watchdog stays out: it would end the process that runs the tests.
        self.transactions._call("init", self.transactions._producer.init_transactions, 15.0)

    def stumble(self, name: str, error: KafkaError) -> None:
        self.transactions._producer = Stumbling(self.transactions._producer, name, error)  # type: ignore[assignment]

    def emit(self, value: bytes, offset: int) -> bool:
        where = with_position({(self.source, 0): offset}, {0: f'"{offset}"'})
        return self.transactions.emit([Emit(self.target, b"key", value)], where, self.consumer)

    def emitted(self) -> list[bytes | None]:
        return [record.value for record in read_topic(self.kafka, self.target, read_committed=True)]

    def committed(self) -> tuple[int, str | None]:
        (at,) = self.consumer.committed([TopicPartition(self.source, 0)], timeout=10)
        return at.offset, at.metadata


@pytest.fixture
def till(kafka: str) -> Till:
    return Till(kafka)


def test_records_offsets_and_position_come_together(till: Till) -> None:
    """What is emitted and how far the lane is stand in Kafka at once."""
    assert till.emit(b"one", 1)
    assert till.emit(b"two", 2)
    assert till.emitted() == [b"one", b"two"]
    assert till.committed() == (2, '"2"')


def test_what_may_be_tried_again_is(till: Till) -> None:
    """A retriable error before the commit: the same call again, in the same transaction."""
    till.stumble("send_offsets_to_transaction", RETRIABLE)
    assert till.emit(b"one", 1)
    assert till.emitted() == [b"one"]


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_what_must_be_aborted_leaves_no_trace_and_is_tried_anew(till: Till, call: str) -> None:
    """False says so; the next transaction has the rows and the position."""
    till.stumble(call, REQUIRES_ABORT)
    assert not till.emit(b"one", 1)
    assert till.emitted() == []
    assert till.committed()[0] < 0
    assert till.emit(b"one", 1)
    assert till.emitted() == [b"one"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        # Though the second call succeeds: a late end of the first could hit the next transaction.
        ("commit_transaction", RETRIABLE),
        ("send_offsets_to_transaction", FATAL),
        ("commit_transaction", FATAL),
        ("send_offsets_to_transaction", OTHER),
        ("send_offsets_to_transaction", TIMED_OUT_ABORT),
    ],
    ids=["a commit made twice", "fatal", "fatal at the commit", "of no known kind", "timed out and aborted"],
)
def test_after_anything_else_only_a_new_process_may_go_on(till: Till, call: str, error: KafkaError) -> None:
    """`Doubtful` ends the process: a new one takes a new producer epoch."""
    till.stumble(call, error)
    with pytest.raises(Doubtful):
        till.emit(b"one", 1)


def test_a_newer_producer_of_the_same_name_fences_the_older(till: Till) -> None:
    """The older one's transaction comes to nothing, and it says that it must end."""
    heir = Transactions(till.kafka, Agent(), till.group)
    heir._call("init", heir._producer.init_transactions, 15.0)
    with pytest.raises(Doubtful):
        till.emit(b"by the older", 1)
    till.transactions = heir
    assert till.emit(b"by the newer", 1)
    assert till.emitted() == [b"by the newer"]
