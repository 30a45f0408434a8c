"""A child process that decodes broken JPEGs and opens broken frames: `fuzz_program.py SEED COUNT WORK [FACES MODELS]`.

A process of its own, because what libjpeg might do is end it. Before each case its number is written to WORK/case, so
that a crash names it. At the end one JSON object says how each case ended; anything but pixels or a known reason ends
the program with the case in its words. Every hundredth picture that decodes also goes through the engine, where models
are given.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.domain.lanes import lane_of
from pipeline.errors import InvalidMessage, SealError
from pipeline.keys.credentials import provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.frames import FrameSealer, KeyringFrameOpener
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from pipeline.ports import InMessage
from pipeline.vision.decode import MAX_SCANS, decode_jpeg
from pipeline.vision.engine import OnnxEngine
from schemas.events import PaymentTerms
from schemas.ids import derived_id
from tests.integration.vision.mutants import broken_record, mutated, pictures, seeds

NOW_US = 1_800_000_000_000_000
TERMS = PaymentTerms(
    intent_id=derived_id("an intent"),
    terminal_id="t-1",
    merchant_id="shop",
    payee_id="payee-1",
    amount_minor=12_34,
    currency="CNY",
    opened_at_us=NOW_US - 5_000_000,
    expires_at_us=NOW_US + 15_000_000,
    key_epoch=1,
)
DECODE_REASONS = {"not_jpeg", "jpeg_truncated", "jpeg_corrupt", "image_too_large", "image_too_small"}
SEAL_REASONS = {
    "header_invalid", "wrong_lane", "wrong_terminal", "unknown_terminal", "unknown_camera", "unknown_epoch",
    "seal_broken", "stale", "from_the_future", "replayed",
}  # fmt: skip
LANES = 16
MAX_PIXELS = 8_000_000
ENGINE_EVERY = 100
WARM_SHARE = 0.2


@dataclass
class Frames:
    """A camera that seals, one that is not registered, and the opener that their frames go to."""

    sealer: FrameSealer
    stranger: FrameSealer
    opener: KeyringFrameOpener
    sequence: int = 0

    @classmethod
    def make(cls, folder: Path) -> Frames:
        keyring = Keyring.create(folder / "keys")
        registry, devices = TerminalRegistry(keyring.folder), DeviceRegistry(keyring.folder)
        for name in ("t-1", "t-2"):
            registry.add(Terminal(name, "shop", "payee-1", "CNY"))
            devices.add(Camera(f"{name}-camera", name))
        opener = KeyringFrameOpener(
            keyring, registry, cameras=devices.get, max_age_ms=10_000, max_skew_ms=2_000, lanes=LANES
        )
        sealer, stranger = (
            FrameSealer(provision_camera(keyring, Camera(name, "t-1"), [1])) for name in ("t-1-camera", "unregistered")
        )
        return cls(sealer, stranger, opener)

    def record(self, jpeg: bytes, sealer: FrameSealer) -> InMessage:
        """The next sealed frame, where it would stand on its topic."""
        self.sequence += 1
        trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
        emit = sealer.seal(jpeg, TERMS, sequence=self.sequence, captured_at_us=NOW_US, trace=trace)
        return InMessage(emit.topic, lane_of(b"t-1", LANES), self.sequence, emit.key, emit.value, emit.headers, NOW_US)


def resident_bytes() -> int:
    """What this process holds now; its peak where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def known(reason: str, reasons: set[str]) -> str:
    """The reason, if an operator can look it up."""
    assert reason in reasons, f"an unknown reason: {reason}"
    return reason


def decoded(draw: random.Random, corpus: list[bytes], engine: OnnxEngine | None, so_far: int) -> tuple[str, str]:
    """One broken JPEG: the mutator's name, and `decoded` or the reason."""
    name, data = mutated(draw, draw.choice(corpus))
    try:
        pixels = decode_jpeg(data, max_pixels=MAX_PIXELS)
    except InvalidMessage as error:
        return name, known(error.reason, DECODE_REASONS)
    height, width, channels = pixels.shape
    assert pixels.dtype == np.uint8
    assert channels == 3
    assert height * width <= MAX_PIXELS
    assert min(height, width) >= 32
    assert data.count(b"\xff\xda") <= MAX_SCANS
    if engine is not None and so_far % ENGINE_EVERY == 0:
        for face in engine.faces([pixels])[0]:
            assert np.isfinite(face.landmarks).all()
            assert np.isfinite([face.box.x, face.box.y, face.box.w, face.box.h]).all()
            assert abs(float(np.linalg.norm(face.embedding)) - 1) < 1e-3 or not face.embedding.any()
    return name, "decoded"


def opened(draw: random.Random, frames: Frames, jpeg: bytes) -> tuple[str, str]:
    """One broken record: what is wrong with it, and `opened` or the reason."""
    sealer, when = draw.choice(
        [(frames.sealer, 0)] * 6 + [(frames.stranger, 0)] + [(frames.sealer, 11), (frames.sealer, -3)]
    )
    name, message = broken_record(draw, frames.record(jpeg, sealer))
    try:
        frame = frames.opener.open(message, NOW_US + when * 1_000_000)
        if draw.randrange(4) == 0:
            # A copy elsewhere on the topic.
            name += " and again"
            frame = frames.opener.open(replace(message, offset=message.offset + 1), NOW_US)
    except SealError as error:
        return name, known(error.reason, SEAL_REASONS)
    # What is not sealed (the trace, where the record stands) may differ; the payment and the picture may not.
    assert (frame.terms, frame.jpeg) == (TERMS, jpeg), f"{name} opened to something else"
    return name, "opened"


def main() -> int:
    """Runs the cases and prints the summary."""
    seed, count, work = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    corpus = pictures()
    engine = None
    if len(sys.argv) > 4:
        corpus += [path.read_bytes() for path in sorted(Path(sys.argv[4]).glob("*.jpg"))[:12]]
        engine = OnnxEngine.open(Path(sys.argv[5]), pad="report_only", max_faces=8)
        engine.faces([decode_jpeg(corpus[-1])])
    frames = Frames.make(work)
    outcomes: dict[str, Counter[str]] = {}
    digest = hashlib.sha256()
    slowest_ms, slowest, warm_bytes = 0.0, "", 0
    progress = os.open(work / "case", os.O_CREAT | os.O_WRONLY)
    for case, draw in enumerate(seeds(seed, count)):
        os.pwrite(progress, f"{case:<12}".encode(), 0)
        started = time.perf_counter()
        try:
            if draw.random() < 0.7:
                so_far = sum(counter["decoded"] for counter in outcomes.values())
                name, outcome = decoded(draw, corpus, engine, so_far)
            else:
                name, outcome = opened(draw, frames, corpus[0])
        except BaseException:
            sys.stderr.write(f"case {case} of seed {seed} ended in something else than pixels or a reason\n")
            raise
        took_ms = (time.perf_counter() - started) * 1000
        if took_ms > slowest_ms:
            slowest_ms, slowest = took_ms, f"case {case}: {name}: {outcome}"
        outcomes.setdefault(name, Counter())[outcome] += 1
        digest.update(f"{case} {name} {outcome}\n".encode())
        if case == int(count * WARM_SHARE):
            warm_bytes = resident_bytes()
    reasons: Counter[str] = Counter()
    for counter in outcomes.values():
        reasons += counter
    summary = {
        "seed": seed, "count": count, "outcomes": reasons, "by_mutator": outcomes, "digest": digest.hexdigest(),
        "grown_bytes": resident_bytes() - warm_bytes, "slowest_ms": round(slowest_ms, 1), "slowest": slowest,
    }  # fmt: skip
    sys.stdout.write(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
