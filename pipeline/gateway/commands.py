"""How a command reaches Kafka: one idempotent producer on a thread, a future per command that is done when Kafka
confirmed it.

A command that is not confirmed in time is given up by the producer at the same moment (`delivery.timeout.ms`), so it is
not sent minutes after its terminal was told that nobody knows. Whether it was accepted is then unknown: the same
command sent again has the same event id and changes nothing twice.

Whether Kafka can be reached is known from the client's own report, and asked again until it can.
"""

from __future__ import annotations

import asyncio
import os
import threading

import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from pipeline import metrics
from pipeline.runtime.producer import make_producer
from pipeline.settings import Kafka
from pipeline.topics import COMMANDS
from schemas.codec import encode
from schemas.events import Command

log = structlog.get_logger()

EXIT_FATAL = 70


class NotConfirmed(Exception):
    """Kafka did not confirm in time, or refused: the command may or may not count."""


class CommandSender:
    """Sends commands; `timeout_s` is how long one may wait for its confirmation."""

    def __init__(self, kafka: Kafka, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._down = threading.Event()
        self._stopping = threading.Event()
        self._producer = make_producer(
            kafka, error_cb=self._on_error, delivery_timeout_ms=int(timeout_s * 1_000), linger_ms=0
        )
        self._thread = threading.Thread(target=self._serve, name="gateway-commands", daemon=True)

    def start(self) -> None:
        """Begins to serve deliveries."""
        self._thread.start()

    def stop(self) -> None:
        """Waits for what was queued, at most the confirmation's time, and ends."""
        self._producer.flush(self._timeout_s)
        self._stopping.set()
        self._thread.join()

    @property
    def reachable(self) -> bool:
        """Whether Kafka answered when last heard of."""
        return not self._down.is_set()

    async def send(self, command: Command) -> None:
        """Returns when Kafka has confirmed the command; raises `NotConfirmed`."""
        loop = asyncio.get_running_loop()
        confirmed: asyncio.Future[None] = loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if confirmed.done():
                return
            if error is None:
                confirmed.set_result(None)
            else:
                confirmed.set_exception(NotConfirmed(error.name()))

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            del message
            if error is None:
                self._down.clear()
            loop.call_soon_threadsafe(settle, error)

        try:
            self._producer.produce(
                COMMANDS,
                encode(command),
                command.terminal_id.encode(),
                headers=[("traceparent", command.trace.encode())],
                on_delivery=on_delivery,
            )
        except (BufferError, KafkaException) as error:
            raise NotConfirmed(type(error).__name__) from None
        # The producer reports within `delivery.timeout.ms`; a little longer here lets its own words come first.
        done, _ = await asyncio.wait((confirmed,), timeout=self._timeout_s * 1.1)
        if not done:
            raise NotConfirmed("no report in time")
        confirmed.result()
        metrics.EMITTED.labels("gateway", COMMANDS).inc()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)
            if self._down.is_set():
                self._probe()

    def _probe(self) -> None:
        """Asks whether Kafka is back, so that readiness returns without a command to carry the news."""
        try:
            self._producer.list_topics(COMMANDS, timeout=0.5)
        except KafkaException:
            return
        self._down.clear()
        log.info("Kafka answers again")

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            # An idempotent producer that lost its place cannot be used again; a new process begins a new one.
            log.error("the producer of commands ended", error=error.name())
            os._exit(EXIT_FATAL)
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._down.is_set():  # noqa: SLF001 - its public name
            self._down.set()
            log.warning("Kafka cannot be reached")
