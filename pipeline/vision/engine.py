"""Pixels to faces: the one interface that agents and commands see, and its form on ONNX Runtime.

A batch of images goes through the stages together: detect, align, embed and, where asked, liveness. Faces of all images
share the runs of the later stages. A face's result does not depend on its batch. The engine keeps no state between
calls and may be called from several threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from pipeline import metrics
from pipeline.errors import ModelError
from pipeline.vision.align import align, qualities
from pipeline.vision.decode import Image
from pipeline.vision.detector import YuNet
from pipeline.vision.embedder import ArcFaceEmbedder
from pipeline.vision.faces import Box, Face
from pipeline.vision.liveness import PAIR, SINGLE, Liveness, fused_threshold
from pipeline.vision.models import ModelStore
from pipeline.vision.sessions import Execution, Session, open_session

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
        self, detector: Session, embedder: Session, liveness: Sequence[Session] = (), *, max_faces: int | None = None
    ) -> None:
        self._detector = YuNet(detector)
        self._embedder = ArcFaceEmbedder(embedder)
        self._liveness = Liveness(liveness) if liveness else None
        self._max_faces = max_faces
        self.embedder_sha256 = embedder.spec.sha256
        self.dimension = self._embedder.dimension
        self.thresholds = embedder.spec.thresholds
        self.live_threshold = fused_threshold() if self._liveness is not None and self._liveness.fuses else None
        self.live_proven = False
        self.drawn = any(getattr(session.spec, "drawn", False) for session in (detector, embedder, *liveness))
        self.providers = {session.spec.name: session.providers for session in (detector, embedder, *liveness)}
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
    ) -> OnnxEngine:
        """Loads the models of a folder and holds them to their contracts; raises `ModelError` in one sentence.

        `pad`: `required` refuses to start without every liveness model, `report_only` scores with those that are there.
        `max_faces` bounds the faces of one image that are aligned and embedded, the largest first: a crowd must not
        stall a lane.
        """
        execution = execution or Execution()
        store = ModelStore.open(models)
        specs = [store.require("detector"), store.require("embedder", embedder)]
        if pad == "required":
            specs += [store.require("liveness", name) for name in (*PAIR, SINGLE)]
        elif pad == "report_only":
            specs += [spec for name in (*PAIR, SINGLE) if (spec := store.find("liveness", name)) is not None]
        detector, embedding, *liveness = (open_session(store, spec, execution) for spec in specs)
        return cls(detector, embedding, liveness, max_faces=max_faces)

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
            seen = qualities(landmarks, aligned)
        with _stage("embed"):
            embeddings = self._embedder.embed(aligned)
        live: Sequence[Mapping[str, float] | None] = [None] * len(wanted)
        if self._liveness is not None:
            with _stage("liveness"):
                live = self._liveness.score(sources, boxes)
        for row, (i, k) in enumerate(wanted):
            result[i].append(
                Face(
                    box=boxes[row],
                    landmarks=landmarks[row],
                    detection=float(found[i].scores[k]),
                    quality=seen[row],
                    embedding=embeddings[row],
                    live=live[row],
                )
            )
        return result


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
