"""A contact sheet: many drawn people, one in many views, attacks and a store, for whoever wants to look."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from loadtests.people.drawn.attacks import Species, attack
from loadtests.people.drawn.backgrounds import background
from loadtests.people.drawn.factors import person
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.pictures import lens, sample
from loadtests.people.drawn.scenes import scene
from loadtests.people.drawn.truth import Pixels
from loadtests.people.drawn.view import View, random_view

SIDE = 200
COLUMNS = 8

_VIEWS = (
    View(),
    View(eyes_open=(0.0, 0.0)),
    View(eyes_open=(0.45, 0.45), gaze=(0.7, 0.0)),
    View(yaw_deg=30, smile=0.9),
    View(yaw_deg=-30, pitch_deg=12, brow=-0.9),
    View(pitch_deg=-18, roll_deg=12, mouth_open=0.8, brow=0.9),
    View(glasses=2, age=20),
    View(mask=True, yaw_deg=10),
)


def contact_sheet(seed: int = 0) -> Pixels:
    """Rows: sixteen people at rest, three people in eight views, random views as for training, each species of attack,
    stores. uint8 (h, w, 3).
    """
    rng = np.random.default_rng([97, seed])
    painters = [Painter(person(seed * 1000 + index)) for index in range(2 * COLUMNS)]
    rows = [
        [_at_rest(painter, View(outfit=index)) for index, painter in enumerate(part)]
        for part in (painters[:COLUMNS], painters[COLUMNS:])
    ]
    rows += [[_at_rest(painter, view) for view in _VIEWS] for painter in painters[:3]]
    rows.append([sample(painter, rng, size=(SIDE, SIDE))[0] for painter in painters[:COLUMNS]])
    rows += [[_attacked(painter, species, rng) for painter in painters[:COLUMNS]] for species in Species]
    width = SIDE * COLUMNS
    stores = [scene(rng, painters[index : index + 4])[0] for index in range(0, 12, 4)]
    shown = [cv2.resize(store, (width // 3, width // 4), interpolation=cv2.INTER_AREA) for store in stores]
    last = cv2.copyMakeBorder(np.hstack(shown), 0, 0, 0, width - 3 * (width // 3), cv2.BORDER_CONSTANT)
    return np.asarray(np.vstack([*(np.hstack(row) for row in rows), last]), np.uint8)


def _at_rest(painter: Painter, view: View) -> Pixels:
    canvas = np.full((SIDE, SIDE, 3), 168, np.uint8)
    painter.draw(replace(view, face_px=0.46 * SIDE, centre=(SIDE / 2, SIDE * 0.53)), canvas)
    return canvas


def _attacked(painter: Painter, species: Species, rng: np.random.Generator) -> Pixels:
    canvas = background(rng, (SIDE, SIDE))
    view = random_view(rng, face_px=(0.38 * SIDE, 0.55 * SIDE), centre=(SIDE / 2, SIDE * 0.5), max_yaw_deg=20)
    attack(painter, species, view, canvas, rng)
    return lens(canvas, rng)
