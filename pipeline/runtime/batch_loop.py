"""At-least-once in batches on confluent-kafka: the embedding agent's way to meet Kafka.

Theory of operation. One thread consumes; one worker thread runs the handler, at most `DEPTH` batches ahead, so that the
models never wait for the network. A `PreparingHandler` opens and decodes in a thread of its own, one batch ahead of the
worker, so that the models never wait for pixels either. Batches are finished in order: results are sent, *every
delivery is confirmed*, and only then are the batch's offsets stored for the next commit.

Batching is work-conserving: with nothing in flight whatever is there goes at once. Behind a batch in the worker the
next one may wait `wait_ms` for more records, which costs nobody anything. Where more comes than small batches can
carry, what waits in the meantime makes the next ones larger.

A record that cannot be processed goes to the dead letter, its neighbours go on. A partition that is taken away is
drained first; one that was lost is forgotten (its records become duplicates, never losses). At assignment the records
just before the committed offset are shown to the handler again (`restore`), for what it must remember and nothing else.
Anything unexpected ends the process with exit code 70: a supervisor starts it again, from the last commit.
"""

from __future__ import annotations

import collections
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.errors import KafkaUnavailable
from pipeline.ports import BatchHandler, Clock, Emit, HandlerResult, InMessage, PreparingHandler
from pipeline.runtime.batches import Batches
from pipeline.runtime.deadletters import DeadLetters
from pipeline.runtime.health import Health
from pipeline.runtime.lag import LagWatch, ask_committed
from pipeline.runtime.producer import make_producer, produce
from pipeline.runtime.reader import UNEXPECTED
from pipeline.runtime.restore import recent_records
from pipeline.runtime.taking import take
from pipeline.runtime.topics_ready import await_topics
from pipeline.settings import Agent, Kafka

log = structlog.get_logger(__name__)

DEPTH = 2
LOOK_S = 0.005
"""How often more records are looked for while the worker has only one batch."""
COMMIT_MS = 100
"""A process that is killed does again what it finished in this time, and what was in flight."""
CONFIRM_S = 40.0
"""Longest wait for the confirmation of one batch; longer than the producer's own delivery timeout."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch in the worker."""

    messages: Sequence[InMessage]
    results: Future[Sequence[HandlerResult]]


class BatchLoop:
    """Runs one `BatchHandler`; see the module. One instance per process."""

    def __init__(
        self,
        handler: BatchHandler,
        *,
        kafka: Kafka,
        agent: Agent,
        dead: DeadLetters,
        health: Health,
        clock: Clock,
        group: str | None = None,
        max_batch: int = 64,
        wait_ms: int = 2,
        restore: bool = False,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """`wait_ms`: longest wait of a batch for more than its first record, while the worker is busy with another.
        Nothing is consumed before `ready`."""
        self._handler = handler
        self._kafka = kafka
        self._agent = agent
        self._health = health
        self._clock = clock
        self._group = group or f"facepay-{handler.name}"
        self._max_batch = max_batch
        self._fill_s = wait_ms / 1000
        self._restore = restore
        self._ready = ready
        self._stop = threading.Event()
        self._flights: collections.deque[_Flight] = collections.deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=handler.name)
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix=f"{handler.name}-prepare")
        self._producer: Producer
        self._consumer: Consumer
        self._batches = Batches(handler.name, handler.source, dead, clock)
        self._lag = LagWatch(kafka, handler.name, health)

    def run(self) -> int:
        """Until SIGTERM or SIGINT; returns 0 after a drain. Raises `KafkaUnavailable` when the topic does not exist."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        if not await_topics(self._kafka, [self._handler.source], self._health, self._stop):
            return 0
        self._health.set_ready("handler", ok=False, why="what the handler needs is not loaded yet")
        while not self._ready() and not self._stop.wait(0.05):
            self._health.beat()
        self._health.set_ready("handler", ok=True)
        self._producer = make_producer(self._kafka)
        self._consumer = Consumer(self._consumer_settings(), logger=logging.getLogger("librdkafka"))
        self._consumer.subscribe(
            [self._handler.source], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        self._health.set_ready("assignment", ok=False, why="no partition has been assigned yet")
        self._lag.start()
        try:
            while not self._stop.is_set():
                self._step()
            self._finish(everything=True)
            self._commit()
            self._consumer.close()
            self._producer.flush(10)
        except BaseException as error:  # noqa: BLE001 - whatever it is, a fresh process starts from the last commit
            self._die(error)
        log.info("drained", agent=self._handler.name)
        return 0

    def stop(self, *_: object) -> None:
        """Ends the loop after a drain; also the signal handler."""
        self._stop.set()

    def _consumer_settings(self) -> dict[str, object]:
        return {
            "bootstrap.servers": self._kafka.bootstrap,
            "group.id": self._group,
            # A stable name: a restart within the session takes its partitions back at once.
            "group.instance.id": f"{self._group}-{self._agent.instance}",
            "client.id": f"{self._handler.name}-{self._agent.instance}",
            "enable.auto.offset.store": False,
            "enable.auto.commit": True,
            "auto.commit.interval.ms": COMMIT_MS,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": self._agent.session_timeout_ms,
            "heartbeat.interval.ms": max(300, self._agent.session_timeout_ms // 4),
            "max.poll.interval.ms": 60_000,
            "fetch.wait.max.ms": 20,
            # The default of 10 s is how long a broker that is back may stay unseen.
            "reconnect.backoff.max.ms": 1_000,
            "on_commit": self._committed,
        }

    def _step(self) -> None:
        self._health.beat()
        if len(self._flights) < DEPTH:
            # Work-conserving: with a batch in flight only look, with none wait for the first record.
            first_s, fill_s = (0.0, self._fill_s) if self._flights else (0.05, 0.0)
            taken = take(self._consumer, self._max_batch, first_s=first_s, fill_s=fill_s)
            self._take(taken)
            if self._flights and not taken:
                # Looking again at once would take a core from the models; the worker's result ends this early.
                wait([self._flights[0].results], timeout=LOOK_S)
        else:
            wait([self._flights[0].results], timeout=1.0)
        self._finish(everything=False)

    def _take(self, messages: Sequence[InMessage]) -> None:
        if not messages:
            return
        self._batches.taken(messages)
        self._flights.append(_Flight(messages, self._submit(messages)))

    def _submit(self, messages: Sequence[InMessage]) -> Future[Sequence[HandlerResult]]:
        """A batch to the worker, by way of the preparing thread where the handler has work for it."""
        handler = self._handler
        if not isinstance(handler, PreparingHandler):
            return self._worker.submit(handler.process, messages)
        prepared = self._preparer.submit(handler.prepare, messages)
        return self._worker.submit(lambda: handler.process_prepared(messages, prepared.result()))

    def _alone(self, work: Callable[[], None]) -> None:
        """Runs `work` when everything submitted so far is done, with nobody else in the handler; returns after it."""
        # The preparing thread is behind its last batch then, and waits while the worker does the work behind its own.
        self._preparer.submit(lambda: self._worker.submit(work).result()).result()

    def _finish(self, *, everything: bool) -> None:
        """Batches in order: results sent, each delivery confirmed, then offsets stored."""
        while self._flights and (everything or self._flights[0].results.done()):
            flight = self._flights.popleft()
            results = flight.results.result()
            emits = self._batches.outcome(flight.messages, results)
            self._send_and_confirm(emits)
            self._store(flight.messages)
            self._health.progressed()

    def _send_and_confirm(self, emits: Sequence[Emit]) -> None:
        """Returns when every record is on Kafka; anything else ends the process before an offset is stored."""
        waiting = [len(emits)]

        def confirmed(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                self._die(KafkaException(error))
            waiting[0] -= 1

        for emit in emits:
            produce(self._producer, emit, confirmed)
        deadline = time.monotonic() + CONFIRM_S
        while waiting[0]:
            self._producer.poll(0.02)
            self._health.beat()
            if time.monotonic() > deadline:
                raise KafkaUnavailable(f"sending {len(emits)} records: {waiting[0]} unconfirmed after {CONFIRM_S} s")
        self._batches.confirmed(emits)

    def _store(self, messages: Sequence[InMessage]) -> None:
        owned = {(t.topic, t.partition) for t in self._consumer.assignment()}
        last = {(m.topic, m.partition): m for m in messages}
        offsets = [TopicPartition(topic, p, m.offset + 1) for (topic, p), m in last.items() if (topic, p) in owned]
        if offsets:
            self._consumer.store_offsets(offsets=offsets)
        self._lag.finished(last.values())

    def _commit(self) -> None:
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            # Nothing stored since the last commit is the usual case; anything else only means duplicates.
            log.debug("commit", agent=self._handler.name, why=error.args[0].name())

    def _committed(self, error: KafkaError | None, _: Sequence[TopicPartition]) -> None:
        if error is not None:
            log.warning("commit_failed", agent=self._handler.name, error=error.name())

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # What is in flight belongs to earlier assignments. Finished now, while only kept partitions are owned, it
        # cannot set back what another owner has committed since.
        self._finish(everything=True)
        committed = ask_committed(consumer, partitions)
        for at in committed:
            if self._restore and at.offset >= 0:
                since_us = self._clock() - self._agent.restore_window_s * 1_000_000
                records = recent_records(self._kafka, at.topic, at.partition, at.offset, since_us)
                self._alone(partial(self._handler.restore, at.partition, records))
        self._lag.assigned(committed)
        self._health.set_ready("assignment", ok=True)
        log.info("assigned", agent=self._handler.name, partitions=[t.partition for t in partitions])

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Drain before the partitions go: nothing in flight is done twice without need."""
        self._finish(everything=True)
        self._commit()
        self._forget(partitions, "revoked")

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already: what is in flight becomes a duplicate, never a loss."""
        self._forget(partitions, "lost")

    def _forget(self, partitions: list[TopicPartition], how: str) -> None:
        for at in partitions:
            self._alone(partial(self._handler.forget, at.partition))
        self._lag.taken(partitions)
        log.info("partitions_gone", agent=self._handler.name, how=how, partitions=[t.partition for t in partitions])

    def _die(self, error: BaseException) -> None:
        log.critical("unexpected", agent=self._handler.name, exc_info=error)
        os._exit(UNEXPECTED)
