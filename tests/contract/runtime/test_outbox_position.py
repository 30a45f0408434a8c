"""Where a lane's outbox stands, asked of the real Kafka: the newest it can prove, never a guess."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from pipeline.errors import LedgerMismatch
from pipeline.ports import Emit, LedgerIdentity
from pipeline.runtime.outbox_position import Position, check_position, emitted_positions, encode_position
from pipeline.runtime.producer import make_producer, produce
from pipeline.settings import Kafka
from tests.stack import create_topics, unique, wait_until

LEDGER = "ledger-1"


@dataclass
class Lanes:
    """Two sources, two outputs, a group of three lanes; what a settlement instance would have written to them."""

    bootstrap: str
    prefix: str = field(default_factory=lambda: unique("position"))

    def __post_init__(self) -> None:
        self.kafka = Kafka(bootstrap=self.bootstrap)
        self.sources = (f"{self.prefix}-commands", f"{self.prefix}-verdicts")
        self.outputs = (f"{self.prefix}-settlements", f"{self.prefix}-deadletter")
        create_topics(self.bootstrap, {**dict.fromkeys([*self.sources, self.outputs[0]], 3), self.outputs[1]: 2})
        # As the loop's own consumer asks.
        self.consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": self.prefix, "isolation.level": "read_committed"}
        )

        # A member of the group has met its coordinator before it asks; so does this one.
        wait_until(self._coordinated, 30, "the group's coordinator")

    def _coordinated(self) -> bool:
        try:
            answers = self.consumer.committed([TopicPartition(self.sources[0], 0)], timeout=5)
        except KafkaException:
            return False
        return all(at.error is None for at in answers)

    def commit(self, source: int, lane: int, outbox: int | None) -> None:
        """An offset of a source, with or without a position beside it."""
        metadata = "" if outbox is None else encode_position(Position(LEDGER, 1, outbox))
        self.consumer.commit(
            offsets=[TopicPartition(self.sources[source], lane, 1, metadata=metadata)], asynchronous=False
        )

    def begin(self) -> Producer:
        producer = make_producer(self.kafka, transactional_id=unique("position"), transaction_timeout_ms=30_000)
        producer.init_transactions(30)
        producer.begin_transaction()
        return producer

    def emit(self, producer: Producer, output: int, lane: int, seq: int, partition: int | None = None) -> None:
        """A record as the loop emits it."""
        headers = {"ledger_id": LEDGER, "incarnation": "1", "lane": str(lane), "outbox_seq": str(seq)}
        record = Emit(
            self.outputs[output],
            b"till",
            b"value",
            tuple((name, value.encode()) for name, value in headers.items()),
            lane if partition is None else partition,
        )
        produce(producer, record)

    def emitted(self, *lanes: int) -> dict[int, int]:
        found = emitted_positions(self.kafka, self.consumer, lanes, self.sources, self.outputs)
        return {lane: position.outbox for lane, position in found.items()}


@pytest.fixture
def lanes(kafka: str) -> Lanes:
    return Lanes(kafka)


def test_the_position_stands_beside_the_offset(lanes: Lanes) -> None:
    """The usual case: no topic is read."""
    lanes.commit(0, 1, 7)
    lanes.commit(1, 1, 5)
    assert lanes.emitted(1) == {1: 7}


def test_nothing_emitted_is_no_position(lanes: Lanes) -> None:
    """A lane that no ledger ever emitted for."""
    assert lanes.emitted(0, 1, 2) == {}


def test_without_metadata_it_is_found_in_what_was_emitted(lanes: Lanes) -> None:
    """The last committed record of each lane, in its outcomes or among the dead letters, wherever those lie."""
    producer = lanes.begin()
    for lane, seq in [(0, 1), (0, 2), (1, 1)]:
        lanes.emit(producer, 0, lane, seq)
    lanes.emit(producer, 1, 1, 2, partition=0)
    lanes.emit(producer, 1, 2, 1, partition=1)
    produce(producer, Emit(lanes.outputs[1], b"camera", b"another agent's letter"))
    producer.commit_transaction(30)
    assert lanes.emitted(0, 1, 2) == {0: 2, 1: 2, 2: 1}


def test_metadata_of_the_second_source_alone_may_be_old(lanes: Lanes) -> None:
    """Somebody reset the first source's offset; what stands beside the second is older than what was emitted."""
    lanes.commit(1, 0, 1)
    producer = lanes.begin()
    for seq in (1, 2, 3):
        lanes.emit(producer, 0, 0, seq)
    producer.commit_transaction(30)
    lanes.commit(0, 0, None)
    assert lanes.emitted(0) == {0: 3}


def test_what_an_aborted_transaction_wrote_was_not_emitted(lanes: Lanes) -> None:
    """Aborted records stand in the log and count for nothing."""
    producer = lanes.begin()
    lanes.emit(producer, 0, 0, 1)
    producer.commit_transaction(30)
    producer.begin_transaction()
    lanes.emit(producer, 0, 0, 2)
    assert producer.flush(30) == 0
    producer.abort_transaction(30)
    assert lanes.emitted(0) == {0: 1}


def test_it_is_found_far_before_the_end(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other lanes' letters may be many: it is looked for further and further back."""
    monkeypatch.setattr("pipeline.runtime.outbox_position.TAIL_RECORDS", 2)
    producer = lanes.begin()
    lanes.emit(producer, 1, 2, 9, partition=0)
    for seq in range(1, 41):
        lanes.emit(producer, 1, 0, seq, partition=0)
    producer.commit_transaction(30)
    assert lanes.emitted(0, 2) == {0: 40, 2: 9}


def test_an_open_transaction_hides_nothing(lanes: Lanes) -> None:
    """Read committed ends before the first open transaction: what was committed behind it is waited for."""
    stranger, producer = lanes.begin(), lanes.begin()
    produce(stranger, Emit(lanes.outputs[0], b"till", b"not yet", partition=0))
    assert stranger.flush(30) == 0
    lanes.emit(producer, 0, 0, 4)
    producer.commit_transaction(30)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lanes.emitted, 0)
        with pytest.raises(NotYet):
            answer.result(1.0)
        stranger.abort_transaction(30)
        assert answer.result(30) == {0: 4}


@pytest.mark.parametrize(
    ("position", "said"),
    [
        (Position("ledger-1", 1, 6), "behind Kafka"),
        (Position("ledger-1", 3, 5), "behind Kafka"),
        (Position("ledger-2", 1, 5), "the ledger ledger-2"),
    ],
    ids=["more than the ledger has", "a later incarnation", "another ledger"],
)
def test_kafka_that_knows_more_refuses_the_ledger(position: Position, said: str) -> None:
    """A ledger that is behind, or another one, would decide again what was told already."""
    with pytest.raises(LedgerMismatch, match=said):
        check_position(position, LedgerIdentity("ledger-1", 2), 0, 5)


@pytest.mark.parametrize(
    ("position", "expected"),
    [(None, 0), (Position("ledger-1", 2, 5), 5), (Position("ledger-1", 1, 3), 3)],
    ids=["nothing emitted", "up to the end", "before a recovery"],
)
def test_a_ledger_that_knows_all_goes_on(position: Position | None, expected: int) -> None:
    """The rows after the position are emitted next."""
    assert check_position(position, LedgerIdentity("ledger-1", 2), 0, 5) == expected
