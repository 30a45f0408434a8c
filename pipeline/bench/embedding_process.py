"""One round of the embedding agent, in a process of its own: the real `BatchLoop` over a topic that was filled before.

CPU is counted from before the loop has its Kafka clients until it has drained, committed and closed them: joining the
group, fetching, handling, sending, confirming and committing are all in it; loading models and gallery is not. Wall
time is from the first batch to the end of the last. How long batches waited for the models, and the models for batches,
is told apart from what both computed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agents.embedding import EmbeddingHandler
from pipeline.bench.bare import ModelRun, TapedEngine, open_taped
from pipeline.bench.embed import stage_seconds
from pipeline.bench.rounds import Sample, cpu_s
from pipeline.bootstrap import MAX_FACES, dead_letters, now_us
from pipeline.gallery.claims import ClaimDirectory, ClaimedPayers
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.protect.transform import Transform
from pipeline.gallery.search import TieredSearch
from pipeline.keys.devices import DeviceRegistry
from pipeline.keys.frames import KeyringFrameOpener
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import TerminalRegistry
from pipeline.ports import BatchHandler, HandlerResult, InMessage, PreparingHandler, Reject
from pipeline.runtime.batch_loop import BatchLoop
from pipeline.runtime.health import Health
from pipeline.settings import Agent, Kafka, Vision
from pipeline.vision.decode import Image, decode_jpeg
from schemas.ids import derived_id

GALLERY = 1_000
"""Payers in the gallery besides those who are seen; `match` measures larger ones."""


@dataclass(frozen=True, slots=True)
class EmbeddingPlan:
    """What to run. `faces` are JPEGs of those who are seen; `predecoded` takes their pixels instead of the records'.
    Frames that were sealed long ago are of one moment, `clock_us`; without it they come now. `ready` is a file that
    appears when the loop takes what comes.
    """

    bootstrap: str
    source: str
    recognitions: str
    hints: str
    group: str
    count: int
    clock_us: int | None
    keys: Path
    models: Path
    faces: Sequence[bytes] = field(repr=False)
    predecoded: bool
    liveness: bool
    ready: Path | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingRound:
    """What came of it: `sample` per frame with the stages' seconds as parts (the engine's, and those of the batches:
    `prepare` and `process` computed, `queue` waited for the models, `idle` the models waited), the model runs,
    recognitions, rejects.
    """

    sample: Sample
    runs: Sequence[ModelRun]
    batches: int
    recognised: int
    rejected: int


class Metered:
    """A `PreparingHandler` around a handler that notes what its batches did when, and calls `done` after the last
    frame."""

    done: Callable[[], None]

    def __init__(self, inner: BatchHandler, count: int, recognitions: str) -> None:
        self.name, self.source = inner.name, inner.source
        self._inner = inner
        self._recognitions = recognitions
        self._left = count
        self.began_s = self.ended_s = 0.0
        self.batches = self.recognised = self.rejected = 0
        self.parts = dict.fromkeys(("prepare", "process", "queue", "idle"), 0.0)

    def process(self, messages: Sequence[InMessage]) -> Sequence[HandlerResult]:
        """As the inner handler."""
        return self.process_prepared(messages, self.prepare(messages))

    def prepare(self, messages: Sequence[InMessage]) -> tuple[float, object]:
        """As the inner handler, and when it was done."""
        began_s = time.perf_counter()
        self.began_s = self.began_s or began_s
        inner: object = self._inner.prepare(messages) if isinstance(self._inner, PreparingHandler) else None
        ended_s = time.perf_counter()
        self.parts["prepare"] += ended_s - began_s
        return ended_s, inner

    def process_prepared(
        self, messages: Sequence[InMessage], prepared: tuple[float, object]
    ) -> Sequence[HandlerResult]:
        """As the inner handler."""
        since_s, inner = prepared
        began_s = time.perf_counter()
        if self.ended_s:
            self.parts["idle"] += began_s - self.ended_s
        self.parts["queue"] += (began_s - since_s) * len(messages)
        results = (
            self._inner.process_prepared(messages, inner)
            if isinstance(self._inner, PreparingHandler)
            else self._inner.process(messages)
        )
        self.batches += 1
        self.rejected += sum(isinstance(result, Reject) for result in results)
        self.recognised += sum(
            emit.topic == self._recognitions for result in results if not isinstance(result, Reject) for emit in result
        )
        self._left -= len(messages)
        self.ended_s = time.perf_counter()
        self.parts["process"] += self.ended_s - began_s
        if self._left <= 0:
            self.done()
        return results

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:
        """As the inner handler."""
        self._inner.restore(partition, messages)

    def forget(self, partition: int) -> None:
        """As the inner handler."""
        self._inner.forget(partition)


class Predecoded:
    """A `BatchHandler` that embeds prepared pixels, one picture per record, and says nothing: transport and engine."""

    name = "embedding"

    def __init__(self, source: str, taped: TapedEngine, images: Sequence[Image], max_batch: int) -> None:
        self.source = source
        self._taped = taped
        self._images = images
        self._max_batch = max_batch

    def process(self, messages: Sequence[InMessage]) -> Sequence[HandlerResult]:
        """Nothing to send for each."""
        for start in range(0, len(messages), self._max_batch):
            some = messages[start : start + self._max_batch]
            self._taped.engine.faces([self._images[message.offset % len(self._images)] for message in some])
        return [()] * len(messages)

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:
        """Nothing is remembered."""

    def forget(self, partition: int) -> None:
        """Nothing is remembered."""


def run_round(plan: EmbeddingPlan) -> EmbeddingRound:
    """One round; call it by `own_process`, since the loop ends its process when something is wrong."""
    # Everybody is seen again and again in the same picture, which an agent at work would refuse, and is found among so
    # many payers without a claim, which it would ask for.
    vision = Vision(pad="report_only" if plan.liveness else "off", repeated_frames="report_only", max_fpir=1.0)
    taped = open_taped(plan.models, liveness=plan.liveness, max_batch=vision.max_batch, max_faces=MAX_FACES)
    images = [decode_jpeg(jpeg) for jpeg in plan.faces]
    keyring = Keyring.open(plan.keys)
    inner: BatchHandler = (
        Predecoded(plan.source, taped, images, vision.max_batch)
        if plan.predecoded
        else _agent(plan, keyring, taped, images, vision)
    )
    # Also where nobody is enrolled: the models' first runs are slower than all others.
    taped.engine.faces(images)
    taped.runs()
    began: dict[str, float] = {}
    health = Health(inner.name, awaits=("assignment",))

    def ready() -> bool:
        began.update(stage_seconds(), cpu=cpu_s())
        return True

    handler = Metered(inner, plan.count, plan.recognitions)
    loop = BatchLoop(
        handler,
        kafka=Kafka(bootstrap=plan.bootstrap),
        agent=Agent(),
        dead=dead_letters(keyring, handler.name),
        health=health,
        clock=now_us,
        group=plan.group,
        max_batch=vision.max_batch,
        ready=ready,
    )
    handler.done = loop.stop
    if plan.ready is not None:
        threading.Thread(target=_announce, args=(health, plan.ready), name="ready", daemon=True).start()
    loop.run()
    used_s = cpu_s() - began["cpu"]
    stages = {name: seconds - began.get(name, 0.0) for name, seconds in stage_seconds().items()}
    sample = Sample(plan.count, handler.ended_s - handler.began_s, used_s, {**stages, **handler.parts})
    return EmbeddingRound(sample, taped.runs(), handler.batches, handler.recognised, handler.rejected)


def _announce(health: Health, marker: Path) -> None:
    """Makes the file when the loop has its partitions."""
    while health.missing():
        time.sleep(0.05)
    marker.touch()


def _agent(
    plan: EmbeddingPlan, keyring: Keyring, taped: TapedEngine, images: Sequence[Image], vision: Vision
) -> EmbeddingHandler:
    engine = taped.engine
    gallery, space = ExactIndex(engine.dimension), Transform.of(keyring, keyring.gallery_version, engine.dimension)
    for number, faces in enumerate(engine.faces(images)):
        payer = derived_id("bench", "payer", str(number))
        gallery.put(derived_id(payer, "template"), payer, space.apply(faces[0].embedding))
    others = np.random.default_rng(1).normal(size=(GALLERY, engine.dimension)).astype(np.float32)
    for number, vector in enumerate(others / np.linalg.norm(others, axis=1, keepdims=True)):
        payer = derived_id("bench", "other", str(number))
        gallery.put(derived_id(payer, "template"), payer, vector)
    opener = KeyringFrameOpener(
        keyring,
        TerminalRegistry(plan.keys),
        cameras=DeviceRegistry(plan.keys).get,
        max_age_ms=vision.max_frame_age_ms,
        max_skew_ms=vision.max_clock_skew_ms,
    )
    return EmbeddingHandler(
        opener,
        engine,
        TieredSearch(gallery, space, None, ready=lambda: True),
        vision,
        # The topic was filled once for all rounds: to the agent, all its frames are of one moment.
        now_us if plan.clock_us is None else lambda: plan.clock_us or 0,
        cameras=DeviceRegistry(plan.keys).get,
        claims=ClaimedPayers(keyring, ClaimDirectory()),
        source=plan.source,
        recognitions=plan.recognitions,
        hints=plan.hints,
    )
