"""Small networks made by code, for tests of what runs models: no file, no weights of anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from onnx import TensorProto, helper

from pipeline.vision.models import InputContract, ModelSpec, OutputContract, Role
from pipeline.vision.sessions import Execution, Session, load_session


def doubling(
    *,
    colour: Literal["BGR", "RGB"] = "BGR",
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
    items: int = -1,
    role: Role = "embedder",
) -> tuple[ModelSpec, bytes]:
    """Its contract and bytes: float32 (n, 3, h, w) to twice of it."""
    shape: list[str | int | None] = ["n" if items == -1 else items, 3, "h", "w"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Add", ["input", "input"], ["output"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    spec = ModelSpec(
        name="doubling",
        file=Path(__file__).name,
        sha256="0" * 64,
        role=role,
        family="arcface",
        summary="",
        source="",
        licence="",
        training_terms="",
        input=InputContract("input", (items, 3, -1, -1), colour, mean, std),
        outputs=(OutputContract("output", (items, 3, -1, -1)),),
        thresholds={},
        thresholds_from="",
    )
    return spec, model.SerializeToString()


def doubled(max_batch: int = 16, items: int = -1) -> Session:
    """The session of `doubling`."""
    return load_session(*doubling(items=items), Execution(max_batch=max_batch))


def noise(items: int, height: int, width: int, seed: int = 1) -> list[np.ndarray]:
    """Pictures of one size, uint8 (height, width, 3)."""
    return list(np.random.default_rng(seed).integers(0, 255, (items, height, width, 3), dtype=np.uint8))
