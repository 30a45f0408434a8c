"""`facepay settings`: what is in force, with secrets masked."""

from __future__ import annotations

from rich.pretty import Pretty

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.settings import masked


def settings(json: JsonFlag = False) -> None:
    """Print the settings in force, secrets masked."""
    tree = masked(console.settings())
    console.finish(tree, as_json=json, show=lambda: console.out.print(Pretty(tree, expand_all=True)))
