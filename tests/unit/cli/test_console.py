"""How commands speak: whole tables, one JSON object, exit codes."""

from __future__ import annotations

import orjson
import pytest
import typer
from rich.table import Table

from pipeline.cli import console


def test_a_table_is_printed_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is cut to fit helps nobody."""
    monkeypatch.setenv("COLUMNS", "20")
    name = "a-name-that-is-longer-than-any-narrow-terminal.jpg"
    table = Table("file", "found")
    table.add_row(name, "1")
    console.show_table(table)
    assert name in capsys.readouterr().out


def test_with_json_the_object_is_all_that_stands_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """And a "no" is exit code 1."""
    with pytest.raises(typer.Exit) as ended:
        console.finish({"answer": 42}, as_json=True, show=lambda: console.out.print("for people"), ok=False)
    assert ended.value.exit_code == 1
    assert orjson.loads(capsys.readouterr().out) == {"answer": 42}
