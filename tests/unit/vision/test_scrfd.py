"""SCRFD's outputs become faces: graphs that are made here, with anchors whose faces are known. No real weights ran."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.vision.models import InputContract, ModelFile, ModelSpec, ModelStore, OutputContract, manifest
from pipeline.vision.scrfd import Scrfd
from pipeline.vision.sessions import Execution, open_session

SIDE = 64
WIDTHS = {"score": 1, "bbox": 4, "kps": 10}
STRIDES = (8, 16, 32)

Outputs = dict[str, npt.NDArray[np.float32]]


def anchor(stride: int, column: int, row: int, second: int) -> int:
    """The place of an anchor in its stride's outputs: row by row, both of a cell beside each other."""
    return (row * (SIDE // stride) + column) * 2 + second


def nothing() -> Outputs:
    """Outputs of a picture without a face: anchors by kind and stride, e.g. `bbox_16` (32, 4)."""
    return {
        f"{kind}_{stride}": np.zeros((2 * (SIDE // stride) ** 2, width), np.float32)
        for kind, width in WIDTHS.items()
        for stride in STRIDES
    }


def network(outputs: Outputs, *, batched: bool) -> bytes:
    """A graph that answers `outputs` for each picture; the first point of `kps_8` is moved by the picture's first
    pixel, red and green as the network sees them.
    """
    size = -1 if batched else 1
    graph_input = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["n" if batched else 1, 3, SIDE, SIDE])
    nodes, constants, declared = [], [], []

    def constant(name: str, array: npt.ArrayLike) -> str:
        constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    # The first pixel (n, 3, 1, 1), then its red and green as (n, 1, 2) and, padded, as an addend of kps (n, 1, 10).
    nodes.append(
        helper.make_node(
            "Slice", ["input.1", constant("from", np.array([0, 0, 0])), constant("to", np.array([2, 1, 1])),
                      constant("axes", np.array([1, 2, 3]))], ["pixel"])
    )  # fmt: skip
    nodes.append(helper.make_node("Reshape", ["pixel", constant("flat", np.array([-1, 1, 2]))], ["two"]))
    nodes.append(
        helper.make_node(
            "Pad", ["two", constant("room", np.array([0, 0, 0, 0, 0, 8])), constant("none", np.float32(0))], ["addend"]
        )
    )
    nodes.append(helper.make_node("ReduceSum", ["addend", constant("all", np.array([1, 2]))], ["sum"], keepdims=1))
    nodes.append(helper.make_node("Mul", ["sum", constant("zero", np.float32(0))], ["zeros"]))
    for name, values in outputs.items():
        moved = "addend" if name == "kps_8" else "zeros"
        array = constant(f"{name}_values", values[None])
        target = name if batched else f"{name}_batch"
        nodes.append(helper.make_node("Add", [array, moved], [target]))
        if not batched:
            nodes.append(helper.make_node("Squeeze", [target, constant(f"{name}_axis", np.array([0]))], [name]))
        shape = ["n", *values.shape] if size == -1 else list(values.shape)
        declared.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    graph = helper.make_graph(nodes, "scrfd", [graph_input], declared, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def contract(data: bytes, *, batched: bool) -> ModelSpec:
    """What a manifest would say of `network`."""
    like = next(spec for spec in manifest() if spec.role == "detector")
    batch = (-1,) if batched else ()
    return replace(
        like,
        name="scrfd",
        family="scrfd",
        sha256=hashlib.sha256(data).hexdigest(),
        input=InputContract("input.1", (-1 if batched else 1, 3, SIDE, SIDE), "RGB", (127.5,) * 3, (128.0,) * 3),
        outputs=tuple(OutputContract(name, (*batch, *values.shape)) for name, values in nothing().items()),
        thresholds={"score": 0.5, "nms_iou": 0.4},
    )


@pytest.fixture(params=[True, False], ids=["batches", "one image"])
def detector(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Outputs], Scrfd]:
    """SCRFD on a graph with these outputs, exported with and without the batch's axis."""

    def make(outputs: Outputs) -> Scrfd:
        data = network(outputs, batched=request.param)
        path = tmp_path / "scrfd.onnx"
        path.write_bytes(data)
        spec = contract(data, batched=request.param)
        store = ModelStore(tmp_path, [ModelFile(path, spec.sha256, spec)])
        return Scrfd(open_session(store, spec, Execution()))

    return make


def black(count: int = 1) -> list[npt.NDArray[np.uint8]]:
    return [np.zeros((SIDE, SIDE, 3), np.uint8)] * count


@pytest.mark.parametrize(
    ("stride", "column", "row", "second"), [(8, 3, 5, 0), (8, 3, 5, 1), (16, 0, 3, 1), (32, 1, 1, 0)]
)
def test_an_anchors_numbers_become_a_box_and_points(
    detector: Callable[[Outputs], Scrfd], stride: int, column: int, row: int, second: int
) -> None:
    """Distances to the sides and offsets of the points, in strides from the cell's corner; the score as it is."""
    outputs = nothing()
    place = anchor(stride, column, row, second)
    outputs[f"score_{stride}"][place] = 0.875
    outputs[f"bbox_{stride}"][place] = [0.5, 1.0, 1.5, 2.0]
    outputs[f"kps_{stride}"][place] = np.arange(10) / 8
    found = detector(outputs).detect(black())[0]
    x, y = column * stride, row * stride
    points = (np.arange(10) / 8).reshape(5, 2) * stride + [x, y]
    if stride == 8:
        points[0] += (0 - 127.5) / 128 * stride
    assert found.scores == pytest.approx([0.875])
    assert found.boxes[0] == pytest.approx([x - 0.5 * stride, y - stride, 2 * stride, 3 * stride], abs=1e-4)
    assert found.landmarks[0] == pytest.approx(points, abs=1e-4)


def test_the_network_sees_red_green_blue_less_127_and_a_half_over_128(detector: Callable[[Outputs], Scrfd]) -> None:
    """The graph moves a point by its first pixel's first two channels: red and green of a picture in BGR."""
    outputs = nothing()
    outputs["score_8"][0] = 1.0
    outputs["bbox_8"][0] = 1.0
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[0, 0] = (10, 20, 250)
    found = detector(outputs).detect([picture])[0]
    assert found.landmarks[0][0] == pytest.approx([(250 - 127.5) / 128 * 8, (20 - 127.5) / 128 * 8], abs=1e-4)


def test_scores_below_the_threshold_and_overlaps_are_dropped(detector: Callable[[Outputs], Scrfd]) -> None:
    """0.49 is no face; the second anchor of a cell that says the same box again is the same face; the largest leads."""
    outputs = nothing()
    for stride, column, row, second, score, side in (
        (8, 1, 1, 0, 0.9, 1.0),
        (8, 1, 1, 1, 0.8, 1.1),
        (8, 6, 6, 0, 0.49, 1.0),
        (16, 2, 1, 0, 0.6, 1.0),
    ):
        outputs[f"score_{stride}"][anchor(stride, column, row, second)] = score
        outputs[f"bbox_{stride}"][anchor(stride, column, row, second)] = side
    found = detector(outputs).detect(black())[0]
    assert found.scores == pytest.approx([0.6, 0.9])
    assert found.boxes[:, 2] == pytest.approx([32, 16], abs=1e-4)


@pytest.mark.parametrize("broken", [-3.0, 3e38], ids=["inside out", "larger than any number"])
def test_boxes_without_an_inside_are_no_faces(detector: Callable[[Outputs], Scrfd], broken: float) -> None:
    """Nothing is reported and nothing is raised; a sound face beside it stays."""
    outputs = nothing()
    outputs["score_16"][[0, anchor(16, 3, 3, 0)]] = 0.9
    outputs["bbox_16"][0] = broken
    outputs["bbox_16"][anchor(16, 3, 3, 0)] = 1.0
    found = detector(outputs).detect(black())[0]
    assert found.boxes[:, 0] == pytest.approx([32], abs=1e-3)


def test_every_picture_of_a_batch_gets_its_own_faces(detector: Callable[[Outputs], Scrfd]) -> None:
    """Three pictures whose first pixels differ: the point that follows the pixel tells them apart."""
    outputs = nothing()
    outputs["score_8"][anchor(8, 4, 4, 0)] = 0.7
    outputs["bbox_8"][anchor(8, 4, 4, 0)] = 1.0
    pictures = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in (0, 100, 200)]
    found = detector(outputs).detect(pictures)
    xs = [float(faces.landmarks[0, 0, 0]) for faces in found]
    assert xs == pytest.approx([32 + (level - 127.5) / 16 for level in (0, 100, 200)], abs=1e-3)
