"""Exactly-once for money: a ledger that decides, and Kafka transactions that tell.

Theory of operation. A lane is a partition number of the co-partitioned input topics. Per round: take records, hand each
lane's to the ledger (`LaneStore.apply`: one database transaction that applies them once, moves the input offsets and
writes outbox rows; due timers go the same way), then emit in one Kafka transaction all outbox rows after the last
emitted position and commit the offsets with that position as metadata. The database is the authority: an assignment
takes the lane (raising its owner epoch, which fences every earlier owner), seeks to the database's offsets, and finds
out from Kafka how far the outbox was emitted (`outbox_position`). So a crash at any point loses nothing and doubles
nothing: what the database has applied is not applied again, what Kafka has committed is not emitted again.

No transaction is open while records are taken, so rebalance callbacks never meet one. A process in doubt ends with
exit code 70 (`transactions`), a fenced one as well; a ledger that does not belong to this Kafka refuses to start.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline import metrics
from pipeline.errors import FacepayError, LedgerMismatch
from pipeline.ports import Clock, Emit, InMessage, LaneState, LaneStore, LedgerIdentity, OutboxRow
from pipeline.runtime import admin
from pipeline.runtime.health import Health
from pipeline.runtime.lag import LagWatch
from pipeline.runtime.outbox_position import Position, check_position, emitted_positions, encode_position
from pipeline.runtime.reader import UNEXPECTED
from pipeline.runtime.taking import take
from pipeline.runtime.topics_ready import await_topics
from pipeline.runtime.transactions import Doubtful, Transactions, with_position
from pipeline.settings import Agent, Kafka
from pipeline.topics import DEADLETTER, SETTLEMENTS

log = structlog.get_logger(__name__)

NAME = "settlement"
MAX_TAKE = 500
MAX_EMIT = 1_000
IDLE_S = 0.05
TIMERS_EVERY_S = 0.1
DRAIN_S = 5.0
OFFSETS_EVERY_S = 1.0
"""Offsets without an outcome are for lag and audit only (the database is the authority), so they may wait."""


class TransactionalLoop:
    """Runs one `LaneStore`; see the module. One instance per process."""

    def __init__(
        self,
        store: LaneStore,
        *,
        kafka: Kafka,
        agent: Agent,
        health: Health,
        clock: Clock,
        group: str = "facepay-settlement",
        outputs: Sequence[str] = (SETTLEMENTS, DEADLETTER),
        max_take: int = MAX_TAKE,
    ) -> None:
        """`max_take`: most records of one round. `outputs`: every topic that outbox rows go to; the first is
        co-partitioned with the inputs."""
        self._store = store
        self._kafka = kafka
        self._agent = agent
        self._health = health
        self._clock = clock
        self._group = group
        self._outputs = tuple(outputs)
        self._max_take = max_take
        self._stop = threading.Event()
        self._owned: dict[int, LaneState] = {}
        self._emitted: dict[int, int] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._uncommitted: set[tuple[str, int]] = set()
        self._committed_at = 0.0
        self._timers_at = 0.0
        self._owing: set[int] = set()
        self._lag = LagWatch(kafka, NAME, health)
        self._identity: LedgerIdentity
        self._consumer: Consumer
        self._transactions: Transactions

    def run(self) -> int:
        """Until SIGTERM or SIGINT; returns 0 after the last round is emitted.

        Raises `LedgerMismatch`, `LedgerError` or `KafkaUnavailable` where starting again would not help; what a fresh
        process may find better (a fenced owner, a database or Kafka that fails meanwhile) ends this one with 70.
        """
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        topics = [*self._store.sources, *self._outputs]
        if not await_topics(self._kafka, topics, self._health, self._stop):
            return 0
        admin.check_lanes(self._kafka, [*self._store.sources, self._outputs[0]])
        self._identity = self._store.bind(admin.identity(self._kafka, topics))
        self._transactions = Transactions(self._kafka, self._agent, self._group)
        self._consumer = Consumer(self._consumer_settings(), logger=logging.getLogger("librdkafka"))
        self._health.set_ready("assignment", ok=False, why="no lane has been assigned yet")
        try:
            self._transactions.start()
            self._consumer.subscribe(
                list(self._store.sources), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
            )
            self._lag.start()
            while not self._stop.is_set():
                self._round()
            # What Kafka refuses now (a rebalance goes on) is emitted by the next owner: nothing is lost by leaving.
            deadline = time.monotonic() + DRAIN_S
            while not self._emit() and time.monotonic() < deadline:
                self._health.beat()
            self._consumer.close()
        except LedgerMismatch:
            raise
        except KafkaException as error:
            if error.args[0].code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own code
                raise LedgerMismatch(
                    "reading the ledger's input: Kafka does not hold the records at its offsets (retention, or another"
                    " history); bring back the newest copy of the ledger, or Kafka's records"
                ) from None
            self._die(error)
        except BaseException as error:  # noqa: BLE001 - a fresh process goes on from the database
            self._die(error)
        log.info("drained", agent=NAME)
        return 0

    def stop(self, *_: object) -> None:
        """Ends the loop after the current round; also the signal handler."""
        self._stop.set()

    def _consumer_settings(self) -> dict[str, object]:
        return {
            "bootstrap.servers": self._kafka.bootstrap,
            "group.id": self._group,
            "group.instance.id": f"{self._group}-{self._agent.instance}",
            "client.id": f"{NAME}-{self._agent.instance}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # Positions come from the database; one that Kafka does not have is an error, never a guess.
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            # Range: the same partition number of both topics goes to the same owner.
            "partition.assignment.strategy": "range",
            "session.timeout.ms": self._agent.session_timeout_ms,
            "heartbeat.interval.ms": max(300, self._agent.session_timeout_ms // 4),
            "max.poll.interval.ms": 60_000,
            "fetch.wait.max.ms": 20,
            "reconnect.backoff.max.ms": 1_000,
        }

    def _round(self) -> None:
        self._health.beat()
        messages = take(self._consumer, self._max_take, first_s=IDLE_S)
        by_lane: dict[int, list[InMessage]] = defaultdict(list)
        for message in messages:
            # A record of a lane that a rebalance inside `take` took away belongs to its next owner.
            if message.partition in self._owned:
                by_lane[message.partition].append(message)
        for lane in self._due_lanes():
            by_lane.setdefault(lane, [])
        for lane, batch in by_lane.items():
            self._apply(lane, batch)
        self._emit()

    def _due_lanes(self) -> Sequence[int]:
        if not self._owned or time.monotonic() - self._timers_at < TIMERS_EVERY_S:
            return ()
        self._timers_at = time.monotonic()
        return self._store.due_lanes(sorted(self._owned))

    def _apply(self, lane: int, batch: Sequence[InMessage]) -> None:
        now_us = self._clock()
        for message in batch:
            metrics.QUEUE_WAIT.labels(NAME).observe(max(0, now_us - message.timestamp_us) / 1e6)
            metrics.CONSUMED.labels(NAME, message.topic).inc()
        with metrics.STAGE.labels("apply").time():
            self._store.apply(lane, self._owned[lane].owner_epoch, batch)
        self._owing.add(lane)
        for message in batch:
            self._offsets[message.topic, lane] = message.offset + 1
            self._uncommitted.add((message.topic, lane))
        self._lag.finished(batch)
        if batch:
            self._health.progressed()

    def _emit(self) -> bool:
        """Emits what the outbox holds beyond the emitted positions; True when nothing is left to emit or commit."""
        batches = {lane: self._store.outbox_after(lane, self._emitted[lane], MAX_EMIT) for lane in sorted(self._owing)}
        rows = [row for batch in batches.values() for row in batch]
        waited = self._stop.is_set() or time.monotonic() - self._committed_at > OFFSETS_EVERY_S
        # The position goes with the first source's offset of every lane that emits, so it is written even where only
        # a timer fired.
        moved = {(self._store.sources[0], row.lane) for row in rows} | (self._uncommitted if rows or waited else set())
        if moved:
            last = {**self._emitted, **{row.lane: row.seq for row in rows}}
            if not self._transaction(rows, moved, last):
                return False
            self._emitted = last
            self._uncommitted -= moved
            self._committed_at = time.monotonic()
        self._owing = {lane for lane, batch in batches.items() if len(batch) == MAX_EMIT}
        return not (self._owing or (self._stop.is_set() and self._uncommitted))

    def _transaction(
        self, rows: Sequence[OutboxRow], moved: Iterable[tuple[str, int]], last: Mapping[int, int]
    ) -> bool:
        """Rows, offsets and positions in one Kafka transaction; False when it was aborted."""
        positions = {
            lane: encode_position(Position(self._identity.ledger_id, self._identity.incarnation, seq))
            for lane, seq in last.items()
        }
        offsets = {where: self._offsets[where] for where in moved}
        with metrics.STAGE.labels("emit").time():
            done = self._transactions.emit(
                [self._record(row) for row in rows], with_position(offsets, positions), self._consumer
            )
        self._health.set_ready("transactions", ok=done, why="Kafka has refused the last transaction")
        if done:
            for row in rows:
                metrics.EMITTED.labels(NAME, row.topic).inc()
        return done

    def _record(self, row: OutboxRow) -> Emit:
        """An outbox row as it goes to Kafka: with the headers that its position can be recovered from."""
        known = {name for name, _ in row.headers}
        position = (
            ("ledger_id", self._identity.ledger_id.encode()),
            ("incarnation", b"%d" % self._identity.incarnation),
            ("lane", b"%d" % row.lane),
            ("outbox_seq", b"%d" % row.seq),
        )
        headers = (*row.headers, *((name, value) for name, value in position if name not in known))
        partition = row.lane if row.topic == self._outputs[0] else None
        return Emit(row.topic, row.key, row.value, headers, partition)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        lanes = sorted({at.partition for at in partitions})
        if {(at.topic, at.partition) for at in partitions} != {(t, p) for t in self._store.sources for p in lanes}:
            # Co-partitioned they are (`check_lanes`): whoever assigned them does not know all topics yet.
            raise Doubtful(f"lanes {lanes} were assigned for some of the topics only")
        owner = f"{self._group}-{self._agent.instance}-{os.getpid()}"
        states = [self._store.acquire(lane, owner) for lane in lanes]
        # Only now, when no earlier owner can apply any more, and Kafka has ended what one had begun to emit.
        told = emitted_positions(self._kafka, consumer, lanes, self._store.sources, self._outputs)
        starts = []
        for state in states:
            emitted = check_position(told.get(state.lane), self._identity, state.lane, state.outbox_seq)
            starts += self._take_lane(consumer, state, emitted)
        consumer.assign(starts)
        self._lag.assigned(starts)
        self._health.set_ready("assignment", ok=True)
        log.info("assigned", agent=NAME, lanes=lanes, epochs={state.lane: state.owner_epoch for state in states})

    def _take_lane(self, consumer: Consumer, state: LaneState, emitted: int) -> list[TopicPartition]:
        """Owns a lane whose outbox was emitted up to `emitted`; where to read it from."""
        lane = state.lane
        starts = []
        for topic in self._store.sources:
            offset = state.offsets.get(topic)
            if offset is None:
                # This ledger has never seen the topic's lane: its history begins where Kafka's does.
                offset = consumer.get_watermark_offsets(TopicPartition(topic, lane), timeout=10)[0]
            self._offsets[topic, lane] = offset
            starts.append(TopicPartition(topic, lane, offset))
        self._owned[lane] = state
        self._emitted[lane] = emitted
        # What the last owner applied and did not emit is emitted now, and the position is written even if there is
        # none, so that the next owner need not search for it.
        self._owing.add(lane)
        self._uncommitted.add((self._store.sources[0], lane))
        return starts

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """The lanes are somebody else's, or nobody's: what is applied and not yet emitted, the next owner emits."""
        for lane in {at.partition for at in partitions}:
            self._owned.pop(lane, None)
            self._emitted.pop(lane, None)
            self._owing.discard(lane)
            for topic in self._store.sources:
                self._offsets.pop((topic, lane), None)
                self._uncommitted.discard((topic, lane))
        self._lag.taken(partitions)
        log.info("lanes_gone", agent=NAME, lanes=sorted({at.partition for at in partitions}))

    def _die(self, error: BaseException) -> None:
        fault = str(error) if isinstance(error, (FacepayError, Doubtful)) else None
        log.critical("unexpected", agent=NAME, why=fault, exc_info=None if fault else error)
        os._exit(UNEXPECTED)
