"""A camera between a real HTTP server and the real Kafka: it films what is leased, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from pipeline.camera import camera as camera_module
from pipeline.camera.camera import Camera, CameraReport
from pipeline.camera.lease import GatewayLease
from pipeline.camera.outbox import FrameOutbox
from pipeline.camera.pace import Pace
from pipeline.errors import KafkaUnavailable, UsageError
from pipeline.keys import frames as frames_module
from pipeline.keys.credentials import CameraCredentials, provision_camera
from pipeline.keys.devices import Camera as Device
from pipeline.keys.devices import DeviceRegistry
from pipeline.keys.frames import FrameSealer, KeyringFrameOpener
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from pipeline.ports import Emit, OpenedFrame
from pipeline.runtime.producer import make_producer
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from tests.integration.camera.conftest import LeaseServer, now_us
from tests.stack import create_topics, unique, wait_until

JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"


class Numbers:
    """A source that shows its number, 50 a second, whether or not anybody looks."""

    def __init__(self) -> None:
        self.shown = 0

    def frames(self, pace: Pace) -> Iterator[tuple[int, bytes]]:
        while pace.wait_until(pace.now_us() + 20_000):
            self.shown += 1
            yield pace.now_us(), JPEG + str(self.shown).encode()


class Till:
    """A lane with its keys, a topic of its own for frames, and a camera that runs in a thread."""

    def __init__(self, bootstrap: str, folder: Path, gateway: LeaseServer, topic: str) -> None:
        self.kafka = Kafka(bootstrap=bootstrap)
        self.topic = topic
        self.keyring = Keyring.create(folder)
        self.registry = TerminalRegistry(folder)
        self.registry.add(Terminal("t-1", "shop", "payee-1", "CNY"))
        self.devices = DeviceRegistry(folder)
        self.credentials = provision_camera(self.keyring, self.devices.add(Device("cam-1", "t-1")), [1])
        gateway.token = self.credentials.token
        self.gateway = gateway
        self.source = Numbers()
        self.leases: list[GatewayLease] = []
        self.report: CameraReport | None = None
        self.error: Exception | None = None

    def camera(self, credentials: CameraCredentials | None = None) -> Camera:
        held = credentials or self.credentials
        self.leases.append(GatewayLease(self.gateway.url, held))
        return Camera(
            sealer=FrameSealer(held),
            lease=self.leases[-1],
            producer=make_producer(self.kafka),
            rate=50,
            clock=now_us,
        )

    def start(self, camera: Camera, **options: float) -> threading.Thread:
        def run() -> None:
            try:
                self.report = camera.run(self.source, **options)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.error = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def published(self) -> Sequence[OpenedFrame]:
        """Every frame on the topic, opened, in order."""
        opener = KeyringFrameOpener(
            self.keyring, self.registry, cameras=self.devices.get, max_age_ms=600_000, max_skew_ms=0
        )
        return [opener.open(m, now_us()) for m in read_topic(self.kafka, self.topic, read_committed=False)]

    def count(self) -> int:
        return sum(1 for _ in read_topic(self.kafka, self.topic, read_committed=False))


@pytest.fixture
def till(kafka: str, tmp_path: Path, gateway: LeaseServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Till]:
    topic = unique("frames")
    create_topics(kafka, {topic: 2})
    monkeypatch.setattr(frames_module, "FRAMES", topic)
    till = Till(kafka, tmp_path / "keys", gateway, topic)
    yield till
    for lease in till.leases:
        lease.close()


def test_frames_only_while_an_intent_is_open(till: Till) -> None:
    """Nothing before the intent, nothing after it: every published frame opens, was captured within the lease, and the
    report counts what Kafka confirmed."""
    camera = till.camera()
    running = till.start(camera)
    wait_until(lambda: till.source.shown > 20, 10, "a source that shows")
    assert till.count() == 0
    terms = till.gateway.open(0.6)
    wait_until(lambda: till.count() > 5, 10, "frames")
    wait_until(lambda: now_us() > terms.expires_at_us, 5, "the end of the intent")
    shown = till.source.shown
    wait_until(lambda: till.source.shown > shown + 20, 10, "a source that shows")
    camera.stop()
    running.join(10)
    frames = till.published()
    assert till.report == CameraReport(len(frames), 0, sum(len(f.jpeg) + 28 for f in frames))
    assert all((frame.terms, frame.camera) == (terms, "cam-1") for frame in frames)
    assert all(terms.opened_at_us <= frame.captured_at_us <= terms.expires_at_us for frame in frames)
    sequence = [frame.sequence for frame in frames]
    assert sequence == list(range(sequence[0], sequence[0] + len(frames)))


def test_a_lease_ends_at_its_own_time_without_the_gateway(till: Till) -> None:
    """A camera that loses the gateway stops when what it was granted runs out, though the intent goes on."""
    camera = till.camera()
    running = till.start(camera)
    terms = till.gateway.open(30, camera_seconds=0.5)
    until_us = till.gateway.until_us
    wait_until(lambda: till.count() > 3, 10, "frames")
    till.gateway.status = 503
    wait_until(lambda: now_us() > until_us + 300_000, 5, "the end of the lease")
    camera.stop()
    running.join(15)
    frames = till.published()
    assert terms.expires_at_us > until_us
    assert max(frame.captured_at_us for frame in frames) <= until_us


def test_a_cancelled_intent_stops_the_camera(till: Till) -> None:
    """When the gateway no longer has an open intent, filming ends within a second, long before the lease."""
    camera = till.camera()
    running = till.start(camera)
    till.gateway.open(60)
    wait_until(lambda: till.count() > 3, 10, "frames")
    till.gateway.terms = None
    cancelled_at_us = now_us()
    wait_until(lambda: now_us() > cancelled_at_us + 1_200_000, 5, "some time")
    camera.stop()
    running.join(10)
    assert max(frame.captured_at_us for frame in till.published()) < cancelled_at_us + 1_000_000


def test_the_next_intent_is_filmed_under_its_own_terms(till: Till) -> None:
    """A second intent's frames carry the second intent's terms, and its claim; the first one's have none."""
    camera = till.camera()
    running = till.start(camera)
    till.gateway.open(60, amount_minor=1)
    wait_until(lambda: till.count() > 3, 10, "frames of the first")
    till.gateway.claim = "QUFB"
    second = till.gateway.open(60, amount_minor=2)
    wait_until(lambda: any(f.terms == second for f in till.published()), 10, "frames of the second")
    camera.stop()
    running.join(10)
    frames = till.published()
    amounts = [frame.terms.amount_minor for frame in frames]
    assert amounts == sorted(amounts)
    assert {frame.claim for frame in frames if frame.terms == second} == {"QUFB"}
    assert all(f.captured_at_us >= second.opened_at_us for f in frames if f.terms == second)


def test_a_camera_stops_after_its_time(till: Till) -> None:
    """`seconds` bounds a run, also one that never had a lease."""
    start = time.monotonic()
    running = till.start(till.camera(), seconds=0.3)
    running.join(10)
    assert till.report == CameraReport(0, 0, 0)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"token": "0" * 64}, "refuses the camera"), ({"frame_keys": {2: b"k" * 32}}, "provision the camera again")],
    ids=["token", "epoch"],
)
def test_wrong_credentials_end_the_camera(till: Till, wrong: dict[str, object], says: str) -> None:
    """A refused token, or keys of another epoch than the intent's, is an error that says what to do."""
    till.gateway.open(60)
    running = till.start(till.camera(replace(till.credentials, **wrong)))  # type: ignore[arg-type]
    running.join(15)
    assert isinstance(till.error, UsageError)
    assert says in str(till.error)
    assert till.count() == 0


def test_kafka_that_takes_nothing_is_an_error(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """When not one frame could be delivered, the camera says so instead of reporting frames."""
    monkeypatch.setattr(frames_module, "FRAMES", unique("no-such-topic"))
    monkeypatch.setattr(camera_module, "_CONFIRM_S", 1.0)
    till.gateway.open(60)
    running = till.start(till.camera(), seconds=2)
    running.join(20)
    assert isinstance(till.error, KafkaUnavailable)
    assert "none of" in str(till.error)


def test_the_oldest_waiting_frame_is_dropped(till: Till) -> None:
    """With a broker that never answers, an outbox keeps its bound: the oldest waiting frames go, each is counted, and
    the camera is never held up."""
    outbox = FrameOutbox(make_producer(Kafka(bootstrap="127.0.0.1:1")), in_flight=4, waiting=3)
    start = time.monotonic()
    for i in range(20):
        outbox.offer(Emit("frames", b"t-1", str(i).encode()))
    assert time.monotonic() - start < 1
    assert [frame.value for frame in outbox._waiting] == [b"17", b"18", b"19"]
    assert (outbox.confirmed, outbox.dropped) == (0, 13)
    outbox.finish(0.2)
    assert (outbox.confirmed, outbox.dropped) == (0, 20)


def test_every_frame_offered_is_accounted_for(till: Till) -> None:
    """Confirmed and dropped frames together are those offered; confirmed ones are on the topic."""
    outbox = FrameOutbox(make_producer(till.kafka), in_flight=2, waiting=2)
    for i in range(300):
        outbox.offer(Emit(till.topic, b"t-1", str(i).encode()))
    outbox.finish(20)
    assert outbox.confirmed + outbox.dropped == 300
    assert outbox.last_error is None
    assert outbox.confirmed == till.count() > 0


def test_failed_deliveries_are_dropped_frames(till: Till) -> None:
    """A frame that Kafka refuses counts as dropped, with the reason."""
    outbox = FrameOutbox(make_producer(till.kafka, topic_metadata_propagation_max_ms=500))
    outbox.offer(Emit(unique("no-such-topic"), b"t-1", b"frame"))
    outbox.finish(20)
    assert (outbox.confirmed, outbox.dropped) == (0, 1)
    assert outbox.last_error is not None
    assert outbox.last_error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}
