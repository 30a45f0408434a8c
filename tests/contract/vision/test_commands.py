"""`facepay models`: keys, exit codes and sentences, on real models."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli import models
from pipeline.errors import UsageError

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


def test_models_quantise_measures_an_embedder_and_writes_its_recipe(shared: Path, tmp_path: Path) -> None:
    """Every second of a dozen portraits gives ranges, the others are judged; the recipe is bound to the file's hash."""
    portraits = tmp_path / "portraits"
    portraits.mkdir()
    for path in sorted((shared / "faces" / "congress" / "dev").glob("*.jpg"))[:12]:
        (portraits / path.name).symlink_to(path)
    arguments = ("models", "quantise", "mobilefacenet", "--models", shared / "models", "--images", portraits)
    result = run(*arguments, "--every", "2", "--out", tmp_path / "recipe.toml", "--json")
    found = last_line(result)
    assert result.exit_code == (0 if found["least_cosine"] >= 0.99 else 1)
    assert found["faces"] == 6
    assert 0.98 < found["least_cosine"] <= found["mean_cosine"] < 1
    assert found["speedup"] > 0
    recipe = tomllib.loads((tmp_path / "recipe.toml").read_text(encoding="utf-8"))["recipes"][0]
    assert recipe["sha256"].startswith("3da1093276634c390ad957f3ce76bed7")
    assert len(recipe["ranges"]) > 50
    assert isinstance(run(*arguments, "--every", "12").exception, UsageError)


def test_models_list_says_which_are_for_drawn_people(shared: Path) -> None:
    """Each row has the flag, and nobody takes a real model for a drawn one."""
    rows = last_line(run("models", "list", "--models", shared / "models", "--json"))["models"]
    assert not any(row["drawn"] for row in rows if row["ok"])
