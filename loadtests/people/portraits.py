"""A folder of portraits to persons with their photographs.

Three layouts are understood:

- `index.csv` with the columns file and identity, and, where it lies beside, `same_pairs.csv` with file_x, file_y and
  identity: pairs of truly different photographs of one person. Other photographs of one identity may be near-copies
  and count as one.
- one folder per person with one or more photographs;
- one file per person.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with photographs that differ; the first is fit for enrolment, the last to be seen by a camera."""

    label: str
    photographs: tuple[Path, ...]
    drawn_seed: int | None = None
    """What a drawn person is drawn from; None for a person of photographs only."""

    @property
    def has_two(self) -> bool:
        """Whether enrolment and payment can use different pictures."""
        return len(self.photographs) > 1 or self.drawn_seed is not None


def load_people(folder: Path) -> list[Person]:
    """The persons of a folder, in the order of their labels; raises `UsageError` when there are none."""
    if not folder.is_dir():
        raise UsageError(f"reading portraits from {folder}: no such folder; pass one to --people")
    people = list(_indexed(folder)) if (folder / "index.csv").is_file() else list(_plain(folder))
    if not people:
        raise UsageError(f"reading portraits from {folder}: there are none; pass a folder of pictures to --people")
    return sorted(people, key=lambda person: person.label)


def _indexed(folder: Path) -> Iterator[Person]:
    firsts: dict[str, Path] = {}
    for row in _rows(folder / "index.csv", "file", "identity"):
        firsts.setdefault(row["identity"], folder / row["file"])
    pairs: dict[str, tuple[Path, Path]] = {}
    if (folder / "same_pairs.csv").is_file():
        for row in _rows(folder / "same_pairs.csv", "file_x", "file_y", "identity"):
            pairs.setdefault(row["identity"], (folder / row["file_x"], folder / row["file_y"]))
    for identity, first in firsts.items():
        photographs = pairs.get(identity, (first,))
        if all(path.is_file() for path in photographs):
            yield Person(identity, photographs)


def _rows(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise UsageError(f"reading {path}: the column {min(missing)} is missing; it needs {', '.join(columns)}")
        yield from reader


def _plain(folder: Path) -> Iterator[Person]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            photographs = tuple(sorted(p for p in entry.iterdir() if p.suffix.lower() in SUFFIXES))
            if photographs:
                yield Person(entry.name, photographs)
        elif entry.suffix.lower() in SUFFIXES:
            yield Person(entry.stem, (entry,))
