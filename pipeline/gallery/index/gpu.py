"""Scans on a GPU by ONNX Runtime: float16 rows stay on the device, of their scores only the greatest come back.

One run is a matrix product and a top-k over one segment; the host merges the segments (the second stage) and computes
what the error of float16 leaves open in float64, as for every kernel. If the least of the k still reaches a probe's
floor there may be more, and that segment's scores come back as a whole.

A segment's rows are uploaded when they are scanned first and again when rows came or were overwritten: an erased
template is on the device until the next search of its segment, or until the segment is given up.

Not measured: no GPU was at hand. The parts are tested on the CPU provider, which runs the same graph.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from onnx import TensorProto, helper

from pipeline.errors import UsageError
from pipeline.gallery.index.codes import SLACK, Floats, Probes
from pipeline.gallery.index.kernels import PlainKernel, Scan, Scores
from pipeline.gallery.index.segments import Rows, Segment

Device = Literal["cuda", "cpu"]
_PROVIDERS: dict[Device, str] = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
_GREATEST = 64
"""Scores of each probe and segment that come back."""
_HALF = 2.0**-11
"""Relative rounding of float16; below 2^-14 it is absolute, 2^-25."""


class GpuKernel(PlainKernel):
    """Half-precision products on `device`; `cpu` is for tests."""

    name = "gpu"
    coder = None

    def __init__(self, device: Device = "cuda") -> None:
        """Raises `UsageError` where there is no such device."""
        runtime = _runtime()
        if _PROVIDERS[device] not in runtime.get_available_providers():
            raise UsageError(
                "searching on a GPU: ONNX Runtime has no CUDA provider here; install the extra gpu, or choose the"
                " kernel auto"
            )
        self._device = device
        self._runtime = runtime
        self._sessions = {name: self._session(_graph(dense=dense)) for name, dense in (("top", False), ("all", True))}
        self._uploaded: WeakKeyDictionary[Segment, tuple[tuple[int, int], Any]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def scan(self, probes: Probes) -> Scan:
        """See `Kernel.scan`."""
        return _GpuScan(self, probes)

    def run(self, name: Literal["top", "all"], probes: Any, segment: Segment, first: int, end: int) -> list[Any]:  # noqa: ANN401 - an array of float16
        """Outputs of a graph over the rows of a segment, on the host."""
        session = self._sessions[name]
        binding = session.io_binding()
        rows = self._rows(segment, end)
        binding.bind_ortvalue_input("rows", rows)
        binding.bind_cpu_input("probes", probes)
        binding.bind_cpu_input("range", np.array([first, end], np.int64))
        outputs = [output.name for output in session.get_outputs()]
        for output in outputs:
            binding.bind_output(output, "cpu")
        session.run_with_iobinding(binding)
        return list(binding.copy_outputs_to_cpu())

    def _rows(self, segment: Segment, end: int) -> Any:  # noqa: ANN401 - an OrtValue
        """The segment's rows on the device, at least up to `end`."""
        with self._lock:
            count = segment.count
            state = (count, segment.wiped)
            held = self._uploaded.get(segment)
            if held is None or held[0][0] < end or held[0][1] != segment.wiped:
                value = self._runtime.OrtValue.ortvalue_from_numpy(
                    segment.vectors[:count].astype(np.float16), self._device, 0
                )
                held = self._uploaded[segment] = (state, value)
            return held[1]

    def _session(self, graph: bytes) -> Any:  # noqa: ANN401 - an InferenceSession
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = 1
        session = self._runtime.InferenceSession(graph, options, providers=[_PROVIDERS[self._device]])
        if session.get_providers()[0] != _PROVIDERS[self._device]:
            raise UsageError("searching on a GPU: the session got no GPU; see the driver and the CUDA libraries")
        return session


class _GpuScan:
    """Up to 64 probes."""

    def __init__(self, kernel: GpuKernel, probes: Probes) -> None:
        self._kernel = kernel
        self._probes = probes
        # Of length 1 on the device: a probe of any length would leave the range of float16.
        self.unit = np.where(probes.length > 0, probes.length, 1.0)
        self._halves = (probes.exact / self.unit[:, None]).astype(np.float16)

    def error(self, segment: Segment) -> Floats:
        """Rounding of probes, rows, products and sums."""
        dimension = self._halves.shape[1]
        relative = 3 * _HALF + _HALF**2 + dimension * 2.0**-23
        absolute = 2 * float(np.sqrt(dimension)) * 2.0**-25 + 2.0**-25
        wrong: float = max(1.0, segment.length) * 1.01 * relative + 2 * absolute
        return self.unit * wrong + SLACK

    def scores(self, segment: Segment, first: int, end: int) -> Scores:
        """See `Scan.scores`."""
        (scores,) = self._kernel.run("all", self._halves, segment, first, end)
        return np.asarray(scores, np.float32)

    def hits(self, segment: Segment, first: int, end: int, floors: Floats) -> tuple[Rows, Rows, Scores]:
        """See `Scan.hits`."""
        values, rows = self._kernel.run("top", self._halves, segment, first, end)
        if values.shape[1] == end - first or (values[:, -1] < floors).all():
            probe, place = np.nonzero(values >= floors[:, None])
            return probe, rows[probe, place] + first, values[probe, place].astype(np.float32)
        scores = self.scores(segment, first, end)
        probe, row = np.nonzero(scores >= floors[:, None])
        return probe, row + first, scores[probe, row]


def _graph(*, dense: bool) -> bytes:
    """Products of `probes` (n, d) with rows `range` of `rows` (m, d): all, or the greatest with their places."""
    half, whole = TensorProto.FLOAT16, TensorProto.INT64
    constants = {"axis": [0]} if dense else {"axis": [0], "greatest": [_GREATEST]}
    nodes = [
        helper.make_node("Split", ["range"], ["first", "end"], axis=0, num_outputs=2),
        helper.make_node("Slice", ["rows", "first", "end", "axis"], ["some"]),
        helper.make_node("Transpose", ["some"], ["columns"], perm=[1, 0]),
        helper.make_node("MatMul", ["probes", "columns"], ["scores"]),
    ]
    outputs = [helper.make_tensor_value_info("scores", half, ["n", "k"])]
    if not dense:
        nodes += [
            helper.make_node("Sub", ["end", "first"], ["count"]),
            helper.make_node("Min", ["count", "greatest"], ["k"]),
            helper.make_node("TopK", ["scores", "k"], ["values", "places"], axis=1),
        ]
        outputs = [
            helper.make_tensor_value_info(name, kind, ["n", "k"])
            for name, kind in (("values", half), ("places", whole))
        ]
    graph = helper.make_graph(
        nodes,
        "scan",
        [
            helper.make_tensor_value_info("rows", half, ["m", "d"]),
            helper.make_tensor_value_info("probes", half, ["n", "d"]),
            helper.make_tensor_value_info("range", whole, [2]),
        ],
        outputs,
        [helper.make_tensor(name, whole, [1], value) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _runtime() -> Any:  # noqa: ANN401 - ONNX Runtime has no types
    # It is on by default, and counts only before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"searching on a GPU: {error}; install the extra gpu") from None
    return onnxruntime
