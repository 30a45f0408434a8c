"""At-least-once on Faust: how agents of rules and small events meet Kafka; the port and the promises of `batch_loop`.

Theory of operation. Faust brings the partitions and their records, nothing more: no tables, no typed topics (a record
that does not decode would be acknowledged), no web server, no `take` (it acknowledges a batch that raised). The agent
coroutine only moves events into a short queue; a dispatcher takes what is there, without waiting for more, and runs
the handler in a thread, at most `DEPTH` batches ahead; one finisher, in order, sends the results, *awaits each
delivery* and only then acknowledges the batch. Faust commits what is acknowledged without a hole, every `COMMIT_S`.

When partitions are taken away Faust drops what the agent has not begun and waits for the rest (`stream_wait_empty`);
the same way SIGTERM drains. Anything unexpected ends the process with exit code 70 and a supervisor starts it again: a
restarted coroutine inside a living process would not replay what it held.

aiokafka's producer places keys as Java does and keeps one request per partition in flight, so order holds on a retry.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast

import faust
import structlog
from confluent_kafka import TopicPartition
from faust.types import TP, EventT, StreamT

from pipeline.ports import BatchHandler, Clock, Emit, HandlerResult, InMessage
from pipeline.runtime.batches import Batches
from pipeline.runtime.deadletters import DeadLetters
from pipeline.runtime.health import Health
from pipeline.runtime.lag import LagWatch, committed_offsets
from pipeline.runtime.reader import UNEXPECTED
from pipeline.runtime.restore import recent_records
from pipeline.runtime.topics_ready import await_topics
from pipeline.settings import Agent, Kafka

log = structlog.get_logger(__name__)

DEPTH = 2
COMMIT_S = 0.25
LOOK_S = 0.5
DRAIN_S = 30.0
"""Longest drain after SIGTERM; what is not acknowledged by then is done again by the next owner."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch in the worker thread."""

    stream: StreamT[Any]
    events: Sequence[EventT[Any]]
    messages: Sequence[InMessage]
    results: Awaitable[Sequence[HandlerResult]]


class FaustWorker:
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
        wait_ms: int = 0,
        restore: bool = False,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """`wait_ms`: longest wait for a batch to fill once its first record is there. Nothing is consumed before
        `ready`."""
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=handler.name)
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
        self._health.set_ready("assignment", ok=False, why="no partition has been assigned yet")
        self._lag.start()
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - whatever it is, a fresh process starts from the last commit
            self._die(error)
        self._worker.shutdown()
        log.info("drained", agent=self._handler.name)
        return 0

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Ends the worker after a drain; also the signal handler."""
        self._stop.set()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self) -> None:
        self._inbox: asyncio.Queue[tuple[StreamT[Any], EventT[Any]]] = asyncio.Queue(self._max_batch)
        self._flights: asyncio.Queue[_Flight] = asyncio.Queue()
        self._depth = asyncio.Semaphore(DEPTH)
        self._finished: dict[TP, int] = {}
        self._prepared = asyncio.Event()
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._stop.is_set():
            self._stopping.set()
        self._app = self._make_app()
        tasks = [asyncio.create_task(self._forever(work)) for work in (self._dispatch, self._finish, self._look)]
        await self._app.start()
        await self._app.maybe_start_producer()
        await self._stopping.wait()
        await asyncio.wait_for(self._app.stop(), DRAIN_S)
        for task in tasks:
            task.cancel()

    def _make_app(self) -> faust.App:
        app = _App(
            self._group,
            broker=f"kafka://{self._kafka.bootstrap}",
            env_prefix="FACEPAY_FAUST_",  # without one, a BROKER_URL in the environment would win
            loop=asyncio.get_running_loop(),
            web_enabled=False,
            worker_redirect_stdouts=False,
            key_serializer="raw",
            value_serializer="raw",
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            consumer_auto_offset_reset="earliest",
            # A stable name: a restart within the session takes its partitions back at once.
            consumer_group_instance_id=f"{self._group}-{self._agent.instance}",
            broker_client_id=f"{self._handler.name}-{self._agent.instance}",
            broker_session_timeout=self._agent.session_timeout_ms / 1000,
            broker_heartbeat_interval=max(0.3, self._agent.session_timeout_ms / 4000),
            broker_rebalance_timeout=20.0,
            broker_request_timeout=max(30.0, self._agent.session_timeout_ms / 1000 + 1),
            broker_max_poll_interval=120.0,
            broker_commit_interval=COMMIT_S,
            producer_acks=-1,
            producer_request_timeout=self._kafka.request_timeout_ms / 1000,
            producer_linger=0.002,
            producer_max_batch_size=1 << 18,
            stream_buffer_maxsize=2048,
            stream_wait_empty=True,
            stream_ack_exceptions=False,
            stream_ack_cancelled_tasks=False,
        )
        source = app.topic(self._handler.source, key_type=bytes, value_type=bytes)
        app.agent(source, name=self._handler.name)(self._take)
        app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]  # mypy sees no `signal` in `**`
        app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]  # as above
        app.finalize()
        return app

    async def _take(self, stream: StreamT[Any]) -> None:
        """The Faust agent: moves events on, acknowledges nothing. It must not end while the app runs."""
        unacknowledged = cast("faust.Stream[Any]", stream).noack()
        try:
            async for event in unacknowledged.events():
                await self._inbox.put((unacknowledged, event))
        except BaseException as error:
            if not self._app.should_stop:
                self._die(error)
            raise

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            while True:
                await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - nothing may be acknowledged that was not done
            self._die(error)

    async def _dispatch(self) -> None:
        """One batch: work-conserving, it takes what is there when a place is free."""
        await self._depth.acquire()
        taken = [await self._inbox.get()]
        await self._prepared.wait()
        if self._fill_s and self._inbox.qsize() < self._max_batch - 1:
            await asyncio.sleep(self._fill_s)
        while len(taken) < self._max_batch and not self._inbox.empty():
            taken.append(self._inbox.get_nowait())
        events = [event for _, event in taken]
        messages = [_in_message(event) for event in events]
        self._batches.taken(messages)
        results = asyncio.get_running_loop().run_in_executor(self._worker, self._handler.process, messages)
        self._flights.put_nowait(_Flight(taken[0][0], events, messages, results))

    async def _finish(self) -> None:
        """The oldest batch: results sent, each delivery awaited, then acknowledged."""
        flight = await self._flights.get()
        emits = self._batches.outcome(flight.messages, await flight.results)
        await self._send_and_confirm(emits)
        for event in flight.events:
            await flight.stream.ack(event)
            self._finished[event.message.tp] = event.message.offset + 1
        self._batches.confirmed(emits)
        self._lag.finished({(m.topic, m.partition): m for m in flight.messages}.values())
        self._health.progressed()
        self._depth.release()

    async def _send_and_confirm(self, emits: Sequence[Emit]) -> None:
        """Returns when every record is on Kafka; anything else raises before anything is acknowledged."""
        producer = self._app.producer
        deliveries = [
            await producer.send(e.topic, e.key, e.value, e.partition, None, list(e.headers) or None) for e in emits
        ]
        await asyncio.gather(*deliveries)

    async def _look(self) -> None:
        """Whether Faust still goes round: an app that crashed, or a group coordinator given up for dead, looks quite
        alive from outside."""
        if self._app.crashed:
            raise self._app.crash_reason or RuntimeError("Faust crashed and did not say why")
        self._health.beat()
        dead = _coordinator_dead(self._app)
        self._health.set_ready("coordinator", ok=not dead, why="the group's coordinator is gone")
        await asyncio.sleep(LOOK_S)

    async def _assigned(self, _: object, *given: set[TP], **__: object) -> None:
        """Runs after each rebalance with all that this worker has now; nothing new is processed before it is done."""
        partitions = _partitions(given[0])
        loop = asyncio.get_running_loop()
        committed = await loop.run_in_executor(None, committed_offsets, self._kafka, self._group, partitions)
        if self._restore:
            await loop.run_in_executor(self._worker, self._restore_memory, committed)
        self._lag.assigned(committed)
        self._prepared.set()
        self._health.set_ready("assignment", ok=True)
        log.info("assigned", agent=self._handler.name, partitions=[t.partition for t in partitions])

    def _restore_memory(self, committed: Sequence[TopicPartition]) -> None:
        since_us = self._clock() - self._agent.restore_window_s * 1_000_000
        for at in committed:
            if at.offset >= 0:
                records = recent_records(self._kafka, at.topic, at.partition, at.offset, since_us)
                self._handler.restore(at.partition, records)

    async def _revoked(self, __: object, *given: set[TP], **___: object) -> None:
        """Runs after what was in flight is done: Faust has waited for it.

        Before it waited it forgot what had been acknowledged since its last commit, so that would be done again. The
        finisher knows: it acknowledges in order, and nothing is in flight now.
        """
        self._prepared.clear()
        finished, self._finished = self._finished, {}
        await self._app.consumer._commit_offsets(finished)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
        partitions = _partitions(given[0])
        self._lag.taken(partitions)
        for at in partitions:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._handler.forget, at.partition)
        log.info("partitions_gone", agent=self._handler.name, partitions=[t.partition for t in partitions])

    def _die(self, error: BaseException) -> None:
        log.critical("unexpected", agent=self._handler.name, exc_info=error)
        os._exit(UNEXPECTED)


class _App(faust.App):
    """Faust without the folders that it makes in the working directory for tables: there are none."""

    def _create_directories(self) -> None:
        """Nothing to make."""


def _in_message(event: EventT[Any]) -> InMessage:
    """A Faust event as the parts see it: the bytes as they came."""
    message = event.message
    pairs: Iterable[tuple[str, bytes | str]] = message.headers or ()  # type: ignore[assignment]  # pairs from aiokafka
    headers = tuple((name, value.encode() if isinstance(value, str) else value) for name, value in pairs)
    at_us = round(message.timestamp * 1_000_000) if message.timestamp else 0
    return InMessage(message.topic, message.partition, message.offset, message.key, message.value, headers, at_us)


def _partitions(given: Iterable[TP]) -> list[TopicPartition]:
    """What Faust's signals carry, in order."""
    return [TopicPartition(tp.topic, tp.partition) for tp in sorted(given)]


def _coordinator_dead(app: faust.App) -> bool:
    """aiokafka says so nowhere in public; during an outage its assignment stays as it was."""
    consumer = getattr(getattr(app.consumer, "_thread", None), "_consumer", None)
    given_up = getattr(getattr(consumer, "_coordinator", None), "_coordinator_dead_fut", None)
    return given_up is None or bool(given_up.done())
