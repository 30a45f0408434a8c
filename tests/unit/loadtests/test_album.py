"""An album of drawn people: tables that fit its pictures, and the same pictures by seed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from loadtests.people import album
from loadtests.people.drawn import Species


def rows(path: Path) -> list[dict[str, str]]:
    """A table of the album."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people with three pictures each."""
    out = tmp_path_factory.mktemp("album")
    assert album.main([str(out), "--people", "2", "--photos", "3"]) == 0
    return out


def test_the_tables_name_every_picture(drawn: Path) -> None:
    """Each person has a portrait and mated pairs, closed eyes, and an attack of each species; no file is left out."""
    index, pairs, liveness = (rows(drawn / f"{name}.csv") for name in ("index", "pairs", "liveness"))
    assert len({row["identity"] for row in index}) == 2
    assert len(index) == 6
    assert [row["file_x"].endswith("portrait.jpg") for row in pairs] == [True] * 4
    assert {row["file_y"] for row in pairs} <= {row["file"] for row in index}
    labels = [(row["label"], row["eyes"]) for row in liveness]
    assert labels.count(("live", "open")) == 4
    assert labels.count(("live", "closed")) == 2
    assert all(labels.count((species.value, "")) == 2 for species in Species)
    named = {row["file"] for row in [*index, *liveness]}
    assert named == {path.relative_to(drawn).as_posix() for path in drawn.rglob("*.jpg")}


def test_a_seed_draws_the_same_album(drawn: Path, tmp_path: Path) -> None:
    """Byte for byte, also of one person alone; another seed draws others."""
    album.write(tmp_path / "again", people=1, photos=3, seed=album.FIRST)
    album.write(tmp_path / "other", people=1, photos=3, seed=album.FIRST + 50)
    for path in (tmp_path / "again").rglob("*.jpg"):
        assert path.read_bytes() == (drawn / path.relative_to(tmp_path / "again")).read_bytes()
    first = next((tmp_path / "other").rglob("*portrait.jpg"))
    assert first.read_bytes() != next((tmp_path / "again").rglob("*portrait.jpg")).read_bytes()
