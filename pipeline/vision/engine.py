"""Pixels to faces: the one interface that agents and commands see, and its form on ONNX Runtime.

A batch of images goes through the stages together: detect, align, quality, embed and, where there are models for it,
liveness and eyes. Faces of all images share the runs of the later stages. A face's result does not depend on its batch.
The engine keeps no state between calls and may be called from several threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import structlog

from pipeline import metrics
from pipeline.domain.fmr import FmrModel
from pipeline.errors import ModelError
from pipeline.vision.align import align, qualities
from pipeline.vision.batching import measure_batches
from pipeline.vision.decode import Image
from pipeline.vision.detector import Detections, YuNet
from pipeline.vision.embedder import ArcFaceEmbedder
from pipeline.vision.eyes import Eyes, eyes_open
from pipeline.vision.faces import Box, Face
from pipeline.vision.liveness import Liveness
from pipeline.vision.models import SHIPPED, FusionSpec, ModelSpec, ModelStore, fusions, manifest, unmixed
from pipeline.vision.scrfd import Scrfd
from pipeline.vision.sessions import Execution, Session, open_session
from pipeline.vision.thresholds import known_fmr

log = structlog.get_logger(__name__)

Pad = Literal["required", "report_only", "off"]


class Engine(Protocol):
    """What sees faces, on whichever device."""

    @property
    def embedder_sha256(self) -> str:
        """The model that the embeddings belong to: galleries are bound to it."""
        ...

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def providers(self) -> Mapping[str, tuple[str, ...]]:
        """By model name, the ONNX Runtime providers that its session really got."""
        ...

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Cosines of the embedder, by name: `match`, `strong`, `margin`, `same_face`."""
        ...

    @property
    def fmr(self) -> FmrModel | None:
        """What is known of the embedder's false matches; None for one that nobody calibrated."""
        ...

    @property
    def live_threshold(self) -> float | None:
        """The least `fused` live score that counts as live; None when no fusion of models is in use."""
        ...

    @property
    def live_proven(self) -> bool:
        """Whether that threshold was validated on attacks and bona fide faces it was not chosen on."""
        ...

    @property
    def drawn(self) -> bool:
        """Whether a model in use knows drawn people only."""
        ...

    def faces(self, images: Sequence[Image]) -> list[list[Face]]:
        """The faces of each image (uint8 (h, w, 3) BGR), largest first; raises `ModelError` when the device fails."""
        ...


class OnnxEngine:
    """The engine on ONNX Runtime, CPU or CUDA."""

    def __init__(
        self,
        detector: Session,
        embedder: Session,
        liveness: Sequence[Session] = (),
        *,
        fusion: FusionSpec | None = None,
        eyes: Session | None = None,
        max_faces: int | None = None,
    ) -> None:
        sessions = [detector, embedder, *liveness, *([] if eyes is None else [eyes])]
        self._detector = DETECTORS[detector.spec.family](detector)
        self._embedder = ArcFaceEmbedder(embedder)
        self._liveness = Liveness(liveness, fusion) if liveness else None
        self._eyes = None if eyes is None else Eyes(eyes)
        self._eye_thresholds = {} if eyes is None else eyes.spec.thresholds
        self._max_faces = max_faces
        self.embedder_sha256 = embedder.spec.sha256
        self.dimension = self._embedder.dimension
        self.providers = {session.spec.name: session.providers for session in sessions}
        self.precisions = {session.spec.name: session.precision for session in sessions}
        self.batches = {session.spec.name: session.best_batch for session in sessions}
        self.thresholds = embedder.spec.thresholds
        self.fmr = known_fmr(embedder.spec.sha256)
        self.live_threshold = None if fusion is None else fusion.threshold
        self.live_proven = fusion is not None and fusion.proven
        self.drawn = any(session.spec.drawn for session in sessions)
        # OpenCV's pool would compete with the models for the same cores over crops that take microseconds.
        cv2.setNumThreads(1)

    @classmethod
    def open(
        cls,
        models: Path,
        execution: Execution | None = None,
        *,
        pad: Pad = "off",
        embedder: str | None = None,
        max_faces: int | None = None,
        drawn: bool = False,
    ) -> OnnxEngine:
        """Loads the models of a folder and holds them to their contracts; raises `ModelError` in one sentence.

        `pad`: `required` refuses to start without every liveness model of a fusion, `report_only` scores with those
        that are there. `max_faces` bounds the faces of one image that are aligned and embedded, the largest first: a
        crowd must not stall a lane. `drawn`: models for drawn people may be used. Where the folder has no eye model,
        the one that ships with the package is used.
        """
        execution = execution or Execution()
        store = ModelStore.open(models, drawn=drawn)
        fusion = None if pad == "off" else store.fusion()
        specs = [store.require("detector"), store.require("embedder", embedder)]
        liveness = [] if pad == "off" else _liveness(store, fusion, needed=pad == "required")
        unmixed([*specs, *liveness])
        opened = [open_session(store, spec, execution) for spec in [*specs, *liveness]]
        seeing = _eyes(store, execution)
        opened += [] if seeing is None else [seeing]
        if execution.batch == "measured":
            measure_batches(opened)
        for session in opened:
            _tell(session, execution)
        eyeless = opened if seeing is None else opened[:-1]
        return cls(eyeless[0], eyeless[1], eyeless[2:], fusion=fusion, eyes=seeing, max_faces=max_faces)

    def faces(self, images: Sequence[Image]) -> list[list[Face]]:
        """See `Engine.faces`."""
        result: list[list[Face]] = [[] for _ in images]
        with _stage("detect"):
            found = self._detector.detect(images)
        wanted = [(i, k) for i, d in enumerate(found) for k in range(len(d.scores))[: self._max_faces]]
        if not wanted:
            return result
        sources = [images[i] for i, _ in wanted]
        landmarks = np.stack([found[i].landmarks[k] for i, k in wanted])
        boxes = [Box(*found[i].boxes[k].tolist()) for i, k in wanted]
        with _stage("align"):
            aligned = align(sources, landmarks)
        with _stage("quality"):
            seen = qualities(landmarks, aligned)
        with _stage("embed"):
            embeddings = self._embedder.embed(aligned)
        live: Sequence[Mapping[str, float] | None] = [None] * len(wanted)
        if self._liveness is not None:
            with _stage("liveness"):
                live = self._liveness.score(sources, boxes)
        lids: Sequence[tuple[float, float] | None] = [None] * len(wanted)
        if self._eyes is not None:
            with _stage("eyes"):
                lids = [(right, left) for right, left in self._eyes.open(sources, landmarks).tolist()]
        for row, (i, k) in enumerate(wanted):
            eyes = lids[row]
            result[i].append(
                Face(
                    box=boxes[row],
                    landmarks=landmarks[row],
                    detection=float(found[i].scores[k]),
                    quality=seen[row],
                    embedding=embeddings[row],
                    live=live[row],
                    eyes=eyes,
                    eyes_open=None if eyes is None else eyes_open(eyes, self._eye_thresholds),
                )
            )
        return result


class Detector(Protocol):
    """What finds the faces, of any family."""

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """One `Detections` per image, in order; an image's result does not depend on its neighbours."""
        ...


DETECTORS: Mapping[str, Callable[[Session], Detector]] = {"yunet": YuNet, "scrfd": Scrfd}


def _liveness(store: ModelStore, fusion: FusionSpec | None, *, needed: bool) -> list[ModelSpec]:
    """The models of the fusion; without one those that are there, or `ModelError` where a fusion is `needed`."""
    if fusion is not None:
        return [store.require("liveness", name) for name in fusion.weights]
    if needed:
        # Says which of the first fusion's models is not there.
        return [store.require("liveness", name) for name in fusions()[0].weights]
    specs = [store.find("liveness", spec.name) for spec in manifest() if spec.role == "liveness"]
    return [spec for spec in specs if spec is not None]


def _tell(session: Session, execution: Execution) -> None:
    """Which device a model got: nobody should have to guess why an agent is slow."""
    metrics.ENGINE_PROVIDER.labels(session.spec.name, session.providers[0]).set(1)
    if execution.gpu == "preferred" and not session.on_gpu:
        log.warning("no_gpu", model=session.spec.name, preferred="gpu", got=list(session.providers))
    if session.on_gpu and not session.graphs:
        # Then some of its nodes run on the CPU, or copy to it.
        log.warning("no_cuda_graph", model=session.spec.name)


def _eyes(store: ModelStore, execution: Execution) -> Session | None:
    """The folder's eye model, else the shipped one: it serves real eyes, and without it every payer needs the PIN."""
    if (spec := store.find("eyes")) is not None:
        return open_session(store, spec, execution)
    if not SHIPPED.is_dir():
        return None
    shipped = ModelStore.open(SHIPPED, drawn=True)
    found = shipped.find("eyes")
    return None if found is None else open_session(shipped, found, execution)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Measures one stage of one batch, and the engine's busy time with it."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - started
        metrics.STAGE.labels(name).observe(seconds)
        metrics.ENGINE_BUSY.inc(seconds)


__all__ = ["Engine", "ModelError", "OnnxEngine", "Pad"]
