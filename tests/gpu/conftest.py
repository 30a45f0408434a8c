"""For a machine with a GPU: `make gpu`. Everywhere else each test is skipped with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.vision.engine import OnnxEngine
from pipeline.vision.sessions import Execution, gpu_is_there


@pytest.fixture(scope="session")
def gpu() -> Execution:
    """How models run on the GPU, which there must be."""
    if not gpu_is_there():
        pytest.skip("ONNX Runtime has no CUDA provider here; run `make gpu` on a machine with a GPU")
    return Execution(gpu="required")


@pytest.fixture(scope="session")
def on_gpu(shared: Path, gpu: Execution) -> OnnxEngine:
    """The engine with every liveness model, on the GPU in half precision."""
    return OnnxEngine.open(shared / "models", gpu, pad="report_only")


@pytest.fixture(scope="session")
def on_cpu(shared: Path) -> OnnxEngine:
    """The same on the CPU, in single precision."""
    return OnnxEngine.open(shared / "models", pad="report_only")
