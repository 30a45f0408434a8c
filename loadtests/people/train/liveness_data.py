"""What the drawn people's liveness model learns from: crops of bona fide faces and of attacks with them, in stores.

Every picture has a store of its own, a light, a pose, a sensor and a JPEG quality drawn anew, and every attack a print,
a screen or a mask of its own, so that unseen people are also unseen instruments. The box is off as a detector's is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtests.people.drawn import Painter, Sensor, Species, Truth, attack, background, person, random_view
from loadtests.people.train import shards
from loadtests.people.train.capturing import Pixels, through_jpeg
from loadtests.people.train.shards import Plan
from pipeline.vision.faces import Box
from pipeline.vision.liveness import cut_out
from pipeline.vision.models import CropContract

SIDE_PX = 80
SCALE = 2.7
"""The crop's side in longer sides of the box: a screen's bezel and a sheet's edge are in view."""

MARGIN = 1.2
"""How much more than the crop is kept for training, so that the crop can be moved and scaled anew each time."""

KEPT_PX = round(SIDE_PX * MARGIN)
BONA_FIDE = -1
SPECIES = tuple(Species)
SIZES = ((640, 480), (1280, 720))
PEOPLE_PER_CHUNK = 10
BONA_FIDE_PER_PERSON = 3


@dataclass(frozen=True, slots=True, eq=False)
class Shots:
    """Crops uint8 (n, side, side, 3) BGR; `species` index into `SPECIES` or `BONA_FIDE`; `identity` (n,)."""

    crops: npt.NDArray[np.uint8]
    species: npt.NDArray[np.int8]
    identity: npt.NDArray[np.int64]


def shots(work: Path, people: int, *, first: int, training: bool) -> Shots:
    """Three bona fide pictures and one attack of each species of every person from number `first` on; kept in `work`.
    Those for training have the margin, the others are as the product cuts them.
    """
    side = KEPT_PX if training else SIDE_PX
    plan = Plan(
        name="training_liveness" if training else "test_liveness",
        version=1,
        chunks=people // PEOPLE_PER_CHUNK,
        rows=PEOPLE_PER_CHUNK * (BONA_FIDE_PER_PERSON + len(SPECIES)),
        fields={"crops": ((side, side, 3), "uint8"), "species": ((), "int8"), "identity": ((), "int64")},
        draw=partial(_chunk, first, side),
    )
    rows = shards.drawn(plan, work)
    return Shots(np.asarray(rows["crops"]), np.asarray(rows["species"]), np.asarray(rows["identity"]))


def _chunk(first: int, side: int, chunk: int) -> dict[str, npt.NDArray[Any]]:
    crops, kinds, identity = [], [], []
    scale = SCALE * side / SIDE_PX
    for number in range(first + chunk * PEOPLE_PER_CHUNK, first + (chunk + 1) * PEOPLE_PER_CHUNK):
        rng = np.random.default_rng([12, number])
        painter = Painter(person(number))
        for species in (*[BONA_FIDE] * BONA_FIDE_PER_PERSON, *range(len(SPECIES))):
            pixels, truth = shot(painter, species, rng)
            crops.append(cut_out(pixels, found_box(truth, rng), CropContract("square", scale), side))
            kinds.append(species)
            identity.append(number)
    return {"crops": np.stack(crops), "species": np.array(kinds), "identity": np.array(identity)}


def shot(painter: Painter, species: int, rng: np.random.Generator) -> tuple[Pixels, Truth]:
    """One picture of a camera at a counter: VGA, or one in four 720p."""
    width, height = SIZES[int(rng.random() < 0.25)]
    face_px = float(np.exp(rng.uniform(np.log(70.0), np.log(0.45 * height))))
    middle = (rng.uniform(0.2, 0.8) * width, rng.uniform(0.35, 0.65) * height)
    view = random_view(rng, face_px=(face_px, face_px), centre=middle, closed=0.1, mask=0.05)
    canvas = background(rng, (width, height))
    bona_fide = species == BONA_FIDE
    truth = painter.draw(view, canvas) if bona_fide else attack(painter, SPECIES[species], view, canvas, rng)
    Sensor(int(rng.integers(2**31)), gain=float(rng.uniform(0.7, 2.5))).expose(canvas)
    return through_jpeg(canvas, int(rng.integers(55, 96))), truth


def found_box(truth: Truth, rng: np.random.Generator) -> Box:
    """The true box as a detector finds it: off by a few per cent in place and size."""
    x, y, w, h = truth.box
    wide, high = w * np.exp(rng.normal(0, 0.05)), h * np.exp(rng.normal(0, 0.05))
    middle_x, middle_y = x + w / 2 + rng.normal(0, 0.03) * w, y + h / 2 + rng.normal(0, 0.03) * h
    return Box(float(middle_x - wide / 2), float(middle_y - high / 2), float(wide), float(high))
