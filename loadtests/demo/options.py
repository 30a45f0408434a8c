"""What the person asked for, and what is found beside the checkout when they did not say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True)
class Options:
    """The demo's options; `keep` is a folder for everything that is made, None for one that is removed."""

    models: Path
    people: Path
    report: Path
    seconds: int = 60
    terminals: int = 8
    chaos: bool = True
    keep: Path | None = None
    seed: int = 1
    payers: int = 62
    strangers: int = 24
    rate_fps: float = 3.0


def beside(checkout: Path) -> tuple[Path | None, Path | None]:
    """The folders of models and portraits that lie beside a checkout, as far as they are there."""
    shared = checkout.parent / "shared"
    models, people = shared / "models", shared / "faces" / "congress"
    return (models if models.is_dir() else None), (people if people.is_dir() else None)


def resolve(
    checkout: Path,
    models: Path | None,
    people: Path | None,
) -> tuple[Path, Path]:
    """The folders to use; raises `UsageError` saying in one sentence what to pass."""
    found_models, found_people = beside(checkout)
    models, people = models or found_models, people or found_people
    if models is None or people is None:
        missing = [name for name, value in (("--models", models), ("--people", people)) if value is None]
        raise UsageError(
            f"starting the demo: nothing was found beside this checkout (../shared); pass {' and '.join(missing)}: "
            "a folder of the ONNX models that `facepay models list` names, and a folder of portraits (one file or "
            "folder per person)"
        )
    for name, folder in (("--models", models), ("--people", people)):
        if not folder.is_dir():
            raise UsageError(f"starting the demo: {name} {folder} is no folder; pass an existing one")
    return models, people
