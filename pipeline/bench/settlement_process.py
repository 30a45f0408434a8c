"""One round of settlement, and one of a bare transactional copy, each in a process of its own.

Both start with a new group and end when every prepared record went through and the last transaction is committed. Wall
time is from the first record in hand to the closed consumer; CPU from before there is a Kafka client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from pipeline.bench.rounds import Sample, cpu_s
from pipeline.bootstrap import dead_letters, now_us
from pipeline.keys.keyring import Keyring
from pipeline.keys.receipts import sign_receipt
from pipeline.ledger.store import AGENT as NAME
from pipeline.ledger.store import SqlLaneStore
from pipeline.ports import InMessage, KafkaIdentity, LaneState, LedgerIdentity, OutboxRow
from pipeline.runtime.health import Health
from pipeline.runtime.producer import make_producer
from pipeline.runtime.transactional_loop import TransactionalLoop
from pipeline.settings import Agent, Kafka, Ledger

CALL_S = 30.0


@dataclass(frozen=True, slots=True)
class SettlePlan:
    """What to run: `payments` prepared on both sources, at most `batch` records at a time."""

    bootstrap: str
    commands: str
    verdicts: str
    settlements: str
    deadletter: str
    group: str
    payments: int
    batch: int
    keys: Path
    ledger_url: str


class Metered:
    """A `LaneStore` around the real one that notes when the first records came and calls `done` after the last."""

    done: Callable[[], None]

    def __init__(self, inner: SqlLaneStore, records: int) -> None:
        self.sources = inner.sources
        self._inner = inner
        self._left = records
        self.began_s = 0.0
        self.applies = 0

    def bind(self, kafka: KafkaIdentity) -> LedgerIdentity:
        """As the inner store."""
        return self._inner.bind(kafka)

    def acquire(self, lane: int, owner: str) -> LaneState:
        """As the inner store."""
        return self._inner.acquire(lane, owner)

    def apply(self, lane: int, owner_epoch: int, messages: Sequence[InMessage]) -> None:
        """As the inner store."""
        if messages:
            self.began_s = self.began_s or time.perf_counter()
            self.applies += 1
        self._inner.apply(lane, owner_epoch, messages)
        self._left -= len(messages)
        if self._left <= 0:
            self.done()

    def due_lanes(self, lanes: Sequence[int]) -> Sequence[int]:
        """As the inner store."""
        return self._inner.due_lanes(lanes)

    def outbox_after(self, lane: int, seq: int, limit: int) -> Sequence[OutboxRow]:
        """As the inner store."""
        return self._inner.outbox_after(lane, seq, limit)

    def outbox_seq(self, lane: int) -> int:
        """As the inner store."""
        return self._inner.outbox_seq(lane)


def settle(plan: SettlePlan) -> Sample:
    """The real loop over the real ledger; `parts["applies"]` counts its database transactions."""
    keyring = Keyring.open(plan.keys)
    receipt_key = keyring.secret("receipt")

    def sign(fields: Mapping[str, str | int | None]) -> str:
        return sign_receipt(receipt_key, fields)

    # As `agents.settlement` has it, on this round's topics.
    store = SqlLaneStore(
        plan.ledger_url,
        confirmation_key=keyring.secret("confirmation"),
        receipt_signer=sign,
        payer_limit_minor=Ledger().payer_limit_minor,
        dead=dead_letters(keyring, NAME).emit,
        commands=plan.commands,
        verdicts=plan.verdicts,
        settlements=plan.settlements,
    )
    metered = Metered(store, 2 * plan.payments)
    loop = TransactionalLoop(
        metered,
        kafka=Kafka(bootstrap=plan.bootstrap),
        agent=Agent(),
        health=Health(NAME),
        clock=now_us,
        group=plan.group,
        outputs=(plan.settlements, plan.deadletter),
        max_take=plan.batch,
    )
    metered.done = loop.stop
    used = cpu_s()
    loop.run()
    ended = time.perf_counter()
    used = cpu_s() - used
    store.close()
    return Sample(plan.payments, ended - metered.began_s, used, {"applies": float(metered.applies)})


def copy(plan: SettlePlan) -> Sample:
    """Every record of both sources to the output, `batch` records and their offsets per transaction, nothing else."""
    kafka = Kafka(bootstrap=plan.bootstrap)
    used = cpu_s()
    # The same settings as the loop's producer and consumer: a worse baseline would be no baseline.
    producer = make_producer(kafka, transactional_id=plan.group, retry_backoff_ms=5)
    consumer = Consumer(
        {
            "bootstrap.servers": plan.bootstrap,
            "group.id": plan.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "range",
            "fetch.wait.max.ms": 20,
        }
    )
    producer.init_transactions(CALL_S)
    consumer.subscribe([plan.commands, plan.verdicts])
    began, transactions, left = 0.0, 0, 2 * plan.payments
    while left > 0:
        records = [record for record in consumer.consume(plan.batch, 0.05) if record.error() is None]
        if not records:
            continue
        began = began or time.perf_counter()
        producer.begin_transaction()
        offsets: dict[tuple[str, int], int] = {}
        for record in records:
            topic, partition, offset = record.topic() or "", record.partition() or 0, record.offset() or 0
            producer.produce(plan.settlements, record.value(), key=record.key(), partition=partition)
            offsets[topic, partition] = offset + 1
        positions = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), CALL_S)
        producer.commit_transaction(CALL_S)
        transactions += 1
        left -= len(records)
    consumer.close()
    return Sample(plan.payments, time.perf_counter() - began, cpu_s() - used, {"transactions": float(transactions)})
