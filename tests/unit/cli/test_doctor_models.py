"""What the doctor says of the models: device and precision of each, and models for drawn people aloud."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import doctor
from pipeline.errors import ModelError
from pipeline.settings import Settings, Vision
from pipeline.vision.engine import OnnxEngine


@dataclass
class Opened:
    """An engine as the doctor sees it."""

    drawn: bool
    providers: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"one": ("CPUExecutionProvider",)})
    precisions: dict[str, str] = field(default_factory=lambda: {"one": "int8"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the engine was opened with; folder `drawn` holds models for drawn people."""
    seen: dict[str, Any] = {}

    def open_engine(models: Path, execution: Any, *, pad: str, drawn: bool) -> Opened:
        seen.update(precision=execution.precision, gpu=execution.gpu, pad=pad)
        if models.name == "drawn" and not drawn:
            raise ModelError("choosing the model: it was trained on drawn people; set vision.drawn_models to allowed")
        return Opened(drawn=models.name == "drawn")

    monkeypatch.setattr(OnnxEngine, "open", open_engine)
    return seen


def settings(**vision: Any) -> Settings:
    return Settings(vision=Vision(**vision))


def test_each_model_has_its_provider_and_precision(asked: dict[str, Any]) -> None:
    """As the sessions got them, under the settings in force."""
    check = doctor.models(settings(models=Path("real"), precision="int8", gpu="preferred", pad="required"))
    assert (check.ok, check.found) == (True, "one on CPUExecutionProvider in int8")
    assert asked == {"precision": "int8", "gpu": "preferred", "pad": "required"}


def test_models_for_drawn_people_are_named_first_or_refused(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Allowed: said aloud. Not allowed: a check that failed, with what to do."""
    allowed = doctor.models(settings(models=Path("drawn"), drawn_models="allowed"))
    assert allowed.found.startswith("MODELS FOR DRAWN PEOPLE ONLY")
    monkeypatch.setattr(doctor, "CHECKS", [check for check in doctor.CHECKS if check[0] == "models"])
    (refused,) = doctor.examine(settings(models=Path("drawn")))
    assert (refused.ok, refused.hint) == (False, "set vision.drawn_models to allowed")
