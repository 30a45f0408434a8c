"""A terminal's camera: sealed frames onto the topic, and only while the gateway leases it an open intent.

What it sees is a `Stand`: somebody in a scene that may change while the camera films. Frames are drawn, encoded and
sealed in a worker thread. The producer belongs to all cameras of a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from confluent_kafka import KafkaError, Message, Producer

from loadtests.film import Filmed
from loadtests.gateway_client import LeaseClient
from loadtests.motion import Scene, encode_jpeg
from pipeline.camera.lease import Lease
from pipeline.errors import OutsideError
from pipeline.keys.credentials import CameraCredentials
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

    motion: Filmed
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


class LeaseHolder:
    """The newest lease of one camera, asked for again and again; what was granted stands until its own end."""

    _WAIT_MS = 1_000
    _AGAIN_S = 0.5
    _SOON_S = 0.02

    def __init__(self, client: LeaseClient) -> None:
        self._client = client
        self._lease: Lease | None = None

    def of(self, terms: PaymentTerms, at_us: int) -> Lease | None:
        """The lease under which a picture of that moment may be sent for that intent."""
        lease = self._lease
        return lease if lease is not None and lease.terms == terms and lease.holds(at_us) else None

    async def follow(self) -> None:
        """Asks until it is cancelled. A gateway that is down, or busy, is asked again."""
        while True:
            with contextlib.suppress(OutsideError):
                self._lease = await self._client.ask(0 if self._lease is not None else self._WAIT_MS)
            await asyncio.sleep(self._AGAIN_S if self._lease is not None else self._SOON_S)


class Camera:
    """One camera at one terminal; `leases` is asked with the same credentials."""

    _LOOK_S = 0.05

    def __init__(
        self,
        sender: FrameSender,
        leases: LeaseClient,
        credentials: CameraCredentials,
        clock: Clock,
        *,
        rate_fps: float,
    ) -> None:
        self._sender = sender
        self._leases = leases
        self._sealer = FrameSealer(credentials)
        self._clock = clock
        self._period_s = 1.0 / rate_fps

    async def film(self, terms: PaymentTerms, stand: Stand, film: Film, done: Callable[[], bool]) -> None:
        """Sends frames of that intent while the gateway leases it, until `done` or until its deadline; what happened is
        noted in `film`."""
        holder = LeaseHolder(self._leases)
        following = asyncio.create_task(holder.follow())
        started, due_s = time.monotonic(), 0.0
        try:
            while not done() and self._clock() < terms.expires_at_us:
                at_s = time.monotonic() - started
                lease = holder.of(terms, self._clock())
                if lease is None:
                    due_s = at_s
                    await asyncio.sleep(self._LOOK_S)
                    continue
                await asyncio.to_thread(self._one, lease, stand, film, at_s)
                due_s += self._period_s
                await asyncio.sleep(max(0.0, started + due_s - time.monotonic()))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _one(self, lease: Lease, stand: Stand, film: Film, at_s: float) -> None:
        """One frame, if the lease still holds when it is captured."""
        scene, captured_at_us = stand.scene, self._clock()
        if not lease.holds(captured_at_us):
            return
        jpeg = encode_jpeg(stand.motion.frame(film.frames, at_s, scene))
        self._sender.send(
            self._sealer.seal(
                jpeg,
                lease.terms,
                sequence=film.frames,
                captured_at_us=captured_at_us,
                trace=lease.trace,
                claim=lease.claim,
            )
        )
        film.frames += 1
        film.size_bytes += len(jpeg)
        film.first_us = film.first_us or captured_at_us
        if film.eligible_us is None and scene in {Scene.NEAR, Scene.CLOSE}:
            film.eligible_us = captured_at_us
        film.pictures.setdefault(scene, jpeg)
