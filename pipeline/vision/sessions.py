"""ONNX Runtime sessions that keep their contract, on the device that was asked for.

The only module that imports ONNX Runtime. It turns telemetry off before the import (it is on by default), asks each
session which providers it really got, because the list of available ones promises what a session may not keep, and
holds names, shapes and types of a model to the manifest, by declaration and by one run.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
import structlog

from pipeline.errors import ModelError
from pipeline.vision.bindings import Bound, Kept, Shape, Tensor
from pipeline.vision.models import ModelSpec, ModelStore

__all__ = ["Execution", "Session", "Tensor", "bind_graph", "chunks", "gpu_is_there", "load_session", "open_session"]

log = structlog.get_logger(__name__)

AHEAD_BYTES = 512 * 1024
"""Inputs of at most this size are filled ahead of the first run of a call."""

GPU_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"


Precision = Literal["auto", "fp32", "fp16", "int8"]
Gpu = Literal["off", "preferred", "required"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Where and how the models run: `threads` per session on a CPU, at most `max_batch` items in one run.

    `precision`: `auto` is fp16 on a GPU and fp32 on a CPU; `int8`, on a CPU, is for the models that have measured
    ranges (`quantise`), the embedder among them. `batch`: items of a run; None is one on a CPU, where more are rarely
    cheaper, and `max_batch` on a GPU; `measured` is what a short measurement finds best.
    """

    gpu: Gpu = "off"
    threads: int = 1
    max_batch: int = 16
    precision: Precision = "auto"
    batch: int | Literal["measured"] | None = None


class Session:
    """One loaded model. May be used by several threads: each has buffers of its own."""

    def __init__(
        self,
        spec: ModelSpec,
        session: Any,  # noqa: ANN401 - see `_runtime`
        max_batch: int,
        *,
        graphs: bool = False,
        precision: str = "fp32",
    ) -> None:
        """`graphs`: the runtime session was made with CUDA graphs. `precision` is what its graph computes in."""
        self.spec = spec
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.on_gpu = self.providers[0] == GPU_PROVIDER
        self.graphs = graphs
        self.precision = precision
        self.max_batch = max_batch if spec.input.shape[0] == -1 else spec.input.shape[0]
        declared = session.get_inputs()[0]
        self.dtype: type[np.generic] = np.uint8 if declared.type == "tensor(uint8)" else np.float32
        """What the input is made of."""
        self.pixels = self.dtype is np.uint8 or declared.shape[-1] == spec.input.shape[1]
        """Whether colour order and normalisation are inside the graph: the input is (n, h, w, 3) BGR, not (n, 3, h, w)
        as the manifest says."""
        self._session = session
        self._outputs = [output.name for output in spec.outputs]
        self._kept = threading.local()
        self._graph_numbers = count(1)
        self._sizes: tuple[int, ...] = ()
        self.best_batch = self.max_batch if self.on_gpu else 1

    @property
    def best_batch(self) -> int:
        """Items of a run that cost least each, on this device; set by `pipeline.vision.batching`."""
        return self._sizes[-1]

    @best_batch.setter
    def best_batch(self, size: int) -> None:
        fixed = self.spec.input.shape[0]
        self._sizes = (fixed,) if fixed != -1 else (*(2**k for k in range(12) if 2**k < size), size)

    def parts(self, items: int) -> list[tuple[slice, int]]:
        """How `items` go into runs of few sizes: slices that cover them, and each one's size of batch.

        A size is larger than its slice where rows are left over: on a GPU, where a further size costs a further graph,
        and where the model takes one size only.
        """
        padded = self.on_gpu or self.spec.input.shape[0] != -1
        parts, start = [], 0
        while start < items:
            left = items - start
            size = (
                next((size for size in self._sizes if size >= left), self._sizes[-1])
                if padded
                else next(size for size in reversed(self._sizes) if size <= left)
            )
            parts.append((slice(start, min(start + size, items)), size))
            start += size
        return parts

    def runs(
        self, items: int, shape: Callable[[int], Shape], fill: Callable[[Bound, slice], None]
    ) -> list[tuple[slice, list[Tensor]]]:
        """Runs over `items`: for each run the slice of them that was in it, and its outputs; rows after that slice's
        are left over from another run. `shape` is an input's by its size of batch, `fill` writes a slice's items.

        What happens between two runs finds the processor's caches cold and costs several times as much. So nothing
        does that can be done before the first or after the last one: small inputs are all filled ahead, and outputs
        hold until the next call.
        """
        parts = [(part, shape(size)) for part, size in self.parts(items)]
        taken: Counter[Shape] = Counter()
        bounds = []
        for _, wanted in parts:
            bounds.append(self.bound(wanted, slot=taken[wanted]))
            taken[wanted] += 1
        ahead = bool(parts) and not self.on_gpu and bounds[0].input.nbytes <= AHEAD_BYTES
        for (part, _), bound in zip(parts, bounds, strict=True) if ahead else ():
            fill(bound, part)
        found = []
        for (part, _), bound in zip(parts, bounds, strict=True):
            if not ahead:
                fill(bound, part)
            found.append((part, self.run_bound(bound)))
        return found

    def bound(self, shape: Shape, slot: int = 0) -> Bound:
        """This thread's buffers for an input of `shape`; they are filled and run through `run_bound`.

        Of the same shape, each `slot` (0, 1, ...) keeps outputs of its own, and an input of its own where that is
        small.
        """
        kept: Kept | None = getattr(self._kept, "bounds", None)
        if kept is None:
            kept = self._kept.bounds = Kept(self.new_bound)
        return kept.of(shape, 0 if self.on_gpu else slot)

    def run_bound(self, bound: Bound) -> list[Tensor]:
        """The outputs in the manifest's order for what was filled into `bound`; they hold until its next run.

        Raises `ModelError` when the runtime fails (out of memory, a lost device).
        """
        try:
            return bound.run()
        except Exception as error:
            raise ModelError(
                f"running the model {self.spec.name} on {bound.shape[0]} items: {_first_line(error)};"
                " restart the process"
            ) from error

    def run(self, batch: Tensor) -> list[Tensor]:
        """For a batch as the session takes it (`pixels`), the outputs in the manifest's order, as arrays of their own;
        raises `ModelError` as `run_bound`.
        """
        bound = self.bound(batch.shape)
        np.copyto(bound.input, batch)
        return [output.copy() for output in self.run_bound(bound)]

    def new_bound(self, shape: Shape, beside: Bound | None = None) -> Bound:
        """Buffers of the caller's own; those of `bound` are shared by all callers of a thread. A large input is that of
        `beside`: many of them would push each other out of the caches."""
        if beside is not None and beside.input.nbytes <= AHEAD_BYTES:
            beside = None
        return Bound(
            _runtime(),
            self._session,
            (self.spec.input.name, self._outputs),
            shape,
            self.dtype,
            gpu=self.on_gpu,
            graph=next(self._graph_numbers) if self.graphs else None,
            beside=beside,
        )


def open_session(store: ModelStore, spec: ModelSpec, execution: Execution) -> Session:
    """Loads a model of a folder from its verified bytes; raises `ModelError` when the device or the contract is not
    what it must be.
    """
    return load_session(spec, store.read(spec), execution)


def load_session(spec: ModelSpec, data: bytes, execution: Execution) -> Session:
    """As `open_session`, of the bytes `data`, which somebody has verified.

    On a GPU the graph takes pixels and computes in half precision (`graphs`), and a run is one CUDA graph where every
    node of the model can be in it.
    """
    runtime = _runtime()
    inference, graphs = None, False
    if execution.gpu != "off" and GPU_PROVIDER in runtime.get_available_providers():
        inference, graphs = _on_gpu(runtime, spec, data, execution)
    if execution.gpu == "required" and inference is None:
        raise ModelError(
            f"loading the model {spec.name}: a GPU is required and the session got {CPU_PROVIDER}; "
            "install the extra gpu with its CUDA libraries, or set vision.gpu to preferred or off"
        )
    precision = _precision(spec, execution, on_gpu=inference is not None)
    if inference is None:
        # Asking for a provider that the wheel lacks is an error in itself: only the one that is there is asked for.
        inference = _load(runtime, spec, _for_cpu(spec, data, precision), execution, [CPU_PROVIDER])
    session = Session(spec, inference, execution.max_batch, graphs=graphs, precision=precision)
    _check_declaration(session, inference)
    _check_run(session)
    if isinstance(execution.batch, int):
        session.best_batch = min(execution.batch, session.max_batch)
    return session


def gpu_is_there() -> bool:
    """Whether ONNX Runtime offers a GPU; what a session really gets is `Session.providers`."""
    return GPU_PROVIDER in _runtime().get_available_providers()


def bind_graph(data: bytes, names: tuple[str, str], shape: Shape, dtype: type[np.generic], *, gpu: bool) -> Bound:
    """A graph of no model, with one input and one output called `names`, on one thread: for measuring the device."""
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    inference = runtime.InferenceSession(data, options, providers=[GPU_PROVIDER if gpu else CPU_PROVIDER])
    inference.disable_fallback()
    return Bound(runtime, inference, (names[0], [names[1]]), shape, dtype, gpu=gpu, graph=None)


def _precision(spec: ModelSpec, execution: Execution, *, on_gpu: bool) -> str:
    """What the model computes in; raises `ModelError` where the device cannot do what was asked for by name."""
    wanted = execution.precision
    if on_gpu and wanted == "int8":
        raise ModelError(
            f"loading the model {spec.name}: 8-bit integers are for a CPU and it got a GPU; set vision.precision to"
            " fp16"
        )
    if not on_gpu and wanted == "fp16":
        raise ModelError(
            f"loading the model {spec.name}: half precision is for a GPU and it got {CPU_PROVIDER}; set "
            "vision.precision to auto, fp32 or int8"
        )
    if wanted == "int8":
        from pipeline.vision.quantise import recipes

        # An embedder without measured ranges is refused by what quantises it, not silently left as it is.
        return "int8" if spec.role == "embedder" or spec.sha256 in recipes() else "fp32"
    return "fp16" if on_gpu and wanted == "auto" else "fp32" if wanted == "auto" else wanted


def _for_cpu(spec: ModelSpec, data: bytes, precision: str) -> bytes:
    """The model's form for a CPU. Where it looks at whole pictures, parting their colours would cost it 1 %."""
    if precision == "int8":
        from pipeline.vision.quantise import to_int8

        return to_int8(data, spec)
    if spec.role != "detector":
        return data
    from pipeline.vision.graphs import with_interleaved_input

    return with_interleaved_input(data, spec) or data


def _on_gpu(runtime: Any, spec: ModelSpec, data: bytes, execution: Execution) -> tuple[Any, bool]:  # noqa: ANN401 - as above
    """The model's form for a GPU there and whether it has CUDA graphs; None when the session did not get the GPU."""
    from pipeline.vision.graphs import to_fp16, with_uint8_input

    form = data if execution.precision == "fp32" else to_fp16(data)
    if spec.role != "eyes":
        form = with_uint8_input(form, spec)
    # TF32 would round every factor to 10 bits, also where single precision was asked for.
    base = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    inference = None
    for options in ({**base, "enable_cuda_graph": "1"}, base):
        try:
            inference = _load(runtime, spec, form, execution, [(GPU_PROVIDER, options), CPU_PROVIDER])
        except ModelError as error:
            # A graph with a node that only the CPU has cannot be captured; it runs on the GPU all the same.
            if options is not base:
                continue
            if execution.gpu == "required":
                raise
            log.warning("gpu_refused", model=spec.name, why=str(error))
            return None, False
        break
    if inference is None or inference.get_providers()[0] != GPU_PROVIDER:
        return None, False
    return inference, options is not base


def _load(runtime: Any, spec: ModelSpec, data: bytes, execution: Execution, providers: Sequence[Any]) -> Any:  # noqa: ANN401 - as above
    options = runtime.SessionOptions()
    options.intra_op_num_threads = execution.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A spinning pool burns the core that the next frame's decode needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        inference = runtime.InferenceSession(data, options, providers=list(providers))
    except Exception as error:
        raise ModelError(f"loading the model {spec.name}: ONNX Runtime says: {_first_line(error)}") from error
    # Without this a session that fails on the GPU would go on, silently, on the CPU.
    inference.disable_fallback()
    return inference


def _runtime() -> Any:  # noqa: ANN401 - the package ships no types; `Session` gives what leaves this module its type
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(
            "loading ONNX Runtime: it is not installed; install facepay with the extra cpu or gpu"
        ) from None
    return onnxruntime


def _check_declaration(session: Session, inference: Any) -> None:  # noqa: ANN401 - as above
    """Names, shapes and types as the file declares them; pixels instead where the graph was made to take them."""
    spec = session.spec
    items, channels, *sides = spec.input.shape
    kind = "tensor(uint8)" if session.dtype is np.uint8 else "tensor(float)"
    wanted = [
        (spec.input.name, (items, *sides, channels) if session.pixels else spec.input.shape, kind),
        *((output.name, output.shape, "tensor(float)") for output in spec.outputs),
    ]
    inputs = inference.get_inputs()
    declared = {node.name: node for node in [*inputs, *inference.get_outputs()]}
    if [node.name for node in inputs] != [spec.input.name]:
        raise _broken(spec, f"its inputs are {[node.name for node in inputs]}, not {[spec.input.name]}")
    for name, shape, kind in wanted:
        node = declared.get(name)
        if node is None:
            raise _broken(spec, f"it has no output {name}")
        if node.type != kind:
            raise _broken(spec, f"{name} is {node.type}, not {kind}")
        found = tuple(size if isinstance(size, int) else -1 for size in node.shape)
        if found != shape:
            raise _broken(spec, f"{name} has the shape {list(found)}, not {list(shape)}")


def _check_run(session: Session) -> None:
    """One run on a black picture: what comes out has the promised sizes and is finite. It also warms the session up."""
    spec = session.spec
    # 64 is the least multiple of the detector's coarsest stride at which every output holds more than one cell.
    items, channels, height, width = (
        1 if axis == 0 and size == -1 else 64 if size == -1 else size for axis, size in enumerate(spec.input.shape)
    )
    shape = (items, height, width, channels) if session.pixels else (items, channels, height, width)
    for contract, output in zip(spec.outputs, session.run_bound(session.bound(shape)), strict=True):
        fits = output.ndim == len(contract.shape) and all(
            size in {-1, got} for size, got in zip(contract.shape, output.shape, strict=True)
        )
        if not fits or output.dtype != np.float32:
            raise _broken(
                spec, f"{contract.name} came out as {output.dtype} {list(output.shape)}, not {list(contract.shape)}"
            )
        if not np.isfinite(output).all():
            raise _broken(spec, f"{contract.name} is not finite on a black picture")


def _broken(spec: ModelSpec, found: str) -> ModelError:
    return ModelError(
        f"checking the model {spec.name} against its contract: {found}; use the file {spec.file} of the manifest"
    )


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def chunks(items: int, size: int) -> Sequence[slice]:
    """Slices of at most `size` that cover `items` items."""
    return [slice(start, min(start + size, items)) for start in range(0, items, size)]
