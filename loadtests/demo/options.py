"""What the person asked for: drawn people and the models that ship with them, or folders of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError

DRAWN_MODELS = Path(__file__).resolve().parents[1] / "people" / "models"
"""The models trained on people who do not exist; they ship with the package."""


@dataclass(frozen=True, slots=True)
class Options:
    """The demo's options. `people` is a folder of portraits, None for drawn people; `keep` is a folder for everything
    that is made, None for one that is removed. `max_fpir` None: the default of `vision.max_fpir`; a smaller one makes
    terminals ask for digits as soon as more people are enrolled than it allows.
    """

    models: Path
    people: Path | None
    report: Path
    seconds: int = 60
    terminals: int = 8
    chaos: bool = True
    keep: Path | None = None
    seed: int = 1
    payers: int = 48
    strangers: int = 16
    rate_fps: float = 3.0
    max_fpir: float | None = None

    @property
    def drawn(self) -> bool:
        """Whether the people of this demo do not exist."""
        return self.people is None


def resolve(models: Path | None, people: Path | None) -> tuple[Path, Path | None]:
    """The folder of models and that of portraits (None for drawn people); raises `UsageError` saying what to pass."""
    if models is None and people is None:
        return DRAWN_MODELS, None
    if models is None or people is None:
        missing, given = ("--people", "--models") if people is None else ("--models", "--people")
        raise UsageError(
            f"starting the demo: {given} came without {missing}; pass both, a folder of the ONNX models that `facepay "
            "models list` names and a folder of portraits (one file or folder per person), or neither for drawn people"
        )
    for name, folder in (("--models", models), ("--people", people)):
        if not folder.is_dir():
            raise UsageError(f"starting the demo: {name} {folder} is no folder; pass an existing one")
    return models, people
