"""A terminal's camera: sealed frames onto the topic, and only while an intent is open.

What it sees is a `Stand`: somebody in a scene that may change while the camera films. Frames are drawn, encoded and
sealed in a worker thread. The producer belongs to all cameras of a machine.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from confluent_kafka import KafkaError, Message, Producer

from loadtests.motion import Motion, Scene, encode_jpeg
from pipeline.keys.credentials import TerminalCredentials
from pipeline.keys.frames import FrameSealer
from pipeline.ports import Clock, Emit
from pipeline.topics import PARTITIONER
from schemas.events import PaymentTerms


class FrameSender:
    """The producer of all cameras: counts what Kafka confirmed and what it did not. A context manager."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": PARTITIONER,
                "linger.ms": 2,
                "message.max.bytes": 2_097_152,
                # A frame that could not be sent in this time shows nobody who still stands there.
                "delivery.timeout.ms": 10_000,
                "log_level": 3,
            }
        )
        self.confirmed = 0
        self.failed = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="cameras", daemon=True)

    def __enter__(self) -> FrameSender:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.flush(5)
        self._stopping.set()
        self._thread.join()

    def send(self, emit: Emit) -> None:
        """Queues a frame; a full queue drops it, as a camera does."""
        try:
            self._producer.produce(
                emit.topic, emit.value, emit.key, headers=list(emit.headers), on_delivery=self._delivered
            )
        except BufferError:
            self.failed += 1

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        del message
        if error is None:
            self.confirmed += 1
        else:
            self.failed += 1

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.1)


@dataclass(slots=True)
class Stand:
    """Who stands before the camera and how; `scene` may be changed while it films."""

    motion: Motion
    scene: Scene


@dataclass(slots=True)
class Film:
    """What a camera filmed for one intent. `eligible_us` is the capture time of the first frame in which one person
    stood close enough."""

    frames: int = 0
    size_bytes: int = 0
    first_us: int | None = None
    eligible_us: int | None = None
    pictures: dict[Scene, bytes] = field(default_factory=dict, repr=False)
    """The first frame of each scene, in the order they were filmed: the JPEG as sent."""


class Camera:
    """One camera at one terminal."""

    def __init__(self, sender: FrameSender, credentials: TerminalCredentials, clock: Clock, *, rate_fps: float) -> None:
        self._sender = sender
        self._sealer = FrameSealer(credentials)
        self._name = f"{credentials.terminal_id}-camera"
        self._clock = clock
        self._period_s = 1.0 / rate_fps

    async def film(self, terms: PaymentTerms, trace: str, stand: Stand, film: Film, done: Callable[[], bool]) -> None:
        """Sends frames until `done` or until the intent's deadline; what happened is noted in `film`."""
        started = time.monotonic()
        while not done() and self._clock() < terms.expires_at_us:
            at_s = time.monotonic() - started
            await asyncio.to_thread(self._one, terms, trace, stand, film, at_s)
            behind_s = time.monotonic() - started - film.frames * self._period_s
            await asyncio.sleep(max(0.0, -behind_s))

    def _one(self, terms: PaymentTerms, trace: str, stand: Stand, film: Film, at_s: float) -> None:
        scene, captured_at_us = stand.scene, self._clock()
        jpeg = encode_jpeg(stand.motion.frame(film.frames, at_s, scene))
        self._sender.send(
            self._sealer.seal(
                jpeg, terms, camera=self._name, sequence=film.frames, captured_at_us=captured_at_us, trace=trace
            )
        )
        film.frames += 1
        film.size_bytes += len(jpeg)
        film.first_us = film.first_us or captured_at_us
        if film.eligible_us is None and scene in {Scene.NEAR, Scene.CLOSE}:
            film.eligible_us = captured_at_us
        film.pictures.setdefault(scene, jpeg)
