"""Labelled pictures and what the engine saw on each: the samples that every error rate rests on.

An index is a CSV file: `file` relative to a folder of pictures, and labels. Of each picture the largest face counts. A
picture ends in one of four ways, which are counted apart (ISO/IEC 19795-1: failure to detect, failure to acquire):

    unreadable      no picture that can be decoded: an error of the data set, not of the system
    not_detected    a picture without a face that the detector finds
    not_acquired    a face, but one that the gate refuses (`gate`), or without a finite embedding
    seen            a face that can be compared
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.errors import UsageError
from pipeline.vision.decode import read_image
from pipeline.vision.engine import Engine
from pipeline.vision.faces import Face

Outcome = Literal["unreadable", "not_detected", "not_acquired", "seen"]
OUTCOMES: tuple[Outcome, ...] = ("unreadable", "not_detected", "not_acquired", "seen")

Labels = Mapping[str, str]
"""A row of an index: column to value."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One picture: its labels, how it ended, and the largest of its `faces` faces (None unless there is one)."""

    labels: Labels
    outcome: Outcome
    face: Face | None = field(default=None, repr=False)
    faces: int = 0
    why: str = ""

    @property
    def file(self) -> str:
        """As the index names it."""
        return self.labels["file"]


def read_table(path: Path, columns: Sequence[str]) -> list[Labels]:
    """The rows of a CSV file that has at least `columns`, values without blanks around them.

    Raises `UsageError` when the file cannot be read, lacks a column, leaves one of them empty, or has no row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            present = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = present
            rows: list[Labels] = [{name: (row.get(name) or "").strip() for name in present} for row in reader]
    except OSError as error:
        raise UsageError(f"reading the table {path}: {error.strerror}; pass a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"reading the table {path}: it is no CSV file in UTF-8 ({error})") from None
    missing = [name for name in columns if name not in present]
    if missing:
        raise UsageError(
            f"reading the table {path}: it has the columns {', '.join(present) or 'none'} and lacks "
            f"{', '.join(missing)}; its first line must name them"
        )
    for number, row in enumerate(rows, start=2):
        empty = [name for name in columns if not row[name]]
        if empty:
            raise UsageError(f"reading the table {path}: line {number} has no {empty[0]}; fill it in or leave it out")
    if not rows:
        raise UsageError(f"reading the table {path}: it has a first line and no row; list at least one picture")
    return rows


def read_index(path: Path, label: str) -> list[Labels]:
    """The index of pictures at `path` with the columns `file` and `label`; a file listed twice is a `UsageError`,
    because it would be compared with itself.
    """
    rows = read_table(path, ("file", label))
    seen: set[str] = set()
    for row in rows:
        if row["file"] in seen:
            raise UsageError(f"reading the index {path}: it lists {row['file']} twice; keep one of the lines")
        seen.add(row["file"])
    return rows


def placed(rows: Iterable[Labels], folder: Path, index: Path) -> dict[str, Path]:
    """Where the file of each row lies: under `folder`, or else beside the index, whose rows may name subfolders."""
    found = {}
    for row in rows:
        under, beside = folder / row["file"], index.parent / row["file"]
        found[row["file"]] = beside if beside.is_file() and not under.exists() else under
    return found


def look(
    engine: Engine, files: Mapping[str, Path], rows: Iterable[Labels], refuse: Callable[[Face], str] = lambda _: ""
) -> Iterator[Sighting]:
    """What the engine sees on each picture of `rows` (`files` has its place), in order, one decoded at a time.

    `refuse` is the gate: it says why a face is not acquired, or nothing. A picture that cannot be read is a sighting
    like any other; a device that fails raises `ModelError`.
    """
    for row in rows:
        try:
            image = read_image(files[row["file"]])
        except UsageError as error:
            yield Sighting(row, "unreadable", why=str(error))
            continue
        faces = engine.faces([image])[0]
        if not faces:
            yield Sighting(row, "not_detected", why="no face was found")
            continue
        why = refuse(faces[0]) if faces[0].embedding.any() else "the embedder gave no finite answer"
        yield Sighting(row, "not_acquired" if why else "seen", faces[0], len(faces), why)


def counted(sightings: Sequence[Sighting]) -> dict[str, int]:
    """How many pictures ended in each way, and on how many more than one face was found."""
    counts: dict[str, int] = {outcome: sum(s.outcome == outcome for s in sightings) for outcome in OUTCOMES}
    counts["with_several_faces"] = sum(s.faces > 1 for s in sightings)
    return counts
