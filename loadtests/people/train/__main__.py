"""`python -m loadtests.people.train COMMAND [--work FOLDER]`: see the package's docstring and docs/drawn-people.md.

Commands: `detector`, `embedder`, `liveness`, `eyes` (train that one), `all` (each in turn, then evaluate), `evaluate`
(judge what the work folder holds and keep the figures beside it), `publish` (copy the judged weights into the package,
with the card and `pipeline/vision/drawn.toml`).
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from loadtests.people.train import card
from loadtests.people.train.recipe import KINDS, Recipe, say


def recipe(kind: str) -> Recipe:
    """The recipe of one kind of model; its module, and PyTorch with it, is loaded only now."""
    found = importlib.import_module(f"loadtests.people.train.{kind}").RECIPE
    if not isinstance(found, Recipe):
        raise TypeError(f"loadtests.people.train.{kind}.RECIPE is a {type(found).__name__}, not a Recipe")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0 when it went through."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.people.train", description=__doc__)
    parser.add_argument("command", choices=[*KINDS, "all", "evaluate", "publish"])
    parser.add_argument("--work", type=Path, default=Path("build/train"), help="data, checkpoints and results")
    parser.add_argument("--only", choices=KINDS, action="append", help="with evaluate: this kind alone")
    options = parser.parse_args(arguments)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    command: str = options.command
    for kind in KINDS if command == "all" else [command] if command in KINDS else []:
        say(f"training: {kind}")
        recipe(kind).train(work)
    if command in {"all", "evaluate"}:
        for kind in options.only or KINDS:
            made = recipe(kind)
            say(f"evaluating: {kind}")
            report = made.evaluate(work / f"{made.name}.onnx")
            card.keep(work / f"{made.name}.json", report, work / f"{made.name}.onnx")
            for line in card.lines(report):
                say(line)
    if command == "publish":
        card.publish([recipe(kind) for kind in KINDS], work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
