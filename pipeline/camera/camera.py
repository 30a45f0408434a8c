"""A camera: films what its source shows, and publishes it sealed, while the gateway leases it an open intent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Producer

from pipeline import metrics
from pipeline.camera.lease import Lease, LeaseSource, LeaseWatch
from pipeline.camera.outbox import FrameOutbox
from pipeline.camera.pace import Pace
from pipeline.camera.sources import Source
from pipeline.errors import KafkaUnavailable, SealError, UsageError
from pipeline.keys.frames import FrameSealer
from pipeline.ports import Clock, Emit

_CONFIRM_S = 10.0


@dataclass(frozen=True, slots=True)
class CameraReport:
    """`frames`, and their `bytes`: confirmed by Kafka. `dropped`: sealed but not confirmed, or given up for newer."""

    frames: int
    dropped: int
    bytes: int


class Camera:
    """One camera, whose name and keys `sealer` has; `rate` frames a second at most."""

    def __init__(
        self,
        *,
        sealer: FrameSealer,
        lease: LeaseSource,
        producer: Producer,
        rate: float,
        clock: Clock,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_turn` is called several times a second, as long as the camera goes round."""
        self._on_turn = on_turn
        self._sealer = sealer
        self._lease = lease
        self._producer = producer
        self._rate = rate
        self._clock = clock
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ends `run` soon, from another thread or a signal handler."""
        self._stop.set()

    def run(self, source: Source, *, seconds: float | None = None) -> CameraReport:
        """Films until the source ends, `seconds` have passed or `stop` is called; returns once each frame is confirmed
        or counted as dropped. A camera runs once.

        Raises `UsageError` (the gateway refuses the camera, or its keys are out of date), `KafkaUnavailable` (not
        one frame could be delivered) and what the source raises.
        """
        stop = self._stop
        outbox = FrameOutbox(self._producer)
        with _stopped_after(seconds, stop), LeaseWatch(self._lease, self._clock, stop) as watch:
            pace = Pace(self._rate, self._clock, watch, stop, self._on_turn)
            for sequence, (captured_at_us, jpeg) in enumerate(source.frames(pace)):
                lease = watch.at(captured_at_us)
                if lease is None:
                    metrics.CAMERA_FRAMES.labels("no_lease").inc()
                    continue
                outbox.offer(self._sealed(lease, jpeg, sequence, captured_at_us))
            stop.set()
            outbox.finish(_CONFIRM_S)
        if outbox.dropped and not outbox.confirmed:
            why = "no answer" if outbox.last_error is None else outbox.last_error.str()
            raise KafkaUnavailable(
                f"publishing frames: none of {outbox.dropped} was delivered ({why}); check Kafka's address and that "
                "`facepay topics check` finds the topic frames"
            )
        return CameraReport(outbox.confirmed, outbox.dropped, outbox.confirmed_bytes)

    def _sealed(self, lease: Lease, jpeg: bytes, sequence: int, captured_at_us: int) -> Emit:
        try:
            return self._sealer.seal(
                jpeg,
                lease.terms,
                sequence=sequence,
                captured_at_us=captured_at_us,
                trace=lease.trace,
                claim=lease.claim,
            )
        except SealError as error:
            raise UsageError(f"sealing a frame: {error.detail}; provision the camera again") from None


@contextmanager
def _stopped_after(seconds: float | None, stop: threading.Event) -> Iterator[None]:
    """Sets `stop` after so many seconds, if any."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
