"""Frames on their way to Kafka: a camera never waits, and never keeps more than a moment of pictures.

At most `in_flight` frames are handed to the producer unconfirmed and at most `waiting` behind them. When Kafka is slow
the oldest waiting frame is dropped, since the newest picture is the one that helps a payer; each drop is counted.
"""

from __future__ import annotations

import time
from collections import deque

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline import metrics
from pipeline.errors import KafkaUnavailable
from pipeline.ports import Emit


class FrameOutbox:
    """Used from one thread. `confirmed`, `confirmed_bytes`, `dropped`: what became of the frames offered so far."""

    def __init__(self, producer: Producer, *, in_flight: int = 16, waiting: int = 16) -> None:
        self._producer = producer
        self._max_in_flight = in_flight
        self._max_waiting = waiting
        self._waiting: deque[Emit] = deque()
        self._in_flight = 0
        self.confirmed = 0
        self.confirmed_bytes = 0
        self.dropped = 0
        self.last_error: KafkaError | None = None

    def offer(self, frame: Emit) -> None:
        """Takes a frame, dropping the oldest waiting one if there is no room. Raises `KafkaUnavailable` when the
        producer can never send again."""
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popleft()
            self._drop()
        self._waiting.append(frame)
        self.pump(0)

    def pump(self, wait_s: float) -> None:
        """Takes confirmations, waiting up to `wait_s` for one, and hands over what there is room for."""
        self._producer.poll(wait_s)
        while self._waiting and self._in_flight < self._max_in_flight:
            frame = self._waiting.popleft()
            try:
                self._producer.produce(
                    frame.topic, frame.value, key=frame.key, headers=list(frame.headers), on_delivery=self._delivered
                )
            except BufferError:
                self._waiting.appendleft(frame)
                return
            except KafkaException as error:
                raise KafkaUnavailable(f"publishing frames to {frame.topic}: {error.args[0].str()}") from None
            self._in_flight += 1

    def finish(self, timeout_s: float) -> None:
        """Waits until every frame is confirmed or has failed; what is not after `timeout_s` counts as dropped."""
        deadline = time.monotonic() + timeout_s
        while (self._waiting or self._in_flight) and time.monotonic() < deadline:
            self.pump(0.05)
        for _ in range(len(self._waiting) + self._in_flight):
            self._drop()
        self._waiting.clear()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        self._in_flight -= 1
        if error is not None:
            self.last_error = error
            self._drop()
            return
        self.confirmed += 1
        self.confirmed_bytes += len(message.value() or b"")
        metrics.CAMERA_FRAMES.labels("published").inc()

    def _drop(self) -> None:
        self.dropped += 1
        metrics.CAMERA_FRAMES.labels("dropped").inc()
