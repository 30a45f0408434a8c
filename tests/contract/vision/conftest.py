"""Real models and real portraits, opened once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.vision.engine import OnnxEngine
from tests.shared_data import require_shared


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The shared data, or a skip that says what is missing."""
    return require_shared()


@pytest.fixture(scope="session")
def engine(shared_dir: Path) -> OnnxEngine:
    """The engine with every liveness model."""
    return OnnxEngine.open(shared_dir / "models", pad="report_only")
