"""`facepay topics`: the topics as code, planned, applied and checked against a real cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.cli import console
from pipeline.cli.console import JsonFlag

if TYPE_CHECKING:
    from pipeline.runtime.admin import Change

app = typer.Typer(help="Topics as code: plan, apply, check, and the AsyncAPI document.", no_args_is_help=True)


@app.command()
def plan(json: JsonFlag = False) -> None:
    """Say what `apply` would create or change, and what drift it cannot mend."""
    from pipeline.runtime import admin

    changes = admin.plan(console.settings().kafka)
    _finish(changes, json=json, applied=False)


@app.command()
def apply(json: JsonFlag = False) -> None:
    """Create missing topics and set their configuration; partition counts are never changed in place."""
    from pipeline.runtime import admin

    changes = admin.apply(console.settings().kafka)
    _finish(changes, json=json, applied=True, ok=not any(c.kind == "drift" for c in changes))


@app.command()
def check(json: JsonFlag = False) -> None:
    """Exit 1 if the cluster differs from the declaration."""
    from pipeline.runtime import admin

    changes = admin.plan(console.settings().kafka)
    _finish(changes, json=json, applied=False, ok=not changes)


@app.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3.0 document."""
    from pipeline.asyncapi import render

    sys.stdout.buffer.write(render())


def _finish(rows: Sequence[Change], *, json: bool, applied: bool, ok: bool = True) -> None:
    result = {
        "created": [c.topic for c in rows if c.kind == "create"],
        "changed": [f"{c.topic}: {c.detail}" for c in rows if c.kind == "change"],
        "drift": [f"{c.topic}: {c.detail}" for c in rows if c.kind == "drift"],
        "applied": applied,
    }

    def show() -> None:
        if not rows:
            console.out.print("The topics are as declared.")
        for change in rows:
            console.out.print(f"{change.kind:<7} {change.topic}: {change.detail}", highlight=False)

    console.finish(result, as_json=json, show=show, ok=ok)
