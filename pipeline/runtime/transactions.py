"""Kafka transactions that emit outbox rows and commit offsets with the outbox position, and the watchdog over them.

What to do with an error follows from measured behaviour of librdkafka 2.16 (which lacks KIP-890): a retriable error is
answered by the same call again, one that requires an abort by an abort (the rows are still in the database), and
everything else (fenced, timed out, a commit that had to be retried) by the end of the process: a new process takes a
new producer epoch, so that a late end of the old transaction cannot hit the next one. A call can also block for ever,
past its own timeout (librdkafka 5456, 5511; a broker killed under load is enough): the watchdog ends a process whose
call is overdue, or whose transaction is open for too long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from pipeline import metrics
from pipeline.ports import Emit
from pipeline.runtime.producer import make_producer, produce
from pipeline.runtime.reader import UNEXPECTED
from pipeline.settings import Agent, Kafka

log = structlog.get_logger(__name__)

START_S = 15.0
CALL_S = 5.0
"""What a call may take before it is made again: half of the time after which Kafka aborts the transaction."""
OVERDUE_S = 2.0
"""A call that is past its own timeout by this much will not return."""
RETRY_S = 30.0
RETRY_PAUSE_S = 0.05
TIMED_OUT = frozenset({KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE})  # noqa: SLF001 - librdkafka's own codes


class Doubtful(Exception):
    """The state of a transaction is unknown: only a new process may go on."""


@dataclass(slots=True)
class Watchdog:
    """Ends the process (exit 70) when a transaction has been open for longer than `limit_s`, or a call is overdue."""

    limit_s: float
    opened_at: float | None = None
    call: tuple[str, float] | None = None
    """The call that is under way and when it will be overdue."""

    def start(self) -> None:
        """Starts the watching thread."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(min(0.5, self.limit_s / 4))
            now, opened_at, call = time.monotonic(), self.opened_at, self.call
            too_long = opened_at is not None and now - opened_at > self.limit_s
            if too_long or (call is not None and now > call[1]):
                log.critical(
                    "transaction_stuck",
                    doing=call[0] if call else None,
                    open_s=round(now - opened_at, 1) if opened_at is not None else None,
                )
                os._exit(UNEXPECTED)


class Transactions:
    """One transactional producer. Not for two threads at once."""

    def __init__(self, kafka: Kafka, agent: Agent, group: str) -> None:
        self._producer: Producer = make_producer(
            kafka,
            transactional_id=f"{group}-{agent.instance}",
            transaction_timeout_ms=agent.transaction_timeout_ms,
            # The default of 100 ms is what a back-to-back transaction would wait for the end of the last one.
            retry_backoff_ms=5,
            # A delivery that outlives its transaction could not be told from one of the next.
            delivery_timeout_ms=agent.transaction_timeout_ms,
        )
        self._watchdog = Watchdog(float(agent.watchdog_s))
        self._retried: set[str] = set()

    def start(self) -> None:
        """Takes the producer's epoch: an older process with the same id is fenced, its open transaction aborted.

        Raises `KafkaException` when Kafka does not answer.
        """
        self._watchdog.start()
        self._call("init", self._producer.init_transactions, START_S)

    def emit(self, rows: Sequence[Emit], offsets: Sequence[TopicPartition], consumer: Consumer) -> bool:
        """One transaction: all rows and all offsets, or nothing.

        False: it was aborted and may be tried again after the next poll. Raises `Doubtful` when only a new process may
        go on.
        """
        self._producer.poll(0)  # what librdkafka wants to log
        self._watchdog.opened_at = time.monotonic()
        self._retried.clear()
        try:
            why = self._attempt(rows, offsets, consumer)
            if why is not None:
                self._abort(why)
        finally:
            self._watchdog.opened_at = None
        metrics.TRANSACTIONS.labels("committed" if why is None else "aborted").inc()
        return why is None

    def _attempt(
        self, rows: Sequence[Emit], offsets: Sequence[TopicPartition], consumer: Consumer
    ) -> KafkaError | None:
        """None when committed, else why it must be aborted."""
        try:
            self._producer.begin_transaction()
            for row in rows:
                produce(self._producer, row)
            group = consumer.consumer_group_metadata()
            self._call("offsets", lambda s: self._producer.send_offsets_to_transaction(list(offsets), group, s))
            self._call("commit", self._producer.commit_transaction)
        except KafkaException as error:
            found: KafkaError = error.args[0]
            if found.fatal() or not found.txn_requires_abort():
                raise Doubtful(f"{found.name()}: {found.str()}") from error
            return found
        if "commit" in self._retried:
            raise Doubtful("a commit had to be retried")
        return None

    def _abort(self, why: KafkaError) -> None:
        try:
            self._call("abort", self._producer.abort_transaction)
        except KafkaException as error:
            raise Doubtful(f"aborting after {why.name()}: {error.args[0].name()}") from error
        log.warning("transaction_aborted", why=why.name())
        if why.code() in TIMED_OUT:
            raise Doubtful(f"aborted after {why.name()}")

    def _call(self, what: str, call: Callable[[float], object], timeout_s: float = CALL_S) -> None:
        """The same call again while the error is retriable."""
        deadline = time.monotonic() + RETRY_S
        while True:
            self._watchdog.call = (what, time.monotonic() + timeout_s + OVERDUE_S)
            try:
                call(timeout_s)
            except KafkaException as error:
                found: KafkaError = error.args[0]
                again = found.retriable() and not found.txn_requires_abort() and not found.fatal()
                if not again or time.monotonic() > deadline:
                    raise
                self._retried.add(what)
                log.warning("transaction_retry", what=what, error=found.name())
                time.sleep(RETRY_PAUSE_S)
            else:
                return
            finally:
                self._watchdog.call = None


def with_position(offsets: Mapping[tuple[str, int], int], metadata: Mapping[int, str]) -> list[TopicPartition]:
    """Offsets by (topic, lane), each with its lane's metadata, as a transaction commits them."""
    return [TopicPartition(topic, lane, offset, metadata=metadata[lane]) for (topic, lane), offset in offsets.items()]
