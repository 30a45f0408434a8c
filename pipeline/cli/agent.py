"""`facepay agent`: runs one agent in the foreground."""

from __future__ import annotations

import os

import typer

from agents import AGENTS
from pipeline.cli import console

app = typer.Typer(help="Run one agent in the foreground until Ctrl-C or SIGTERM.", no_args_is_help=True)


def _run(name: str) -> None:
    # Read by OpenBLAS when numpy is imported, which is below. Its idle threads spin for milliseconds after each search
    # of a gallery, on cores that the models need: 12 % of the embedding agent's CPU (docs/benchmarks.md).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pipeline.bootstrap import run_agent

    raise typer.Exit(run_agent(name, console.settings()))


@app.command(help=AGENTS["embedding"].capitalize())
def embedding() -> None:
    """Sealed frames in, recognitions and hints out."""
    _run("embedding")


@app.command(help=AGENTS["fraud"].capitalize())
def fraud() -> None:
    """Recognitions in, verdicts out."""
    _run("fraud")


@app.command(help=AGENTS["settlement"].capitalize())
def settlement() -> None:
    """Commands and verdicts in, settlements out exactly once."""
    _run("settlement")
