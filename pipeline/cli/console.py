"""How every command speaks: results on standard output, all else on standard error; what the exit codes mean.

With `--json` the last line of standard output is one JSON object and nothing else is printed there. Exit 0 done, 1
the answer is no, 2 wrong use, 3 the outside failed. An error is one sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from pipeline.settings import Settings, load_settings

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]

out = Console()
err = Console(stderr=True)


def note(text: str) -> None:
    """Progress for a person, on standard error."""
    err.print(text, highlight=False)


def show_table(table: Table) -> None:
    """Prints a table whole: a name that is cut to fit helps nobody, so one that is too wide runs over the edge."""
    needed = Measurement.get(out, out.options.update(max_width=10_000), table).maximum
    # A console never prints wider than itself: this one is as wide as the table.
    Console(width=max(needed, out.width)).print(table, soft_wrap=True)


def finish(
    result: Mapping[str, Any], *, as_json: bool, show: Callable[[], None] | None = None, ok: bool = True
) -> None:
    """Prints the result (JSON, or `show` for a person) and ends the command: exit 0, or 1 when the answer is no."""
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(dict(result), option=orjson.OPT_NON_STR_KEYS) + b"\n")
        sys.stdout.flush()
    elif show is not None:
        show()
    if not ok:
        raise typer.Exit(1)


class _Session:
    """What the root options said, for the command that follows."""

    config: Path | None = None


def use_config(path: Path | None) -> None:
    """Called once by the root command with the value of `--config`."""
    _Session.config = path


def settings() -> Settings:
    """The settings in force for this command; raises `SettingsError`."""
    return load_settings(_Session.config)
