"""Other forms of a model's graph, made when it is loaded: pixels as input, float16 inside.

A derived graph is no file of its own: it is made from bytes whose hash was checked, so that its identity is the
source's SHA-256 and the name of what was done to it. `with_uint8_input` puts colour order, layout and normalisation in
front of the network, so that a picture is copied once, as bytes, and a GPU receives a quarter of the data.
`with_interleaved_input` is for a CPU, where moving colours apart costs more than the rest of it: the first convolution
reads them where they lie. `to_fp16` stores and computes in half precision. All keep the names of inputs and outputs.
`pipeline.vision.quantise` holds a further form, 8-bit integers.

Held by tests, on real models: float32 results within 1e-4, float16 embeddings at a cosine of 0.999 or more.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pipeline.errors import ModelError
from pipeline.vision.models import ModelSpec

_PREFIX = "facepay_"

# Half precision is refused for these by ONNX Runtime's converter: most have no float16 kernel. Min and Max, which it
# refuses as well, have one on CUDA; with them in float32 a network of clipped activations would cast at every layer.
_FLOAT32_OPERATORS = ("Upsample", "NonMaxSuppression", "TopK", "RoiAlign", "Range", "CumSum")


def with_uint8_input(model: bytes, spec: ModelSpec) -> bytes:
    """The same network for pixels: its input, under the same name, is uint8 (n, height, width, channels) BGR (grey: one
    channel), and what `spec.input` demands is done inside.

    `model` may be in float16 or integers already, as long as its input is float32. Raises `ModelError` when the graph
    is not the one that `spec` describes.
    """
    proto = _parsed(model, spec.name)
    source = _input(proto, spec)
    if source.type.tensor_type.elem_type != TensorProto.FLOAT or len(source.type.tensor_type.shape.dim) != 4:
        raise _unlike(spec, f"its input {spec.input.name} is no batch of float32 pictures")
    network_input = f"{_PREFIX}network_input"
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            if name == spec.input.name:
                node.input[index] = network_input
    _put_in_front(proto, source, _normalising(proto, spec, network_input))
    source.type.tensor_type.elem_type = TensorProto.UINT8
    return _checked(proto, spec.name)


def with_interleaved_input(model: bytes, spec: ModelSpec) -> bytes | None:
    """The same network for numbers in the order of pixels: its input, under the same name, is float32
    (n, height, width, 3) BGR. None where the contract normalises, or something else than one plain convolution reads
    the input.

    A convolution over three planes is one over a single plane in which three colours take turns, with a kernel, strides
    and margins three times as wide: the same products, added up in another order.
    """
    proto, contract = _parsed(model, spec.name), spec.input
    source, weights = _input(proto, spec), {weight.name: weight for weight in proto.graph.initializer}
    readers = [node for node in proto.graph.node if contract.name in node.input]
    if len(readers) != 1 or readers[0].op_type != "Conv" or readers[0].input[1] not in weights:
        return None
    first = readers[0]
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in first.attribute}
    plain = found.get("auto_pad", b"NOTSET") == b"NOTSET" and set(found.get("dilations", ())) <= {1}
    kernel = numpy_helper.to_array(weights[first.input[1]])
    if not plain or kernel.shape[1] != 3 or any(contract.mean) or set(contract.std) != {1.0}:
        return None
    rows, columns = kernel.shape[2:]
    in_order = (kernel if contract.colour == "BGR" else kernel[:, ::-1]).transpose(0, 2, 3, 1)
    top, left, bottom, right = found.get("pads", (0, 0, 0, 0))
    down, across = found.get("strides", (1, 1))
    wider: dict[str, Any] = {
        "kernel_shape": (rows, 3 * columns),
        "pads": (top, 3 * left, bottom, 3 * right),
        "strides": (down, 3 * across),
    }
    constants = {
        "kernel": np.ascontiguousarray(in_order).reshape(len(kernel), 1, rows, 3 * columns),
        "sizes": np.array([0, 0, 0, -1]),
        "axes": np.array([1]),
    }
    for name, values in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(values, f"{_PREFIX}{name}"))
    wide, sizes, axes, lifted, plane = (f"{_PREFIX}{name}" for name in (*constants, "lifted", "plane"))
    first.CopyFrom(helper.make_node("Conv", [plane, wide, *first.input[2:]], first.output, first.name, **wider))
    # Both are views, no copies: (n, h, w, 3) to (n, 1, h, w, 3) to (n, 1, h, 3 w).
    if next(entry.version for entry in proto.opset_import if not entry.domain) >= 13:
        lifting = helper.make_node("Unsqueeze", [contract.name, axes], [lifted], lifted)
    else:
        # Until then the axes were no input but a property.
        lifting = helper.make_node("Unsqueeze", [contract.name], [lifted], lifted, axes=[1])
        del proto.graph.initializer[-1]
    nodes = [lifting, helper.make_node("Reshape", [lifted, sizes], [plane], plane)]
    _put_in_front(proto, source, nodes)
    # Sizes between the nodes are told again when the graph is loaded.
    del proto.graph.value_info[:]
    return _checked(proto, spec.name)


def to_fp16(model: bytes) -> bytes:
    """The same network with weights and computation in float16; inputs and outputs keep their types.

    Meant for a GPU: on a CPU it runs, slower than before, because ONNX Runtime computes in float32 there.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = _parsed(model, "of a file")
    try:
        converted: ModelProto = convert_float_to_float16(
            proto, keep_io_types=True, op_block_list=list(_FLOAT32_OPERATORS)
        )
        # The converter appends its casts at the end; a graph lists a node after those that it reads from.
        ONNXModel(converted).topological_sort()
    except Exception as error:
        raise ModelError(
            f"turning a model into float16: {type(error).__name__}: {error}; set vision.precision to fp32"
        ) from error
    return _checked(converted, "in float16")


def _normalising(proto: ModelProto, spec: ModelSpec, output: str) -> list[NodeProto]:
    """The nodes between pixels and network: bytes are moved first, because they are a quarter of the numbers."""
    contract = spec.input
    steps: list[tuple[str, list[str], dict[str, Any]]] = [("Transpose", [], {"perm": [0, 3, 1, 2]})]
    if contract.colour == "RGB":
        order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), f"{_PREFIX}order")
        proto.graph.initializer.append(order)
        steps.append(("Gather", [order.name], {"axis": 1}))
    steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
    for operator, values, neutral in (("Sub", contract.mean, 0.0), ("Div", contract.std, 1.0)):
        if any(value != neutral for value in values):
            numbers = np.array(values, np.float32).reshape(1, -1, 1, 1)
            constant = numpy_helper.from_array(numbers, f"{_PREFIX}{operator.lower()}")
            proto.graph.initializer.append(constant)
            steps.append((operator, [constant.name], {}))
    nodes, name = [], contract.name
    for index, (operator, constants, attributes) in enumerate(steps):
        target = output if index == len(steps) - 1 else f"{_PREFIX}{index}"
        node = helper.make_node(operator, [name, *constants], [target], name=f"{_PREFIX}{operator}", **attributes)
        nodes.append(node)
        name = target
    return nodes


def _put_in_front(proto: ModelProto, source: onnx.ValueInfoProto, nodes: list[NodeProto]) -> None:
    """`nodes` before all others; `source`, the graph's input of planes, becomes one of pixels. Named sizes keep their
    names."""
    rest = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes, *rest])
    shape = source.type.tensor_type.shape
    items, colours, *sides = shape.dim
    ordered = type(shape)(dim=[items, *sides, colours])
    shape.CopyFrom(ordered)


def _input(proto: ModelProto, spec: ModelSpec) -> onnx.ValueInfoProto:
    found: list[onnx.ValueInfoProto] = [node for node in proto.graph.input if node.name == spec.input.name]
    if not found:
        raise _unlike(spec, f"it has no input {spec.input.name}")
    return found[0]


def _parsed(model: bytes, name: str) -> ModelProto:
    try:
        return onnx.load_model_from_string(model)
    except Exception as error:
        raise ModelError(f"reading the graph of the model {name}: {type(error).__name__}; use an ONNX file") from error


def _checked(proto: ModelProto, name: str) -> bytes:
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise ModelError(
            f"rewriting the graph of the model {name}: {str(error).splitlines()[0]}; set vision.precision to fp32"
        ) from error
    result: bytes = proto.SerializeToString(deterministic=True)
    return result


def _unlike(spec: ModelSpec, found: str) -> ModelError:
    return ModelError(
        f"rewriting the graph of the model {spec.name}: {found}; use the file {spec.file} of the manifest"
    )
