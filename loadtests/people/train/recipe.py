"""What a model of the drawn people has to offer, so that one command trains, judges and publishes all of them.

A module per model (`detector`, `embedder`, `liveness`, `eyes`) holds a constant `RECIPE`. Its `train` puts
`<name>.onnx` into a work folder and can be stopped and started again; its `evaluate` opens such a file through
`pipeline.vision`, as the product does, and needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

KINDS = ("detector", "embedder", "liveness", "eyes")
"""The models in the order in which they are trained; each is a module of this package with a constant `RECIPE`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: `value` with its 95 % interval `low`..`high` (bootstrap by identity), `of` what it was
    measured, and the `goal` it is held to ("<= 0.01"; empty for none).
    """

    name: str
    value: float
    low: float
    high: float
    of: str
    goal: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found: figures for the card, thresholds for the manifest and the data they were found on.
    `notes` are sentences for the card: what was not measured, what stands out.
    """

    figures: tuple[Figure, ...]
    thresholds: Mapping[str, float]
    thresholds_from: str
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make one model.

    `train(work)` writes `work/<name>.onnx`, resuming from its own checkpoints in `work`; `evaluate(path)` judges that
    file. `entry` is the model's table in `drawn.toml` after `[[models]]`, without name, file, sha256, thresholds and
    thresholds_from, which publishing writes; `trained_on` is a paragraph for the card.
    """

    name: str
    train: Callable[[Path], None]
    evaluate: Callable[[Path], Report]
    entry: str
    trained_on: str


say = Console(stderr=True, highlight=False, soft_wrap=True).print
"""Tells the person at the terminal how far it is."""
