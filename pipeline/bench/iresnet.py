"""An IResNet-50 with random weights, made here: the network that large embedders have, without anybody's weights.

The architecture is that of ArcFace (Deng et al., 2019; He et al., "Identity mappings in deep residual networks", 2016):
3, 4, 14 and 3 blocks of two 3 x 3 convolutions with 64, 128, 256 and 512 channels on 112 x 112 pixels, then one full
layer to 512 numbers. It recognises nobody; it costs what such a network costs, 12.6 GFLOP per face.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from pipeline.vision.models import InputContract, ModelSpec, OutputContract

BLOCKS = (3, 4, 14, 3)
CHANNELS = (64, 128, 256, 512)
SIDE_PX, WIDTH = 112, 512


class Iresnet:
    """The graph while it grows; `flops` counts two per multiplication of the layers that matter."""

    def __init__(self, blocks: tuple[int, ...], channels: tuple[int, ...], seed: int) -> None:
        self.flops = 0
        self._random = np.random.default_rng(seed)
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._side = SIDE_PX
        name = self._activated(self._normed(self._conv("input", 3, channels[0], 3, 1), channels[0]), channels[0])
        wide = channels[0]
        for count, channel in zip(blocks, channels, strict=True):
            for block in range(count):
                name = self._block(name, wide, channel, 2 if block == 0 else 1)
                wide = channel
        self._full(self._normed(name, wide), wide * self._side**2)

    def model(self) -> bytes:
        """As an ONNX file."""
        shape: list[str | int | None] = ["batch", 3, SIDE_PX, SIDE_PX]
        graph = helper.make_graph(
            self._nodes,
            "iresnet",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])],
            self._weights,
        )
        model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        data: bytes = model.SerializeToString()
        return data

    def _block(self, name: str, narrow: int, wide: int, stride: int) -> str:
        inside = self._conv(self._normed(name, narrow), narrow, wide, 3, 1)
        inside = self._conv(self._activated(self._normed(inside, wide), wide), wide, wide, 3, stride)
        inside = self._normed(inside, wide)
        if stride != 1 or narrow != wide:
            # As the shortcut sees the block's input before its stride.
            self._side *= stride
            name = self._normed(self._conv(name, narrow, wide, 1, stride), wide)
        return self._node("Add", [inside, name])

    def _conv(self, name: str, narrow: int, wide: int, side: int, stride: int) -> str:
        spread = np.sqrt(2.0 / (narrow * side * side))
        weights = self._weight(self._random.normal(0.0, spread, (wide, narrow, side, side)))
        self._side //= stride
        self.flops += 2 * narrow * wide * side * side * self._side**2
        around = [side // 2] * 4
        return self._node("Conv", [name, weights], kernel_shape=[side, side], strides=[stride, stride], pads=around)

    def _normed(self, name: str, wide: int) -> str:
        scale, shift, mean, variance = (np.ones(wide), np.zeros(wide), np.zeros(wide), np.full(wide, 2.0))
        return self._node(
            "BatchNormalization", [name, *(self._weight(value) for value in (scale, shift, mean, variance))]
        )

    def _activated(self, name: str, wide: int) -> str:
        return self._node("PRelu", [name, self._weight(np.full((wide, 1, 1), 0.25))])

    def _full(self, name: str, values: int) -> None:
        weights = self._weight(self._random.normal(0.0, np.sqrt(1.0 / values), (WIDTH, values)))
        self.flops += 2 * values * WIDTH
        flat = self._node("Flatten", [name])
        self._nodes.append(helper.make_node("Gemm", [flat, weights], ["embedding"], transB=1))

    def _node(self, operator: str, inputs: list[str], **attributes: list[int]) -> str:
        name = f"n{len(self._nodes)}"
        node = helper.make_node(operator, inputs, [name])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name

    def _weight(self, values: npt.NDArray[np.float64]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name


def random_iresnet(
    *, blocks: tuple[int, ...] = BLOCKS, channels: tuple[int, ...] = CHANNELS, seed: int = 1
) -> tuple[ModelSpec, bytes, int]:
    """Its contract, its bytes and its floating-point operations per face."""
    network = Iresnet(blocks, channels, seed)
    data = network.model()
    spec = ModelSpec(
        name="iresnet_random",
        file="none",
        sha256=hashlib.sha256(data).hexdigest(),
        role="embedder",
        family="arcface",
        summary="Random weights: it recognises nobody.",
        source="made by pipeline/bench/iresnet.py",
        licence="Apache-2.0",
        training_terms="Not trained.",
        input=InputContract("input", (-1, 3, SIDE_PX, SIDE_PX), "RGB", (127.5,) * 3, (127.5,) * 3),
        outputs=(OutputContract("embedding", (-1, WIDTH)),),
        thresholds={},
        thresholds_from="None: it recognises nobody.",
        template="arcface_112",
    )
    return spec, data, network.flops
