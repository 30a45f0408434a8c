"""How somebody looks to a camera: a photograph in a file, or a drawn person who does not exist.

Drawn people are told from each other by the seed they are drawn from. What they do before the camera (`Act`) belongs
to the appearance: the one who pays looks into the camera, a sleeping one does not, and an attacker holds up somebody's
picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import cv2

from loadtests.people.drawn import Painter, Species, person, portrait
from loadtests.people.portraits import Person
from pipeline.errors import OutsideError

_JPEG_QUALITY = 95


class Act(StrEnum):
    """What the camera is shown of a drawn person."""

    AWAKE = "awake"
    ASLEEP = "asleep"
    PRINT = "print"
    SCREEN = "screen"
    CUTOUT_MASK = "cutout_mask"

    @property
    def species(self) -> Species | None:
        """The presentation attack, None for a person of flesh and blood."""
        return Species(self.value) if self.value in set(Species) else None


@dataclass(frozen=True, slots=True)
class Drawn:
    """The person drawn from `seed`."""

    seed: int
    act: Act = Act.AWAKE


Appearance = Path | Drawn


@lru_cache(maxsize=128)
def painter(seed: int) -> Painter:
    """The textures of the person drawn from `seed`: they cost some tens of milliseconds, once."""
    return Painter(person(seed))


def draw_people(folder: Path, count: int, *, first_seed: int) -> Iterator[Person]:
    """`count` drawn persons, one by one, each with a portrait for the enrolment in `folder`; raises `OutsideError`."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + count):
        path = folder / f"drawn-{seed:06d}.jpg"
        pixels = portrait(painter(seed), seed)
        if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
            raise OutsideError(f"drawing people: the portrait {path} cannot be written; make room or choose --keep")
        yield Person(path.stem, (path,), drawn_seed=seed)
