"""The models of an engine without the engine: the very runs it made, again, by bare `session.run`.

A `Taped` session notes the shape of each run. `BareModels` repeats a tape on the same ONNX Runtime sessions with inputs
that lie ready, so that what remains of a difference is everything that the engine does around its models. The inputs of
one shape are the same array each time: if that helps the processor's caches, it helps the baseline.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.vision.bindings import Array, Bound, Tensor
from pipeline.vision.engine import OnnxEngine
from pipeline.vision.models import ModelStore, Role
from pipeline.vision.sessions import Execution, Session, open_session

STAGES: dict[Role, str] = {"detector": "detect", "embedder": "embed", "liveness": "liveness"}
"""By role of a model, the engine's stage that runs it."""


@dataclass(frozen=True, slots=True)
class ModelRun:
    """One run of one model."""

    model: str
    shape: tuple[int, ...]


class Taped(Session):
    """A session that notes its runs on `tape` and keeps the first input of each shape."""

    def __init__(self, session: Session, tape: list[ModelRun]) -> None:
        super().__init__(
            session.spec, runtime_of(session), session.max_batch, graphs=session.graphs, precision=session.precision
        )
        self.tape = tape
        self.cpu_s = 0.0
        """CPU of the calling threads within all runs."""
        self.inputs: dict[tuple[int, ...], Array] = {}

    def run_bound(self, bound: Bound) -> list[Tensor]:
        """As `Session.run_bound`."""
        self.tape.append(ModelRun(self.spec.name, bound.shape))
        if bound.shape not in self.inputs:
            self.inputs[bound.shape] = bound.input.copy()
        began = time.thread_time()
        outputs = super().run_bound(bound)
        self.cpu_s += time.thread_time() - began
        return outputs


@dataclass(frozen=True, slots=True)
class TapedEngine:
    """An engine whose runs are noted on `tape`."""

    engine: OnnxEngine
    sessions: Sequence[Taped]
    tape: list[ModelRun]

    def runs(self) -> list[ModelRun]:
        """What was noted since the last call."""
        noted = list(self.tape)
        self.tape.clear()
        return noted


def open_taped(models: Path, *, liveness: bool, threads: int = 1, max_batch: int = 16, max_faces: int) -> TapedEngine:
    """The engine as an agent has it, its sessions taped; raises `ModelError`."""
    store = ModelStore.open(models)
    specs = [store.require("detector"), store.require("embedder")]
    fusion = store.fusion() if liveness else None
    if fusion is not None:
        specs += [store.require("liveness", name) for name in fusion.weights]
    tape: list[ModelRun] = []
    execution = Execution(threads=threads, max_batch=max_batch)
    sessions = [Taped(open_session(store, spec, execution), tape) for spec in specs]
    tape.clear()
    detector, embedder, *others = sessions
    return TapedEngine(OnnxEngine(detector, embedder, others, fusion=fusion, max_faces=max_faces), sessions, tape)


class BareModels:
    """Repeats tapes. `taped` has seen at least one run of each model, at the largest size of a batch. With `bound` by
    bare IOBinding, inputs and outputs in buffers of their own; else by `session.run`.
    """

    def __init__(self, taped: TapedEngine, *, bound: bool = False) -> None:
        self._sessions = {session.spec.name: session for session in taped.sessions} if bound else {}
        self._bounds: dict[tuple[str, tuple[int, ...]], Bound] = {}
        self._models: dict[str, tuple[Any, list[str], str, str]] = {}
        self._inputs: dict[tuple[str, tuple[int, ...]], Array] = {}
        self._largest: dict[str, Array] = {}
        for session in taped.sessions:
            spec = session.spec
            outputs = [output.name for output in spec.outputs]
            self._models[spec.name] = (runtime_of(session), outputs, spec.input.name, STAGES[spec.role])
            self._largest[spec.name] = max(session.inputs.values(), key=lambda batch: batch.size)
            session.inputs.clear()

    def prepare(self, runs: Sequence[ModelRun]) -> None:
        """Lays out an input for each shape on the tape."""
        for run in runs:
            if (run.model, run.shape) not in self._inputs:
                batch = self._inputs[run.model, run.shape] = _of_shape(self._largest[run.model], run.shape)
                if self._sessions:
                    self._bounds[run.model, run.shape] = bound = self._sessions[run.model].new_bound(run.shape)
                    np.copyto(bound.input, batch)

    def repeat(self, runs: Sequence[ModelRun]) -> dict[str, float]:
        """The runs again, in order; wall seconds by the engine's stage."""
        seconds = dict.fromkeys((stage for *_, stage in self._models.values()), 0.0)
        for run in runs:
            session, outputs, name, stage = self._models[run.model]
            batch = self._inputs[run.model, run.shape]
            bound = self._bounds.get((run.model, run.shape))
            began = time.perf_counter()
            if bound is None:
                session.run(outputs, {name: batch})
            else:
                bound.run()
            seconds[stage] += time.perf_counter() - began
        return seconds


def runtime_of(session: Session) -> Any:  # noqa: ANN401 - ONNX Runtime ships no types
    """ONNX Runtime's own session: the baseline has to be the same one, without what stands around it."""
    return session._session  # noqa: SLF001 - see above


def _of_shape(batch: Array, shape: tuple[int, ...]) -> Array:
    """As many rows of `batch` as `shape` wants, repeated where it has fewer."""
    if batch.shape[1:] != shape[1:]:
        return np.resize(batch, shape)
    return np.ascontiguousarray(np.take(batch, range(shape[0]), axis=0, mode="wrap"))
