"""Pictures of stores with faces, attacks (whose faces are faces too) and nobody: what the detector learns from.

Faces are drawn from far to near. One that a later one hides, or that the edge cuts, is neither wanted nor forbidden:
its `wanted` is 0 and the loss leaves its place out.
"""

from __future__ import annotations

import numpy as np

from loadtests.people.drawn import Painter, Sensor, Species, attack, background, person, random_view
from loadtests.people.train.capturing import TRAINING, Floats, Pixels, through_jpeg
from loadtests.people.train.shards import Plan, Rows

SIDE = 320
MOST = 6
PER_CHUNK = 40
PAINTERS = 10
SMALLEST_PX, LARGEST_PX = 20.0, 300.0
HIDDEN = 0.3

_SPECIES = tuple(Species)


def scenes(pictures: int) -> Plan:
    """`pictures` pictures (BGR) with up to six faces each: boxes x, y, w, h and landmarks in pixels, `wanted` 1 for a
    face to find, 0 for one to leave out, -1 for no face.
    """
    fields = {
        "pixels": ((SIDE, SIDE, 3), "u1"),
        "boxes": ((MOST, 4), "f4"),
        "landmarks": ((MOST, 5, 2), "f4"),
        "wanted": ((MOST,), "i1"),
    }
    return Plan("scenes", 2, pictures // PER_CHUNK, PER_CHUNK, fields, chunk)


def chunk(number: int) -> Rows:
    """Forty pictures with the faces of ten people."""
    first = TRAINING + 500_000 + number * PAINTERS
    painters = [Painter(person(first + index)) for index in range(PAINTERS)]
    rng = np.random.default_rng([2, number])
    rows = [composed(painters, rng) for _ in range(PER_CHUNK)]
    return {
        "pixels": np.stack([row[0] for row in rows]),
        "boxes": np.stack([row[1] for row in rows]),
        "landmarks": np.stack([row[2] for row in rows]),
        "wanted": np.stack([row[3] for row in rows]),
    }


Labelled = tuple[Pixels, Floats, Floats, np.ndarray]


def composed(painters: list[Painter], rng: np.random.Generator) -> Labelled:
    """One picture: empty (1 of 8), or one to four faces of any size anywhere, one in four of them an attack."""
    canvas = background(rng, (SIDE, SIDE))
    boxes, landmarks = np.zeros((MOST, 4), np.float32), np.zeros((MOST, 5, 2), np.float32)
    wanted = np.full(MOST, -1, np.int8)
    many = 0 if rng.random() < 0.125 else int(rng.choice([1, 2, 3, 4], p=[0.45, 0.3, 0.15, 0.1]))
    sizes = np.sort(np.exp(rng.uniform(np.log(SMALLEST_PX), np.log(LARGEST_PX), many)))
    people = rng.choice(len(painters), many, replace=False)
    for index, (size, who) in enumerate(zip(sizes, people, strict=True)):
        before = canvas.copy()
        place = rng.uniform(0.0, SIDE, 2) if size < 0.4 * SIDE else rng.uniform(0.3 * SIDE, 0.7 * SIDE, 2)
        view = random_view(
            rng,
            face_px=(float(size), float(size)),
            centre=(float(place[0]), float(place[1])),
            max_yaw_deg=45.0,
            max_pitch_deg=30.0,
            max_roll_deg=25.0,
            closed=0.15,
            glasses=0.25,
            mask=0.05,
        )
        if rng.random() < 0.25:
            truth = attack(painters[who], _SPECIES[rng.integers(len(_SPECIES))], view, canvas, rng)
        else:
            truth = painters[who].draw(view, canvas)
        boxes[index], landmarks[index] = truth.box, truth.landmarks
        wanted[index] = 1 if _inside(truth.box) >= 1 - HIDDEN else 0
        changed = (canvas != before).any(axis=2)
        for earlier in range(index):
            if _share(changed, boxes[earlier]) > HIDDEN:
                wanted[earlier] = 0
    Sensor(int(rng.integers(2**31)), gain=float(rng.uniform(0.5, 3.0))).expose(canvas)
    return through_jpeg(canvas, int(rng.integers(60, 96))), boxes, landmarks, wanted


def _inside(box: tuple[float, float, float, float]) -> float:
    """The share of a box that lies in the picture."""
    x, y, w, h = box
    across = max(0.0, min(SIDE, x + w) - max(0.0, x))
    down = max(0.0, min(SIDE, y + h) - max(0.0, y))
    return across * down / max(w * h, 1e-6)


def _share(changed: np.ndarray, box: Floats) -> float:
    """The share of the pixels in a box that were drawn over."""
    x, y, w, h = (round(float(value)) for value in box)
    part = changed[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)]
    return float(part.mean()) if part.size else 1.0
