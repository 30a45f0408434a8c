"""Bad frames before the real embedding agent on the real Kafka: each to the dead letter, none in the way of others.

The agent is a process of its own with the real models; good frames of an enrolled person stand between the bad ones.
"""

from __future__ import annotations

import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from loadtests.demo import world
from loadtests.demo.options import Options
from loadtests.motion import Motion, encode_jpeg, portrait
from loadtests.people.portraits import load_people
from pipeline.gallery.desk import Enrolment, EnrolmentDesk
from pipeline.gallery.journal import Journal
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gateway.ids import new_trace, uuid7
from pipeline.keys.derivation import derive
from pipeline.keys.frames import FrameSealer
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal
from pipeline.local import LocalStack, Supervised
from pipeline.ports import Emit, InMessage
from pipeline.runtime import admin
from pipeline.runtime.deadletters import open_letter
from pipeline.runtime.producer import make_producer, produce
from pipeline.runtime.reader import read_topic
from pipeline.vision.engine import OnnxEngine
from schemas.codec import decode
from schemas.events import ConsentRecord, DeadLetter, PaymentTerms, Recognition
from schemas.ids import derived_id
from tests.stack import wait_until


def now_us() -> int:
    """Microseconds UTC."""
    return time.time_ns() // 1_000


@dataclass
class Lane:
    """A terminal with its camera, and one open intent."""

    here: world.World
    terminal_id: str
    terms: PaymentTerms
    sealer: FrameSealer
    trace: str
    sequence: int = 0

    def frame(self, jpeg: bytes) -> Emit:
        """The next frame."""
        self.sequence += 1
        return self.sealer.seal(jpeg, self.terms, sequence=self.sequence, captured_at_us=now_us(), trace=self.trace)


def jpeg_of_100_megapixels(jpeg: bytes) -> bytes:
    """A small JPEG whose header claims 10,000 x 10,000 pixels."""
    at = jpeg.index(b"\xff\xc0") if b"\xff\xc0" in jpeg else jpeg.index(b"\xff\xc2")
    return jpeg[: at + 5] + struct.pack(">HH", 10_000, 10_000) + jpeg[at + 9 :]


@pytest.fixture
def place(own_stack: LocalStack, shared: Path, tmp_path: Path) -> Iterator[world.World]:
    """Topics, keys, a terminal, and the embedding agent running."""
    options = Options(models=shared / "models", people=shared / "faces", report=tmp_path / "r.html", terminals=1)
    here = world.build(tmp_path, own_stack.addresses, options)
    admin.apply(here.settings.kafka)
    env = {**here.environment, "FACEPAY_METRICS__PORT": str(here.ports["embedding"])}
    argv = [sys.executable, "-m", "pipeline.cli", "agent", "embedding"]
    agent = Supervised("embedding", argv, env, tmp_path / "embedding.log")
    agent.start()
    yield here
    assert agent.stop() == 0, agent.log_lines()[-3:]


def letters(here: world.World) -> list[tuple[InMessage, DeadLetter]]:
    """The dead letters so far."""
    found = read_topic(here.settings.kafka, "deadletter", read_committed=False)
    return [(message, decode(message.value, DeadLetter)) for message in found]


def test_bad_frames_are_buried_and_good_neighbours_go_on(place: world.World, shared: Path) -> None:
    """Every bad frame has its reason and can be opened again by the operator; the person is recognised all the same."""
    kafka, keyring = place.settings.kafka, Keyring.open(place.settings.keys.directory)
    (terminal_id, credentials), *_ = place.cameras.items()
    person = load_people(shared / "faces" / "congress")[0]
    face = portrait(person.photographs[0])
    engine = OnnxEngine.open(shared / "models")
    motion = Motion(face, seed=1)
    good = [encode_jpeg(motion.frame(number, number / 5)) for number in range(4)]
    (seen,), *_ = engine.faces([simplejpeg.decode_jpeg(good[0], colorspace="BGR")])
    payer = uuid7(now_us())
    producer = make_producer(kafka, message_max_bytes=2_097_152)
    with Journal(kafka, "test", now_us) as journal:
        EnrolmentDesk(kafka, keyring, open_data_keys(keyring), journal, now_us).enrol(
            Enrolment(
                payer_id=payer,
                vectors=[np.asarray(seen.embedding)],
                model_sha256=engine.embedder_sha256,
                consent=ConsentRecord(text_version="2026-01", purposes=("face_payment",)),
                pin="1357",
            )
        )

    opened_at_us = now_us()
    terms = PaymentTerms(
        intent_id=derived_id(terminal_id, "intent", "bad frames"),
        terminal_id=terminal_id,
        merchant_id="noodle-house",
        payee_id="noodle-house-main",
        amount_minor=990,
        currency="CNY",
        opened_at_us=opened_at_us,
        expires_at_us=opened_at_us + 60_000_000,
        key_epoch=1,
    )
    lane = Lane(place, terminal_id, terms, FrameSealer(credentials), new_trace(opened_at_us))
    replayed = lane.frame(good[0])
    stranger = replace(lane.frame(good[0]), key=b"no-such-terminal")
    damaged = lane.frame(good[0])
    damaged = replace(damaged, value=bytes([*(damaged.value or b"")[:-1], (damaged.value or b"\0")[-1] ^ 1]))
    stolen = Lane(place, terminal_id, terms, FrameSealer(replace(credentials, camera_id="cam-9")), lane.trace)
    bad = {
        "unknown_camera": stolen.frame(good[0]),
        "not_jpeg": lane.frame(b"GIF89a this is no JPEG"),
        "jpeg_truncated": lane.frame(good[1][: len(good[1]) // 2]),
        "image_too_large": lane.frame(jpeg_of_100_megapixels(good[1])),
        "wrong_terminal": stranger,
        "seal_broken": damaged,
        "header_invalid": replace(lane.frame(good[2]), headers=()),
    }
    for emit in (replayed, *bad.values(), replayed, lane.frame(good[2]), lane.frame(good[3])):
        produce(producer, emit)
    assert producer.flush(10) == 0

    expected = Counter([*bad, "replayed"])
    wait_until(lambda: len(letters(place)) >= sum(expected.values()), 60, "every bad frame in the dead letter")
    assert Counter(letter.reason for _, letter in letters(place)) == expected

    def recognised() -> list[Recognition]:
        found = read_topic(kafka, "recognitions", read_committed=False)
        return [decode(message.value, Recognition) for message in found]

    wait_until(recognised, 20, "a recognition from the good frames")
    assert {(r.payer_id, r.intent_id) for r in recognised()} == {(payer, terms.intent_id)}

    seal = AesGcmSeal(derive(keyring.secret("deadletter"), "facepay.deadletter.v1"))
    by_reason = {letter.reason: letter for _, letter in letters(place)}
    assert open_letter(seal, by_reason["seal_broken"]) == (damaged.key, damaged.value)
    assert all(good[1][:200] not in (message.value or b"") for message, _ in letters(place)), "a picture in clear"
