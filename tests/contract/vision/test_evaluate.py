"""`facepay evaluate` on real people: what is claimed of the shipped thresholds, with its intervals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli import evaluate
from pipeline.errors import UsageError

pytestmark = pytest.mark.shared

app = typer.Typer()
app.add_typer(evaluate.app, name="evaluate")

PAINTING = "020107"


def run(*arguments: str | Path) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, ["evaluate", *(str(argument) for argument in arguments)])


def told(result: Result) -> dict[str, Any]:
    """The one JSON object, which is all that standard output holds."""
    assert result.exit_code == 0, result.exception
    (line,) = result.stdout.splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


@pytest.fixture(scope="module")
def congress(shared: Path) -> dict[str, Any]:
    """All portraits but the painting, mated only where a list says so."""
    faces = shared / "faces" / "congress"
    return told(
        run(
            "recognition", "--models", shared / "models", "--images", faces, "--index", faces / "index.csv",
            "--pairs", faces / "same_pairs.csv", "--leave-out", PAINTING, "--by", "size,light,pose,source", "--json",
        )
    )  # fmt: skip


def test_no_mated_pair_of_congress_is_missed(congress: dict[str, Any]) -> None:
    """0 of 91 at FMR 1e-3 and at the shipped threshold; EER at most 0.5 %, and the intervals say how little that is."""
    assert (congress["mated"], congress["mated_people"], congress["non_mated"]) == (91, 61, 223_239)
    assert congress["failures"] == {"unreadable": 0, "to_detect": 0, "to_acquire": 0, "with_several_faces": 0}
    row = next(row for row in congress["fnmr_at_fmr"] if row["fmr"] == 1e-3)
    assert (row["missed"], row["mated"], row["fnmr"]) == (0, 91, 0)
    assert row["ci"] == pytest.approx([0, 1 - 0.05 ** (1 / 61)])
    assert row["threshold"] == pytest.approx(0.36, abs=0.01)
    assert congress["eer"] <= 0.005
    assert congress["eer_ci"][1] == pytest.approx(row["ci"][1])
    assert congress["auc"] > 0.9999
    at = {row["name"]: row for row in congress["at_thresholds"]}
    assert at["match"]["threshold"] == congress["thresholds"]["match"]
    assert at["match"]["missed"] == 0
    assert at["match"]["fmr_ci"][1] < 1e-4


def test_what_a_terminal_would_refuse_is_counted_apart(shared: Path, congress: dict[str, Any]) -> None:
    """Portraits of 18 pixels are compared unless the terminal's gate is asked for, and are then failures to acquire."""
    assert congress["refused_at_a_terminal"]["come_closer"] > 50
    faces = shared / "faces" / "pad_apache9"
    arguments = ("--models", shared / "models", "--images", faces, "--index", faces / "index.csv", "--json")
    gated = told(run("liveness", *arguments, "--terminal-gate"))
    assert gated["failures"]["to_acquire"] == sum(gated["refused_at_a_terminal"].values())


def test_what_the_data_do_not_support_is_not_said(congress: dict[str, Any]) -> None:
    """223,239 non-mated pairs carry an FMR of 1e-5, and 1e-6 only by extrapolation, which says so."""
    rows = {row["fmr"]: row for row in congress["fnmr_at_fmr"]}
    assert [rows[fmr]["extrapolated"] for fmr in (1e-3, 1e-5, 1e-6)] == [False, False, True]
    assert "extrapolated" in rows[1e-6]["note"]


def test_searching_grows_with_the_gallery(congress: dict[str, Any]) -> None:
    """FPIR rises with N up to 498 people enrolled, each row with both intervals."""
    rows = congress["identification"]
    assert [row["n"] for row in rows] == [1, 3, 10, 30, 100, 300, 498]
    assert [row["fpir"] for row in rows] == sorted(row["fpir"] for row in rows)
    assert rows[-1]["fpir"] < 0.01
    assert all(row["fnir"] == 0 and row["fnir_ci"][1] > 0.04 for row in rows)
    assert all(row["threshold"] == congress["thresholds"]["match"] for row in rows)


def test_fnir_is_at_most_two_percent_where_one_search_in_a_hundred_finds_a_stranger(congress: dict[str, Any]) -> None:
    """At any size that 499 people allow; what that proves is bounded by 61 people with a mated pair."""
    rows = congress["identification_at_fpir"]
    assert [row["n"] for row in rows] == [1, 3, 10, 30, 100, 300, 498]
    for row in rows:
        assert row["fpir"] == 0.01
        assert row["fnir"] <= 0.02
        assert row["threshold"] < congress["thresholds"]["match"]


def test_in_force_a_face_alone_goes_as_far_as_the_data(congress: dict[str, Any]) -> None:
    """The threshold rises with the gallery, keeps the rate of a whole transaction, and beyond some hundred templates
    the last four digits are asked for; the shipped false match rates are those of these very pictures."""
    shipped, measured = congress["false_matches"], congress["false_matches_measured"]
    assert {"people": 499, "comparisons": 223_239, "pairs": 499 * 498 // 2}.items() <= shipped.items()
    assert shipped["points"] == [pytest.approx(point, rel=1e-2) for point in measured["points"]]
    most = congress["limits"]["templates"]
    for rows in (congress["identification_in_force"], congress["identification_of_all_templates"]):
        assert [row["threshold"] for row in rows] == sorted(row["threshold"] for row in rows)
        for row in rows:
            assert row["supported"] == (row["templates"] <= most) == (row["claim"] is None)
            assert row["fpir_transaction"] <= 0.01 * (1 + 1e-9) or not row["supported"]
            assert row["fpir"] <= 0.01
        assert rows[-1]["claim"] == "last_four"


def test_the_strata_hold_every_comparison(congress: dict[str, Any]) -> None:
    """At each of the two thresholds, the classes of size, light, pose and source add up."""
    for name in ("size", "light", "pose", "source"):
        rows = [row for row in congress["by"] if row["by"] == name]
        for threshold in {row["threshold"] for row in rows}:
            part = [row for row in rows if row["threshold"] == threshold]
            assert sum(row["mated"] for row in part) == 91
            assert sum(row["non_mated"] for row in part) == 223_239


def test_the_nine_images_are_all_right_and_prove_little(shared: Path) -> None:
    """A regression test at the shipped fused threshold, which is provisional and says so."""
    faces = shared / "faces" / "pad_apache9"
    arguments = ("liveness", "--models", shared / "models", "--images", faces, "--index", faces / "index.csv")
    result = told(run(*arguments, "--json"))
    assert [row["right"] for row in result["rows"]] == [True] * 9
    assert (result["apcer"], result["bpcer"], result["auc"]) == ({"print_or_screen": 0}, 0, 1)
    assert result["apcer_ci"]["print_or_screen"] == pytest.approx([0, 0.4507], abs=1e-4)
    assert result["bpcer_ci"] == pytest.approx([0, 0.5271], abs=1e-4)
    assert (result["threshold"], result["provisional"]) == (0.85, True)
    shown = run(*arguments)
    assert shown.exit_code == 0
    assert "provisional" in shown.stdout


def test_unreadable_pictures_are_named_and_the_rest_goes_on(shared: Path, tmp_path: Path) -> None:
    """Exit 0: a broken file is an error of the data set, and says nothing of the system's rates."""
    faces = shared / "faces" / "congress" / "dev"
    for name in ("021506_bio_guide_6289d2d0.jpg", "021506_bio_guide_9103bc1e.jpg", "021703_bio_guide_a406b6cc.jpg"):
        shutil.copyfile(faces / name, tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "021703_bio_guide_a406b6cc.jpg").read_bytes()[:3000])
    index = tmp_path / "index.csv"
    files = sorted(path.name for path in tmp_path.glob("*.jpg"))
    index.write_text("file,identity\n" + "".join(f"{name},{name[:6]}\n" for name in [*files, "absent.jpg"]))
    result = told(run("recognition", "--models", shared / "models", "--images", tmp_path, "--index", index, "--json"))
    assert result["failures"]["unreadable"] == 2
    assert {failed["file"] for failed in result["failed"]} == {"broken.jpg", "absent.jpg"}
    assert (result["mated"], result["non_mated"]) == (1, 2)
    assert all(row["threshold"] is None for row in result["fnmr_at_fmr"] if row["fmr"] < 0.05)
    assert all("not supported by the data" in row["note"] for row in result["fnmr_at_fmr"] if row["fmr"] < 0.05)


@pytest.mark.parametrize(
    ("index", "more", "why"),
    [
        ("file,identity\nabsent.jpg,a\n", [], "none can be read"),
        ("file,who\nabsent.jpg,a\n", [], "lacks identity"),
        ("file,identity\na.jpg,a\n", ["--leave-out", "b"], "no picture of the index has this identity"),
        ("file,identity\na.jpg,a\n", ["--by", "age"], "no measured quality and no column"),
        ("file,identity\nface.jpg,a\n", [], "0 mated and 0 non-mated pairs"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    index: str, more: list[str], why: str, shared: Path, tmp_path: Path
) -> None:
    """Wrong use in one sentence."""
    shutil.copyfile(shared / "faces" / "congress" / "dev" / "021506_bio_guide_6289d2d0.jpg", tmp_path / "face.jpg")
    (tmp_path / "index.csv").write_text(index)
    arguments = ("--models", shared / "models", "--images", tmp_path, "--index", tmp_path / "index.csv")
    refused = run("recognition", *arguments, *more).exception
    assert isinstance(refused, UsageError)
    assert why in str(refused)


def test_liveness_needs_all_models_of_a_fusion(shared: Path, tmp_path: Path) -> None:
    """Without a fused score there is nothing that a threshold could be held to."""
    for name in ("yunet_n_dynamic.onnx", "mobilefacenet_foamliu.onnx"):
        (tmp_path / name).symlink_to(shared / "models" / name)
    faces = shared / "faces" / "pad_apache9"
    refused = run("liveness", "--models", tmp_path, "--images", faces, "--index", faces / "index.csv").exception
    assert isinstance(refused, UsageError)
    assert "no fused score" in str(refused)
