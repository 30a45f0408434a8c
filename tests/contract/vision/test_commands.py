"""`facepay models`: keys, exit codes and sentences, on real models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli import models

pytestmark = pytest.mark.shared

app = typer.Typer()
app.add_typer(models.app, name="models")


def run(*arguments: str | Path) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def last_line(result: Result) -> dict[str, Any]:
    """The one JSON object, which is all that standard output holds."""
    lines = result.stdout.splitlines()
    assert len(lines) == 1
    parsed: dict[str, Any] = json.loads(lines[0])
    return parsed


def test_models_list_names_every_known_model(shared: Path) -> None:
    """Hash, licence and terms, here or not."""
    rows = last_line(run("models", "list", "--models", shared / "models", "--json"))["models"]
    assert len([row for row in rows if row["ok"]]) == 8
    assert all(row["licence"] and row["training_terms"] and len(row["sha256"]) == 64 for row in rows)
    assert run("models", "list", "--models", shared / "models").exit_code == 0


def test_models_verify_says_yes_for_what_keeps_its_contract_and_no_for_the_rest(shared: Path, tmp_path: Path) -> None:
    """Exit 1 when a file is foreign or a needed model is absent."""
    result = run("models", "verify", "--models", shared / "models", "--json")
    assert result.exit_code == 0
    assert all(row["ok"] for row in last_line(result)["models"])
    shutil.copyfile(shared / "models" / "yunet_n_dynamic.onnx", tmp_path / "a.onnx")
    (tmp_path / "foreign.onnx").write_bytes(b"not a model")
    result = run("models", "verify", "--models", tmp_path, "--json")
    assert result.exit_code == 1
    rows = {row["name"]: row for row in last_line(result)["models"]}
    assert {name: row["ok"] for name, row in rows.items()} == {
        "yunet_n": True,
        "foreign": False,
        "mobilefacenet": False,
    }
    assert "no known model has this hash" in rows["foreign"]["found"]
