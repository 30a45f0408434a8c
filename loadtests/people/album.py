"""An album of people who do not exist: pictures in a folder, with the tables that `facepay evaluate` reads.

    python -m loadtests.people.album OUT --people 200 --photos 2 --seed 700000

writes, for each person, one enrolment portrait and further pictures in random views, each with an entry in `index.csv`
(file, identity) and `pairs.csv` (file_x, file_y, identity: the portrait with each other picture), and bona fide
pictures, attacks of every species and closed eyes in `liveness.csv` (file, label, identity, eyes). The same seed draws
the same album. People are numbered from the seed on, so that albums of far apart seeds share nobody.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import simplejpeg
from rich.console import Console
from rich.progress import track

from loadtests.people.drawn import Painter, Species, View, attack, background, person, portrait, random_view, sample
from loadtests.people.drawn.pictures import lens
from loadtests.people.drawn.truth import Pixels

SIZE = (640, 480)
"""A camera at a counter: liveness looks at what surrounds a face, too."""
FACE_PX = (110.0, 220.0)
JPEG_QUALITY = 92
LIVE = "live"
FIRST = 700_000
"""No model was trained on the people from here on: training draws others (`train.capturing`)."""


@dataclass
class Tables:
    """The rows so far."""

    index: list[tuple[str, str]] = field(default_factory=list)
    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    liveness: list[tuple[str, str, str, str]] = field(default_factory=list)


def write(out: Path, *, people: int, photos: int, seed: int, attacks: bool = True) -> Tables:
    """Draws the album into the folder `out`, which is made; raises `OSError`."""
    (out / "faces").mkdir(parents=True, exist_ok=True)
    tables = Tables()
    console = Console(stderr=True)
    for number in track(range(people), "Drawing people", console=console, disable=not console.is_terminal):
        _draw(out, tables, seed + number, photos, attacks=attacks)
    _save(out / "index.csv", ("file", "identity"), tables.index)
    _save(out / "pairs.csv", ("file_x", "file_y", "identity"), tables.pairs)
    _save(out / "liveness.csv", ("file", "label", "identity", "eyes"), tables.liveness)
    return tables


def _draw(out: Path, tables: Tables, number: int, photos: int, *, attacks: bool) -> None:
    """All pictures of one person."""
    who = person(number)
    name = f"drawn-{number:07d}"
    rng = np.random.default_rng([91, number])
    painter = Painter(who)

    def keep(kind: str, pixels: Pixels) -> str:
        file = f"faces/{name}-{kind}.jpg"
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=JPEG_QUALITY, colorspace="BGR")
        (out / file).write_bytes(data)
        return file

    first = keep("portrait", portrait(who, number))
    tables.index.append((first, name))
    for photo in range(1, photos):
        file = keep(f"{photo}", sample(painter, rng, view=_view(rng), size=SIZE)[0])
        tables.index.append((file, name))
        tables.pairs.append((first, file, name))
        tables.liveness.append((file, LIVE, name, "open"))
    closed = replace(_view(rng), eyes_open=(0.0, 0.0))
    tables.liveness.append((keep("closed", sample(painter, rng, view=closed, size=SIZE)[0]), LIVE, name, "closed"))
    if attacks:
        for species in Species:
            view = _view(rng)
            canvas = background(rng, SIZE)
            attack(painter, species, view, canvas, rng)
            pixels = lens(canvas, rng, view.light.level)
            tables.liveness.append((keep(species.value, pixels), species.value, name, ""))


def _view(rng: np.random.Generator) -> View:
    """Somebody in the middle of the picture."""
    middle = (float(rng.uniform(0.4, 0.6)) * SIZE[0], float(rng.uniform(0.42, 0.56)) * SIZE[1])
    return random_view(rng, face_px=FACE_PX, centre=middle)


def _save(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws an album as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.people.album", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--photos", type=int, default=2, help="pictures of each person, the portrait among them")
    parser.add_argument("--seed", type=int, default=FIRST, help="number of the first person")
    parser.add_argument("--no-attacks", action="store_true")
    options = parser.parse_args(arguments)
    write(options.out, people=options.people, photos=options.photos, seed=options.seed, attacks=not options.no_attacks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
