"""`facepay embed` and `facepay models`: keys, exit codes and sentences, on real models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli import embed, models
from pipeline.errors import ModelError, UsageError

pytestmark = pytest.mark.shared

app = typer.Typer()
app.command("embed")(embed.embed)
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


def test_embed_prints_each_face_with_every_key(shared: Path) -> None:
    """Largest face first, pixels of the file, live scores by model and fused, an embedding of length 1."""
    files = [shared / "faces" / "pad_apache9" / name for name in ("live_true_001.jpg", "live_true_003.png")]
    result = run("embed", *files, "--models", shared / "models", "--json")
    assert result.exit_code == 0
    images = last_line(result)["images"]
    assert [image["file"] for image in images] == [str(file) for file in files]
    face = images[0]["faces"][0]
    assert face["box"] == pytest.approx([645.44, 408.18, 343.44, 455.27], abs=0.5)
    assert len(face["landmarks"]) == 5
    assert set(face["live"]) == {"minifasnet_v2", "minifasnet_v1se", "minifas_9780", "fused"}
    assert face["eyes_open"] is None
    assert face["quality"]["eye_distance_px"] == pytest.approx(155.5, abs=0.5)
    assert sum(number**2 for number in face["embedding"]) == pytest.approx(1.0, abs=1e-4)


def test_embed_shows_a_table_to_a_person(shared: Path) -> None:
    """Without --json: no embedding on the screen."""
    result = run("embed", shared / "faces" / "pad_apache9" / "live_true_001.jpg", "--models", shared / "models")
    assert result.exit_code == 0
    assert "0.948" in result.stdout


def test_embed_refuses_what_is_no_image_and_what_is_no_folder(shared: Path, tmp_path: Path) -> None:
    """Wrong use and a failed outside, each an error of the tree that the program turns into one sentence."""
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((shared / "faces" / "pad_apache9" / "live_true_001.jpg").read_bytes()[:5000])
    refused = run("embed", cut, "--models", shared / "models", "--json").exception
    assert isinstance(refused, UsageError)
    assert "jpeg_truncated" in str(refused)
    assert isinstance(run("embed", cut, "--models", tmp_path / "absent").exception, ModelError)


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
