"""Derived graphs of small networks made here: pixels as input, half precision, 8-bit integers; and what is refused."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import ModelError
from pipeline.vision import quantise
from pipeline.vision.embedder import ArcFaceEmbedder
from pipeline.vision.graphs import to_fp16, with_interleaved_input, with_uint8_input
from pipeline.vision.models import InputContract, ModelSpec, OutputContract, manifest
from pipeline.vision.quantise import Recipe, as_toml, measured_ranges, quantised, to_int8
from pipeline.vision.sessions import Execution, load_session
from tests.unit.vision.networks import doubling

SIDE = 16
WIDTH = 512

Floats = npt.NDArray[np.float32]
Colour = Literal["BGR", "RGB", "GREY"]


def network(channels: int = 3, convolutions: int = 4, width: int = WIDTH, side: int = SIDE) -> bytes:
    """Convolutions with ReLU, their mean over the picture, a projection to `width` numbers; fixed random weights."""
    draw = np.random.default_rng(5)
    nodes, weights, name, inside = [], [], "input", channels
    for index in range(convolutions):
        kernel = draw.normal(0, np.sqrt(2 / (9 * inside)), (16, inside, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], f"conv{index}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"], f"relu{index}"))
        name, inside = f"r{index}", 16
    weights.append(numpy_helper.from_array(draw.normal(0, 1, (inside, width)).astype(np.float32), "projection"))
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["mean"], "mean"))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"], "flat"))
    nodes.append(helper.make_node("MatMul", ["flat", "projection"], ["embedding"], "project"))
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", width])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def contract(data: bytes, colour: Colour = "RGB", side: int = SIDE, width: int = WIDTH) -> ModelSpec:
    """What a manifest would say of `network`; ArcFace's own normalisation, (pixel - 127.5) / 128."""
    channels = 1 if colour == "GREY" else 3
    like = next(spec for spec in manifest() if spec.role == "embedder")
    shape = (-1, channels, side, side)
    return replace(
        like,
        name="synthetic",
        sha256=hashlib.sha256(data).hexdigest(),
        input=InputContract("input", shape, colour, (127.5,) * channels, (128.0,) * channels),
        outputs=(OutputContract("embedding", (-1, width)),),
    )


def pictures(count: int = 6, channels: int = 3, side: int = SIDE) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(8).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def as_network_takes(spec: ModelSpec, images: npt.NDArray[np.uint8]) -> Floats:
    """By the textbook: colours in order, less the mean, over the deviation, channels first."""
    ordered = images[..., ::-1] if spec.input.colour == "RGB" else images
    mean, std = (np.array(numbers, np.float32) for numbers in (spec.input.mean, spec.input.std))
    return np.ascontiguousarray(((ordered.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))


def run(data: bytes, batch: npt.NDArray[np.generic]) -> Floats:
    """The one output of a graph, whatever it is called."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    output: Floats = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return output


def cosines(left: Floats, right: Floats) -> Floats:
    return np.asarray((left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1), np.float32)


@pytest.mark.parametrize("colour", ["BGR", "RGB", "GREY"])
def test_pixels_inside_the_graph_give_what_normalised_numbers_give(colour: Colour) -> None:
    """Within 1e-4, for each order of colours; names stay and the input is bytes."""
    channels = 1 if colour == "GREY" else 3
    source = network(channels)
    spec, images = contract(source, colour), pictures(channels=channels)
    derived = with_uint8_input(source, spec)
    declared = onnx.load_model_from_string(derived).graph.input[0]
    sizes = [size.dim_param or size.dim_value for size in declared.type.tensor_type.shape.dim]
    assert (declared.name, declared.type.tensor_type.elem_type) == ("input", TensorProto.UINT8)
    assert sizes == ["n", SIDE, SIDE, channels]
    expected = run(source, as_network_takes(spec, images))
    assert np.abs(run(derived, images) - expected).max() <= 1e-4 * np.abs(expected).max()


def plain(data: bytes, colour: Colour = "BGR") -> ModelSpec:
    """The contract of a network that takes pixels as they are."""
    spec = contract(data, colour)
    return replace(spec, input=replace(spec.input, mean=(0.0,) * 3, std=(1.0,) * 3))


def first_convolution(**attributes: object) -> bytes:
    """`network` with other properties of its first node."""
    model = onnx.load_model_from_string(network())
    node = model.graph.node[0]
    kept = [each for each in node.attribute if each.name not in attributes]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in attributes.items())])
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("colour", ["BGR", "RGB"])
@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(
    "attributes", [{}, {"strides": [2, 2]}, {"strides": [2, 1], "pads": [0, 2, 1, 0]}], ids=["plain", "halving", "odd"]
)
def test_colours_that_take_turns_are_read_where_they_lie(
    colour: Colour, opset: int, attributes: dict[str, object]
) -> None:
    """The same as with planes, up to the order of additions; the input keeps its name and stays numbers."""
    model = onnx.load_model_from_string(first_convolution(**attributes))
    model.opset_import[0].version = opset
    source, images = model.SerializeToString(), pictures()
    spec = plain(source, colour)
    derived = with_interleaved_input(source, spec)
    assert derived is not None
    declared = onnx.load_model_from_string(derived).graph.input[0]
    sizes = [size.dim_param or size.dim_value for size in declared.type.tensor_type.shape.dim]
    assert (declared.name, declared.type.tensor_type.elem_type) == ("input", TensorProto.FLOAT)
    assert sizes == ["n", SIDE, SIDE, 3]
    expected = run(source, as_network_takes(spec, images))
    found = run(derived, images.astype(np.float32))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def read_twice() -> bytes:
    """A network whose input goes round the first convolution as well."""
    model = onnx.load_model_from_string(network())
    model.graph.node.append(helper.make_node("GlobalMaxPool", ["input"], ["most"], "most"))
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("data", "spec"),
    [
        (network(), contract(network(), "BGR")),
        (
            network(1),
            replace(plain(network(1)), input=InputContract("input", (-1, 1, SIDE, SIDE), "GREY", (0.0,), (1.0,))),
        ),
        (first_convolution(dilations=[1, 2]), plain(network())),
        (first_convolution(auto_pad="SAME_UPPER"), plain(network())),
        (read_twice(), plain(network())),
        (doubling()[1], doubling()[0]),
    ],
    ids=["normalised", "grey", "dilated", "padded by itself", "read twice", "no convolution"],
)
def test_what_no_plain_convolution_reads_stays_as_it_is(data: bytes, spec: ModelSpec) -> None:
    """None: such a model runs on planes."""
    assert with_interleaved_input(data, spec) is None


def test_half_precision_keeps_the_direction_and_the_outer_types() -> None:
    """Cosine of 0.999 or more; weights are stored in float16, inputs and outputs stay float32."""
    source = network()
    spec, images = contract(source), pictures()
    derived = to_fp16(source)
    graph = onnx.load_model_from_string(derived).graph
    assert {weight.data_type for weight in graph.initializer} == {TensorProto.FLOAT16}
    assert [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)] == [TensorProto.FLOAT] * 2
    numbers = as_network_takes(spec, images)
    assert cosines(run(source, numbers), run(derived, numbers)).min() >= 0.999
    both = with_uint8_input(derived, spec)
    assert cosines(run(source, numbers), run(both, images)).min() >= 0.999


def test_a_derived_graph_is_the_same_whenever_it_is_made() -> None:
    """Its identity is the source's hash and the recipe: nothing of the moment is in it."""
    source = network()
    spec = contract(source)
    recipe = recipe_of(source, spec)
    assert with_uint8_input(source, spec) == with_uint8_input(source, spec)
    assert to_fp16(source) == to_fp16(source)
    assert quantised(source, recipe) == quantised(source, recipe)


@pytest.mark.parametrize(
    ("data", "input_name", "sentence"),
    [
        (b"not a graph", "input", "reading the graph of the model synthetic"),
        (network(), "x", "it has no input x"),
        (with_uint8_input(network(), contract(network())), "input", "its input input is no batch of float32 pictures"),
    ],
    ids=["no graph", "another input", "bytes already"],
)
def test_graphs_that_are_not_what_the_contract_says_are_refused(data: bytes, input_name: str, sentence: str) -> None:
    """One sentence each."""
    spec = contract(network())
    with pytest.raises(ModelError, match=sentence):
        with_uint8_input(data, replace(spec, input=replace(spec.input, name=input_name)))


@pytest.mark.parametrize("width", [64, 512])
def test_an_embedder_may_have_any_width_and_arcfaces_own_normalisation(width: int) -> None:
    """(pixel - 127.5) / 128 on RGB: the adapter gives what the textbook gives, of length 1."""
    source = network(side=112, width=width, convolutions=1)
    spec, faces = contract(source, side=112, width=width), pictures(3, side=112)
    embedder = ArcFaceEmbedder(load_session(spec, source, Execution()))
    expected = run(source, as_network_takes(spec, faces))
    assert embedder.dimension == width
    assert embedder.embed(faces) == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=1e-5)


def recipe_of(source: bytes, spec: ModelSpec, first: int = 1, last: int = 1) -> Recipe:
    """Ranges measured on pictures that the tests below do not use."""
    other = np.random.default_rng(9).integers(0, 256, (16, SIDE, SIDE, 3), dtype=np.uint8)
    batches = [as_network_takes(spec, other[i : i + 1]) for i in range(len(other))]
    return Recipe(
        name=spec.name,
        sha256=spec.sha256,
        float_first=first,
        float_last=last,
        calibrated_on="noise",
        ranges=measured_ranges(source, "input", batches),
    )


def test_integers_keep_the_direction_and_the_first_and_last_layers_stay_as_they_are() -> None:
    """Cosine of 0.99 or more; of four convolutions the two in the middle have int8 weights."""
    source = network()
    spec, images = contract(source), pictures()
    derived = quantised(source, recipe_of(source, spec))
    numbers = as_network_takes(spec, images)
    assert cosines(run(source, numbers), run(derived, numbers)).min() >= 0.99
    kinds = {weight.name: weight.data_type for weight in onnx.load_model_from_string(derived).graph.initializer}
    assert {kinds[name] for name in ("w0", "w3", "projection")} == {TensorProto.FLOAT}
    assert {kinds[f"{name}_quantized"] for name in ("w1", "w2")} == {TensorProto.INT8}


def test_ranges_hold_every_value_that_was_seen() -> None:
    """The least and the greatest of each activation: here of the network's input."""
    source = network()
    batches = [np.full((1, 3, SIDE, SIDE), level, np.float32) for level in (-0.5, 0.25, 0.75)]
    ranges = measured_ranges(source, "input", batches)
    assert ranges["input"] == (-0.5, 0.75)
    assert {"r0", "r1", "r2"} <= set(ranges)


def test_a_recipe_is_what_it_was_after_it_was_written() -> None:
    """Through the table of `int8.toml`."""
    source = network()
    recipe = recipe_of(source, contract(source))
    read = msgspec.convert(tomllib.loads(as_toml(recipe))["recipes"], tuple[Recipe, ...], strict=True)[0]
    assert replace(read, ranges={}) == replace(recipe, ranges={})
    for name, bounds in recipe.ranges.items():
        assert read.ranges[name] == pytest.approx(bounds, rel=1e-5)


def test_integers_are_refused_where_no_ranges_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hash, in one sentence that names the models that have some; so is a recipe that fits no layer."""
    source = network()
    spec = contract(source)
    with pytest.raises(ModelError, match=r"no ranges of its activations are known; set vision\.precision to fp32"):
        to_int8(source, spec)
    recipe = recipe_of(source, spec)
    monkeypatch.setattr(quantise, "recipes", lambda: {spec.sha256: recipe})
    assert load_session(spec, source, Execution(precision="int8")).precision == "int8"
    with pytest.raises(ModelError, match=r"2 \+ 2 of its 4 convolutions would stay in float32"):
        quantised(source, replace(recipe, float_first=2, float_last=2))
    with pytest.raises(ModelError, match="turning the model synthetic into 8-bit integers"):
        quantised(source, replace(recipe, ranges={}))


def test_every_recipe_belongs_to_a_model_of_the_manifest() -> None:
    """By its hash, under its name, with the data behind its ranges."""
    by_hash = {spec.sha256: spec for spec in manifest()}
    for sha256, recipe in quantise.recipes().items():
        assert by_hash[sha256].name == recipe.name
        assert recipe.calibrated_on
        assert all(low <= high for low, high in recipe.ranges.values())
