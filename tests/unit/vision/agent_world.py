"""An embedding agent with cameras before it: real seals and the real gallery index, faces scripted or from real models.

`Scripted` stands in for the engine where a story needs faces that no portrait gives (two people, a broken embedding) or
where no models are at hand; `tests/contract/vision/test_agent_on_portraits.py` tells the main stories with the real
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg

from agents.embedding import EmbeddingHandler
from pipeline.domain.fmr import FmrModel
from pipeline.gallery.claims import ClaimDirectory, ClaimedPayers
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.search import TieredSearch
from pipeline.keys.credentials import provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.frames import FrameSealer, KeyringFrameOpener
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from pipeline.ports import HandlerResult, InMessage, Match, Reject, Vector
from pipeline.settings import Vision
from pipeline.vision.decode import Image
from pipeline.vision.engine import Engine
from pipeline.vision.faces import Box, Face, Quality
from schemas.codec import decode
from schemas.events import Hint, PaymentTerms, Recognition
from schemas.ids import derived_id

NOW_US = 1_800_000_000_000_000
SECOND = 1_000_000
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
TERMS = PaymentTerms(
    intent_id=derived_id("intent", "1"),
    terminal_id="t-1",
    merchant_id="shop",
    payee_id="payee-1",
    amount_minor=12_34,
    currency="CNY",
    opened_at_us=NOW_US - 5 * SECOND,
    expires_at_us=NOW_US + 15 * SECOND,
    key_epoch=1,
)
ANN, BOB = derived_id("payer", "ann"), derived_id("payer", "bob")
DIMENSION = 4


GOOD = Quality(eye_distance_px=40, sharpness=300, brightness=0.5, exposure=0, yaw=0, pitch=0, roll=0)


def unit(*numbers: float) -> Vector:
    """A vector of length 1."""
    vector = np.array(numbers, np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def face(
    *embedding: float,
    width: float = 90,
    live: Mapping[str, float] | None = None,
    eyes_open: bool | None = None,
    quality: Quality = GOOD,
    x: float = 10,
) -> Face:
    """A face with this embedding, made of length 1 unless it is zero."""
    vector = unit(*embedding) if any(embedding) else np.zeros(DIMENSION, np.float32)
    return Face(
        box=Box(x, 10, width, 100),
        landmarks=np.zeros((5, 2), np.float32),
        detection=0.9,
        quality=quality,
        embedding=vector,
        live=live,
        eyes_open=eyes_open,
    )


ANN_FACE, BOB_FACE, STRANGER = face(1, 0, 0.05, 0.9), face(0, 1, 0.05, 0.9), face(0, 0, 1, 0)
# cosine 0.74 with its own template and 0 with the other: strong; the next is similar, but not strong
ANN_UNSURE = face(0.55, 0, 0.8, 0.2)


SIDE_PX = 400
"""Of a scripted picture; boxes lie within it."""


class Scripted:
    """An engine that finds the given faces: the first pixel of a picture is the number of its script."""

    embedder_sha256 = "a" * 64
    dimension = DIMENSION
    providers: Mapping[str, tuple[str, ...]] = {}
    thresholds: Mapping[str, float] = {"match": 0.475, "strong": 0.65, "margin": 0.08, "same_face": 0.36}
    live_threshold: float | None = 0.85
    live_proven = False
    drawn = False
    fmr: FmrModel | None = None

    def __init__(self) -> None:
        self.scripts: list[list[Face]] = []
        self.batches: list[int] = []

    def picture(self, faces: list[Face]) -> bytes:
        """A JPEG on which these faces will be found."""
        self.scripts.append(faces)
        pixels = np.full((SIDE_PX, SIDE_PX, 3), len(self.scripts) * 4, np.uint8)
        data: bytes = simplejpeg.encode_jpeg(pixels, quality=100, colorspace="BGR")
        return data

    def faces(self, images: Sequence[Image]) -> list[list[Face]]:
        """What was scripted."""
        self.batches.append(len(images))
        return [self.scripts[round(int(image[0, 0, 0]) / 4) - 1] for image in images]


class Unread(ExactIndex):
    """A gallery whose topic was not read to its end."""

    ready = False


class Counting(ExactIndex):
    """A gallery that counts who is searched for."""

    probes = 0

    def search(self, probes: Vector) -> Sequence[Match | None]:
        self.probes += len(probes)
        return super().search(probes)


class Unturned:
    """A space in which vectors are as the engine made them."""

    def apply(self, vectors: Vector) -> Vector:
        """The same."""
        return vectors


@dataclass
class World:
    """An agent, the cameras before it and the time."""

    keyring: Keyring
    registry: TerminalRegistry
    devices: DeviceRegistry
    engine: Engine
    gallery: ExactIndex
    directory: ClaimDirectory
    opener: KeyringFrameOpener
    handler: EmbeddingHandler
    now_us: int = NOW_US
    offset: int = 0

    def frame(
        self,
        jpeg: bytes,
        terms: PaymentTerms = TERMS,
        *,
        partition: int = 3,
        captured_at_us: int | None = None,
        by: str | None = None,
        claim: str | None = None,
    ) -> InMessage:
        """A sealed frame at the next offset, of the terminal's own camera or the one called `by`."""
        camera = Camera(by or f"{terms.terminal_id}-camera", terms.terminal_id)
        sealer = FrameSealer(provision_camera(self.keyring, camera, self.keyring.frame_epochs()))
        at = self.now_us if captured_at_us is None else captured_at_us
        self.offset += 1
        emit = sealer.seal(jpeg, terms, sequence=self.offset, captured_at_us=at, trace=TRACE, claim=claim)
        return InMessage(emit.topic, partition, self.offset, emit.key, emit.value, emit.headers, self.now_us)


def make_world(
    folder: Path,
    engine: Engine,
    gallery: ExactIndex | None = None,
    settings: Vision | None = None,
    *,
    cameras: Sequence[Camera] = (),
) -> World:
    """A world with two terminals of one camera each and those of `cameras`, and Ann and Bob enrolled when the engine is
    scripted. Unless `settings` say otherwise, a picture may be shown again and again."""
    keyring = Keyring.create(folder / "keys")
    registry, devices = TerminalRegistry(keyring.folder), DeviceRegistry(keyring.folder)
    for name in ("t-1", "t-2"):
        registry.add(Terminal(name, "shop", "payee-1", "CNY"))
        devices.add(Camera(f"{name}-camera", name))
    for camera in cameras:
        devices.add(camera)
    if gallery is None:
        gallery = ExactIndex(engine.dimension)
        gallery.put(derived_id("template", "ann"), ANN, unit(1, 0, 0, 0.9))
        gallery.put(derived_id("template", "bob"), BOB, unit(0, 1, 0, 0.9))
    opener = KeyringFrameOpener(keyring, registry, cameras=devices.get, max_age_ms=10_000, max_skew_ms=2_000)
    times: list[World] = []
    settings = settings or Vision(repeated_frames="off")
    index, directory = gallery, ClaimDirectory()
    handler = EmbeddingHandler(
        opener,
        engine,
        TieredSearch(index, Unturned(), None, ready=lambda: index.ready),
        settings,
        lambda: times[0].now_us,
        cameras=devices.get,
        claims=ClaimedPayers(keyring, directory),
    )
    times.append(World(keyring, registry, devices, engine, gallery, directory, opener, handler))
    return times[0]


def told(results: Sequence[HandlerResult]) -> list[str]:
    """Each result in one word: the payer, the hint with ! when final, the reason of a rejection, or -."""
    names = {ANN: "=ann", BOB: "=bob"}
    words = []
    for result in results:
        if isinstance(result, Reject):
            words.append(f"x{result.reason}")
        elif not result:
            words.append("-")
        else:
            event = decode(result[0].value, Recognition, Hint)
            if isinstance(event, Hint):
                words.append(event.code + ("!" if event.final else ""))
            else:
                assert isinstance(event, Recognition)
                words.append(names.get(event.payer_id, event.payer_id))
    return words
