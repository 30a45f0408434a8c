"""Real models and real portraits, opened once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.vision.engine import OnnxEngine


@pytest.fixture(scope="session")
def engine(shared: Path) -> OnnxEngine:
    """The engine with every liveness model."""
    return OnnxEngine.open(shared / "models", pad="report_only")
