"""An hour at 70 % of what the embedding agent can do: its memory stays flat and nothing is left behind.

The agent is the real one, a process of its own on a real Kafka, with real models. What it can do is measured first,
with frames that were made before; then frames come open loop, each at its own time, whatever the agent does. Every
other frame opens a new intent, so that votes begin, decide and are forgotten all the time. `FACEPAY_SOAK_S` sets the
seconds.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from confluent_kafka import Producer

from loadtests.demo import world
from loadtests.demo.options import Options
from loadtests.motion import Motion, encode_jpeg, portrait
from loadtests.people.portraits import load_people
from pipeline.gallery.desk import Enrolment, EnrolmentDesk
from pipeline.gallery.journal import Journal
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gateway.ids import new_trace, uuid7
from pipeline.keys.frames import FrameSealer
from pipeline.keys.keyring import Keyring
from pipeline.local import LocalStack, Supervised
from pipeline.local.loopback import HOST
from pipeline.ports import Emit
from pipeline.runtime import admin
from pipeline.runtime.producer import make_producer, produce
from pipeline.runtime.reader import read_topic
from pipeline.vision.engine import OnnxEngine
from schemas.events import ConsentRecord, PaymentTerms
from schemas.ids import derived_id
from tests.stack import wait_until

# Read before the tests' fixture takes FACEPAY_* out of the environment.
SECONDS = float(os.environ.get("FACEPAY_SOAK_S", "3600"))
LOAD = 0.7
BURST = 120
FRAMES_PER_INTENT = 2
INTENT_US = 10_000_000
SAMPLES = 200
WARM_SHARE = 0.25
MAX_GROWTH_BYTES = 16_000_000
"""What an allocator and Kafka's buffers may still take after the first quarter."""


def now_us() -> int:
    """Microseconds UTC."""
    return time.time_ns() // 1_000


@dataclass
class Lane:
    """A camera before people who take turns, two frames each."""

    terminal_id: str
    sealer: FrameSealer
    visits: list[Motion]
    made: int = 0
    terms: PaymentTerms | None = field(default=None, repr=False)

    def picture(self) -> bytes:
        """The next picture; no two are alike."""
        self.made += 1
        motion = self.visits[(self.made // FRAMES_PER_INTENT) % len(self.visits)]
        return encode_jpeg(motion.frame(self.made, self.made / 5))

    def frame(self, jpeg: bytes) -> Emit:
        """The next frame, sealed for its intent."""
        at_us = now_us()
        if self.terms is None or self.made % FRAMES_PER_INTENT == 0:
            self.terms = PaymentTerms(
                intent_id=derived_id(self.terminal_id, "soak", str(at_us)),
                terminal_id=self.terminal_id,
                merchant_id="noodle-house",
                payee_id="noodle-house-main",
                amount_minor=990,
                currency="CNY",
                opened_at_us=at_us,
                expires_at_us=at_us + INTENT_US,
                key_epoch=1,
            )
        return self.sealer.seal(
            jpeg, self.terms, sequence=self.made, captured_at_us=at_us, trace=new_trace(self.terms.opened_at_us)
        )


@dataclass
class Agent:
    """The running agent: what it has processed, and what it holds."""

    process: Supervised
    port: int

    def processed(self) -> int:
        """Records that its batches held so far; 0 before it answers."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("facepay_batch_records_sum"))

    def resident_bytes(self) -> int:
        """What it holds now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def here(own_stack: LocalStack, shared: Path, tmp_path: Path) -> world.World:
    """Topics, keys and one terminal with its camera."""
    options = Options(
        models=shared / "models", people=shared / "faces" / "congress", report=tmp_path / "report.html", terminals=1
    )
    built = world.build(tmp_path, own_stack.addresses, options)
    admin.apply(built.settings.kafka)
    return built


@pytest.fixture
def agent(here: world.World, tmp_path: Path) -> Iterator[Agent]:
    """The embedding agent, running."""
    port = here.ports["embedding"]
    env = {**here.environment, "FACEPAY_METRICS__PORT": str(port), "FACEPAY_METRICS__HOST": HOST}
    process = Supervised(
        "embedding", [sys.executable, "-m", "pipeline.cli", "agent", "embedding"], env, tmp_path / "embedding.log"
    )
    process.start()
    yield Agent(process, port)
    assert process.stop() == 0, process.log_lines()[-3:]


def lane(here: world.World, shared: Path, producer: Producer) -> Lane:
    """Eight people before the camera, the first four of them enrolled."""
    keyring = Keyring.open(here.settings.keys.directory)
    kafka = here.settings.kafka
    journal = Journal(kafka, "soak", now_us)
    desk = EnrolmentDesk(kafka, keyring, open_data_keys(keyring), journal, now_us, producer=producer)
    engine = OnnxEngine.open(shared / "models")
    visits = []
    for number, person in enumerate(load_people(shared / "faces" / "congress")[:8]):
        motion = Motion(portrait(person.photographs[0]), seed=number)
        visits.append(motion)
        (seen, *_), *_ = engine.faces([simplejpeg.decode_jpeg(encode_jpeg(motion.frame(0, 0.0)), colorspace="BGR")])
        if number < 4:
            payer = uuid7(now_us())
            desk.enrol(
                Enrolment(
                    payer_id=payer,
                    vectors=[np.asarray(seen.embedding)],
                    model_sha256=engine.embedder_sha256,
                    consent=ConsentRecord(text_version="2026-01", purposes=("face_payment",)),
                    pin="1357",
                )
            )
    (terminal_id, camera), *_ = here.cameras.items()
    return Lane(terminal_id, FrameSealer(camera), visits)


@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to see another process's memory")
def test_memory_is_flat_at_seventy_percent_load(here: world.World, agent: Agent, shared: Path) -> None:
    """After the first quarter the agent grows by no more than its buffers, and every frame was taken in time."""
    producer = make_producer(here.settings.kafka, message_max_bytes=2_097_152)
    camera = lane(here, shared, producer)
    produce(producer, camera.frame(camera.picture()))
    producer.flush(10)
    wait_until(lambda: agent.processed() == 1, 60, "the agent's first frame")

    pictures = [camera.picture() for _ in range(BURST)]
    for jpeg in pictures:
        camera.made += 1
        produce(producer, camera.frame(jpeg))
    producer.flush(10)
    began = time.monotonic()
    wait_until(lambda: agent.processed() >= 1 + BURST, 120, "the burst that tells what the agent can do")
    rate_fps = LOAD * BURST / (time.monotonic() - began)

    sent = 1 + BURST
    resident: list[int] = []
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < SECONDS:
        due = (sent - 1 - BURST) / rate_fps
        if due > elapsed:
            time.sleep(due - elapsed)
        produce(producer, camera.frame(camera.picture()))
        producer.poll(0)
        sent += 1
        if elapsed > len(resident) * SECONDS / SAMPLES:
            resident.append(agent.resident_bytes())
    producer.flush(10)
    wait_until(lambda: agent.processed() == sent, 30, f"all {sent} frames taken at {rate_fps:.1f} a second")

    known = list(read_topic(here.settings.kafka, "recognitions", read_committed=False))
    assert known, "the load was no work: nobody was recognised"
    warm = resident[round(len(resident) * WARM_SHARE) :]
    tenth = max(1, len(warm) // 10)
    grown = float(np.median(warm[-tenth:]) - np.median(warm[:tenth]))
    sys.stdout.write(f"{sent} frames, {rate_fps:.1f} a second; {warm[-1] / 1e6:.0f} MB, grown {grown / 1e6:.1f} MB\n")
    assert grown <= MAX_GROWTH_BYTES, [round(value / 1e6, 1) for value in resident]
