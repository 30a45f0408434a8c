"""8-bit integers on a CPU: an embedder that computes in INT8, made from its float32 file when it is loaded.

Weights become int8 with a scale per channel, activations uint8 with ranges that are fixed ahead (static quantisation
in QDQ form, Jacob et al., 2018; ONNX Runtime fuses it into integer kernels). The first and the last layers stay in
float32: there the coarse steps cost most similarity. The ranges were measured once, on real faces, and lie in
`int8.toml` beside this module, bound to the SHA-256 of the file that they belong to, so that loading needs no pictures
and the same source always gives the same graph. A model without ranges is refused: there is no guess.

The figures of what it costs and gains are in docs/models.md; `facepay models quantise` measures them again.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from pipeline.errors import ModelError
from pipeline.vision.models import ModelSpec

Batches = Sequence[npt.NDArray[np.float32]]
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one file becomes integers: `ranges` of its activations by tensor name, least and greatest value;
    `float_first` and `float_last` convolutions (with what stands before or after them) stay in float32.
    """

    name: str
    sha256: str
    float_first: int
    float_last: int
    calibrated_on: str
    ranges: Ranges


@cache
def recipes() -> Mapping[str, Recipe]:
    """Every known recipe by the SHA-256 of its source."""
    text = resources.files("pipeline.vision").joinpath("int8.toml").read_text(encoding="utf-8")
    known = msgspec.convert(tomllib.loads(text)["recipes"], tuple[Recipe, ...], strict=True)
    return {recipe.sha256: recipe for recipe in known}


def to_int8(model: bytes, spec: ModelSpec) -> bytes:
    """`model`, the verified bytes of `spec`, in integers; names, shapes and types of input and outputs stay.

    Takes about two seconds. Raises `ModelError` when no ranges are known for this file.
    """
    recipe = recipes().get(spec.sha256)
    if recipe is None:
        names = ", ".join(recipe.name for recipe in recipes().values())
        raise ModelError(
            f"turning the model {spec.name} into 8-bit integers: no ranges of its activations are known; set "
            f"vision.precision to fp32, or use one of: {names}"
        )
    return quantised(model, recipe)


def quantised(model: bytes, recipe: Recipe) -> bytes:
    """`model` in integers as `recipe` says; raises `ModelError` when the recipe does not fit the graph."""
    _runtime_is_silent()
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    graph = _prepared(model)
    bounds = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in recipe.ranges.items()
    }
    try:
        quantizer = QDQQuantizer(
            graph,
            True,  # noqa: FBT003 - a scale per channel; the class takes its many parameters by position
            False,  # noqa: FBT003 - all 8 bits: the pairwise sums of old CPUs saturate, those of VNNI do not
            QuantType.QInt8,
            QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, bounds),
            [],
            _float_nodes(graph, recipe.float_first, recipe.float_last),
            _operators(),
            {},
        )
        quantizer.quantize_model()
    except Exception as error:
        raise ModelError(
            f"turning the model {recipe.name} into 8-bit integers: {type(error).__name__}: {error}; set "
            "vision.precision to fp32"
        ) from error
    result: bytes = quantizer.model.model.SerializeToString(deterministic=True)
    return result


def measured_ranges(model: bytes, input_name: str, batches: Batches) -> Ranges:
    """Least and greatest value of each activation of `model` over `batches` (inputs as the network takes them)."""
    _runtime_is_silent()
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.onnx"
        onnx.save(_prepared(model), str(source))
        calibrator = create_calibrator(
            source,
            _operators(),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(input_name, batches))
        found = calibrator.compute_data()
    ranges = ((name, found[name].range_value) for name in found.keys())  # noqa: SIM118 - `found` is no mapping
    return {name: (float(np.squeeze(low)), float(np.squeeze(high))) for name, (low, high) in ranges}


def as_toml(recipe: Recipe) -> str:
    """The recipe as a table of `int8.toml`."""
    lines = ["[[recipes]]"]
    for field in ("name", "sha256", "float_first", "float_last", "calibrated_on"):
        value = getattr(recipe, field)
        lines.append(f"{field} = {msgspec.json.encode(value).decode()}")
    lines.append("[recipes.ranges]")
    lines += [f'"{name}" = [{low:.6g}, {high:.6g}]' for name, (low, high) in recipe.ranges.items()]
    return "\n".join(lines) + "\n"


class _Reader:
    """Batches in the form that ONNX Runtime's calibration asks for."""

    def __init__(self, name: str, batches: Batches) -> None:
        self._name = name
        self._batches: Iterator[npt.NDArray[np.float32]] = iter(batches)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next feed; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}

    def set_range(self, start_index: int, end_index: int) -> None:
        """Asked for by the interface, used for data that does not fit into memory."""
        raise NotImplementedError(f"batches {start_index} to {end_index}")


def _float_nodes(graph: onnx.ModelProto, first: int, last: int) -> list[str]:
    """Names of the nodes before convolution number `first` and from the `last`-last on."""
    nodes = [node.name for node in graph.graph.node]
    convolutions = [index for index, node in enumerate(graph.graph.node) if node.op_type == "Conv"]
    if first + last >= len(convolutions):
        raise ModelError(
            f"turning a model into 8-bit integers: {first} + {last} of its {len(convolutions)} convolutions would stay "
            "in float32, so that none is left; choose fewer"
        )
    tail = convolutions[-last] if last else len(nodes)
    return nodes[: convolutions[first]] + nodes[tail:]


def _prepared(model: bytes) -> onnx.ModelProto:
    """The graph with shapes inferred and constants and batch normalisation folded."""
    _runtime_is_silent()
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "prepared.onnx"
        quant_pre_process(onnx.load_model_from_string(model), target, skip_symbolic_shape=True)
        return onnx.load(str(target))


def _operators() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


def _runtime_is_silent() -> None:
    """As in `pipeline.vision.sessions`: telemetry is off before the first import."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
