"""`facepay evaluate crowd`: what it prints and writes, over a crowd that nobody had to draw."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from loadtests.people.train import crowd as crowds
from loadtests.people.train.crowd import Crowd
from pipeline.cli.program import app
from pipeline.errors import UsageError
from pipeline.vision.models import manifest
from pipeline.vision.thresholds import read_fmr_models

PEOPLE, PROBES = 400, 60
EMBEDDER = next(spec.sha256 for spec in manifest() if spec.name == "drawn_embedder")


def invented(people: int, probes: int) -> Crowd:
    """Directions in 64 dimensions, probes near their own."""
    rng = np.random.default_rng(9)

    def unit(
        vectors: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)

    enrolled = unit(rng.normal(size=(people, 64)))
    mated = unit(enrolled[:probes, None] + 0.06 * rng.normal(size=(probes, 2, 64)))
    return Crowd(enrolled, np.arange(probes), mated, unit(rng.normal(size=(probes, 2, 64))), 0, EMBEDDER)


def run(monkeypatch: pytest.MonkeyPatch, crowd: Crowd, *arguments: str | Path) -> Result:
    """The command, in this process, over this crowd."""
    monkeypatch.setattr(crowds, "crowd", lambda *_args, **_kwargs: crowd)
    return CliRunner().invoke(app, ["evaluate", "crowd", *(str(argument) for argument in arguments)])


def test_it_prints_one_object_and_writes_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows in force and at the manifest's threshold, a table for fmr.toml, and the chart."""
    table, chart = tmp_path / "fmr.toml", tmp_path / "chart.svg"
    result = run(monkeypatch, invented(PEOPLE, PROBES), "--json", "--calibration", table, "--chart", chart)
    assert result.exit_code == 0, result.exception
    (line,) = result.stdout.splitlines()
    told = json.loads(line)
    assert [row["n"] for row in told["identification"]] == [10, 30, 100, 300, PEOPLE]
    for row in told["identification"]:
        assert {"n", "fpir", "fpir_ci", "fnir", "fnir_ci", "threshold", "supported", "claim"} <= set(row)
        assert row["supported"] == (row["n"] <= told["limits"]["templates"])
    assert {row["threshold"] for row in told["identification_at_match"]} == {0.653}
    assert (told["enrolled"], told["probes_enrolled"], told["probes_not_enrolled"]) == (PEOPLE, 120, 120)
    assert told["false_matches"]["pairs"] > told["false_matches_measured"]["pairs"]
    (measured,) = read_fmr_models(table.read_text(encoding="utf-8")).values()
    assert measured.people == PEOPLE
    assert tomllib.loads(table.read_text(encoding="utf-8"))["models"][0]["sha256"] == EMBEDDER
    assert chart.read_text(encoding="utf-8").startswith("<svg")


def test_the_tables_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person: a row per size, and how far a face alone goes."""
    result = run(monkeypatch, invented(PEOPLE, PROBES))
    assert result.exit_code == 0, result.exception
    assert "thresholds in force" in result.stdout
    assert "a face alone is searched for among" in result.stdout


def test_a_crowd_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing drawn yet is no figure; the sentence says what to do."""
    empty = np.zeros((0, 64), np.float32)
    nobody = Crowd(empty, np.zeros(0, np.intp), empty.reshape(0, 2, 64), empty.reshape(0, 2, 64), 8, EMBEDDER)
    result = run(monkeypatch, nobody, "--workers", "0")
    assert isinstance(result.exception, UsageError)
    assert "draw more" in str(result.exception)
