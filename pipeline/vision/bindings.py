"""A session's buffers for one shape of input: filled in place, run in place, read in place.

`session.run` makes new arrays for every output and copies them; for the detector's twelve that costs 0.17 ms on a CPU.
A `Bound` has its input and outputs in memory that ONNX Runtime reads and writes itself (IOBinding). On a GPU they lie
on the device, the input is copied there and the outputs back, and from the second run on the whole run is one CUDA
graph where the session allows it (`graph` is its number within the session).

The first run of a shape is also what tells the sizes of the outputs. A `Bound` belongs to one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Tensor = npt.NDArray[np.float32]
Shape = tuple[int, ...]

KEPT = 8
"""Shapes that a thread keeps buffers for, per session: pictures of ever new sizes must not fill the memory."""


class Bound:
    """One session and one shape. `input` is to be filled, then `run` gives the outputs."""

    def __init__(
        self,
        runtime: Any,  # noqa: ANN401 - ONNX Runtime ships no types
        inference: Any,  # noqa: ANN401 - as above
        names: tuple[str, Sequence[str]],
        shape: Shape,
        dtype: type[np.generic],
        *,
        gpu: bool,
        graph: int | None,
        beside: Bound | None = None,
    ) -> None:
        """`beside`: another of the same shape, on a CPU, whose input this one shares."""
        self.shape = shape
        self.input: Array = np.zeros(shape, dtype) if beside is None else beside.input
        self.planes: npt.NDArray[np.uint8] = (
            np.zeros(shape if dtype is np.float32 else 0, np.uint8) if beside is None else beside.planes
        )
        """Room for `tensors.Pixels` to part colours in."""
        self._inference = inference
        self._names = names
        self._runtime = runtime
        self._binding = inference.io_binding()
        self._gpu = gpu
        values = runtime.OrtValue
        self._source = (
            values.ortvalue_from_shape_and_type(shape, dtype, "cuda", 0)
            if gpu
            else values.ortvalue_from_numpy(self.input)
        )
        self._binding.bind_ortvalue_input(names[0], self._source)
        for name in names[1]:
            self._binding.bind_output(name, "cuda" if gpu else "cpu")
        self._graph = graph
        # A session with CUDA graphs captures every run that does not forbid it.
        self._options = _options(runtime, None if graph is None else -1)
        self._values: list[Any] = []
        self._outputs: list[Tensor] = []

    def run(self) -> list[Tensor]:
        """The outputs for what stands in `input`, in the session's order; on a CPU they hold until the next run."""
        if self._gpu:
            self._source.update_inplace(self.input)
        self._inference.run_with_iobinding(self._binding, self._options)
        if not self._values:
            return self._settle()
        return [value.numpy() for value in self._values] if self._gpu else self._outputs

    def again(self) -> None:
        """Runs on what was last filled in and leaves the outputs where they are: the device alone."""
        self._inference.run_with_iobinding(self._binding, self._options)

    def _settle(self) -> list[Tensor]:
        """After the first run: its outputs, and buffers of their sizes for all further runs."""
        found: list[Any] = list(self._binding.get_outputs())
        outputs: list[Tensor] = [value.numpy() for value in found]
        if not self._gpu:
            self._outputs = [np.empty_like(output) for output in outputs]
            found = [self._runtime.OrtValue.ortvalue_from_numpy(output) for output in self._outputs]
        for name, value in zip(self._names[1], found, strict=True):
            self._binding.bind_ortvalue_output(name, value)
        self._values = found
        self._options = _options(self._runtime, self._graph)
        return outputs


class Kept:
    """The newest buffers of each shape, for one thread; `make` makes one, beside another one or alone."""

    def __init__(self, make: Callable[[Shape, Bound | None], Bound]) -> None:
        self._make = make
        self._bounds: OrderedDict[Shape, list[Bound]] = OrderedDict()

    def of(self, shape: Shape, slot: int = 0) -> Bound:
        """The one of `shape`, made when it is not there; the shape that was not used for the longest time goes.

        Each `slot`, counted from 0 without gaps, has outputs of its own; `make` decides whether it shares the input.
        """
        bounds = self._bounds.get(shape)
        if bounds is None:
            if len(self._bounds) >= KEPT:
                self._bounds.popitem(last=False)
            bounds = self._bounds[shape] = []
        else:
            self._bounds.move_to_end(shape)
        if slot >= len(bounds):
            bounds.append(self._make(shape, bounds[0] if bounds else None))
        return bounds[slot]


def _options(runtime: Any, graph: int | None) -> Any:  # noqa: ANN401 - as above
    """Options of a run; `graph` -1 forbids the capture of a CUDA graph, None is for sessions without."""
    if graph is None:
        return None
    options = runtime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
