"""From judged weights to the package: the files, the model card and the manifest of drawn models, all from one source.

What is published of a model lies side by side in `loadtests/people/models`: `<name>.onnx` and `<name>.json`, its hash,
figures and thresholds. Card and manifest are written anew from these, so that they cannot tell of other weights.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from loadtests.people.train.recipe import Figure, Recipe, Report, say
from pipeline.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
MODELS = PACKAGE / "models"
MANIFEST = PACKAGE.parent.parent / "pipeline" / "vision" / "drawn.toml"
MOST_BYTES = 8_000_000

LIVENESS = "drawn_liveness"

_PREFACE = """\
# Models of people who do not exist

Written by `python -m loadtests.people.train publish` from the evaluation of these very files.

**For** demos and tests of this project: the whole pipeline with no download and no real face. **Not for** real people:
the detector, the embedder and the liveness model know drawings only, and are refused outside demos and tests. The eye
model also serves real eyes; what that rests on is in docs/eyes.md.

**Limits.** Drawn people differ in ways that were written down; real ones do not. Nothing here says how any model does
on real faces, on groups of people, or against attacks that are not drawn. Intervals are 95 %, people drawn anew with
replacement; where nothing was seen to fail, the bound is 3 / n.

**Licence** Apache-2.0, as the code; `make train` makes them anew (docs/drawn-people.md)."""


class Published(msgspec.Struct, frozen=True):
    """What is kept of a model beside its weights."""

    name: str
    sha256: str
    bytes: int
    report: Report


def keep(path: Path, report: Report, weights: Path) -> None:
    """Write what an evaluation of `weights` found to `path`."""
    data = weights.read_bytes()
    found = Published(weights.stem, hashlib.sha256(data).hexdigest(), len(data), report)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def read(path: Path, weights: Path) -> Published:
    """What was kept of `weights`; raises `UsageError` when it tells of other bytes."""
    found = msgspec.json.decode(path.read_bytes(), type=Published)
    if found.sha256 != hashlib.sha256(weights.read_bytes()).hexdigest():
        raise UsageError(f"reading {path.name}: it judges other weights than {weights.name}; run `evaluate` again")
    return found


def publish(recipes: Sequence[Recipe], work: Path) -> None:
    """Copy what `work` holds judged weights of into the package, and write card and manifest of all that is there.

    Raises `UsageError` when weights were not judged, or all files together are too large to ship.
    """
    MODELS.mkdir(exist_ok=True)
    for recipe in recipes:
        weights = work / f"{recipe.name}.onnx"
        if not weights.exists():
            say(f"{recipe.name}: not in {work}, what was published stays")
            continue
        report = weights.with_suffix(".json")
        if not report.exists():
            raise UsageError(f"publishing {weights.name}: it was never judged; run `evaluate` first")
        read(report, weights)
        shutil.copyfile(weights, MODELS / weights.name)
        shutil.copyfile(report, MODELS / report.name)
    there = [recipe for recipe in recipes if (MODELS / f"{recipe.name}.onnx").exists()]
    found = [read(MODELS / f"{recipe.name}.json", MODELS / f"{recipe.name}.onnx") for recipe in there]
    total = sum(model.bytes for model in found)
    if total > MOST_BYTES:
        raise UsageError(f"publishing {total} bytes of weights: at most {MOST_BYTES} ship; make a network smaller")
    MANIFEST.write_text("\n".join(manifest(there, found)), encoding="utf-8")
    (MODELS / "CARD.md").write_text("\n".join(card(there, found)), encoding="utf-8")
    say(f"published {len(found)} models, {total / 1e6:.2f} MB")


def manifest(recipes: Sequence[Recipe], found: Sequence[Published]) -> Iterator[str]:
    """The lines of `drawn.toml`."""
    yield "# The models that ship with the package, in the schema of manifest.toml: trained on people who do not exist."
    yield "#"
    yield "# `python -m loadtests.people.train publish` writes this file. A model with drawn = true is refused outside"
    yield "# demos and tests; the eye model serves real eyes, too, and has drawn = false."
    yield ""
    for recipe, model in zip(recipes, found, strict=True):
        yield "[[models]]"
        yield f'name = "{model.name}"'
        yield f'file = "{model.name}.onnx"'
        yield f'sha256 = "{model.sha256}"'
        yield recipe.entry.strip()
        limits = ", ".join(f"{name} = {value:g}" for name, value in model.report.thresholds.items())
        yield f"thresholds = {{ {limits} }}"
        yield f"thresholds_from = {_quoted(model.report.thresholds_from)}"
        yield ""
    for model in found:
        if model.name == LIVENESS:
            yield "[[fusions]]"
            yield 'name = "drawn"'
            yield f"weights = {{ {LIVENESS} = 1.0 }}"
            yield f"threshold = {model.report.thresholds['live']:g}"
            yield "proven = true"
            yield f"threshold_from = {_quoted(model.report.thresholds_from)}"
            yield ""


def _quoted(text: str) -> str:
    """`text` as a TOML string: JSON's basic strings are TOML's."""
    return msgspec.json.encode(text).decode()


def card(recipes: Sequence[Recipe], found: Sequence[Published]) -> Iterator[str]:
    """The lines of the model card (after Mitchell et al., Model Cards for Model Reporting, 2019)."""
    yield _PREFACE
    for recipe, model in zip(recipes, found, strict=True):
        yield ""
        yield f"## {model.name}"
        yield ""
        yield f"{model.bytes / 1e6:.2f} MB, SHA-256 `{model.sha256}`."
        yield ""
        yield f"Trained on: {recipe.trained_on}"
        yield ""
        yield "| figure | value | 95 % interval | goal | measured on |"
        yield "|---|---|---|---|---|"
        for figure in model.report.figures:
            yield (
                f"| {figure.name} | {_number(figure.value)} | {_number(figure.low)} to {_number(figure.high)} "
                f"| {figure.goal} | {figure.of} |"
            )
        yield ""
        limits = ", ".join(f"`{name}` {value:g}" for name, value in model.report.thresholds.items())
        yield f"Thresholds: {limits}. {model.report.thresholds_from}"
        for note in model.report.notes:
            yield ""
            yield note
    yield ""


def lines(report: Report) -> Iterator[str]:
    """The figures for a terminal."""
    for figure in report.figures:
        yield _line(figure)
    yield "  thresholds: " + ", ".join(f"{name} {value:g}" for name, value in report.thresholds.items())


def _line(figure: Figure) -> str:
    goal = f", goal {figure.goal}" if figure.goal else ""
    span = f"{_number(figure.low)} to {_number(figure.high)}"
    return f"  {figure.name}: {_number(figure.value)} ({span}{goal}; {figure.of})"


def _number(value: float) -> str:
    """Four significant digits at most, never an exponent for what a person reads as a share."""
    return f"{value:.5f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.4g}"
