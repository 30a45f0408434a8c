"""What a camera at a counter films of somebody: a photograph set in motion, or a drawn person who moves and blinks."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol

import numpy as np

from loadtests.motion import HEIGHT, WIDTH, Motion, Pixels, Scene, portrait
from loadtests.people.appearance import Act, Appearance, Drawn
from loadtests.people.drawn import Light, Painter, Sensor, View, attack, background, person
from pipeline.errors import UsageError

FACES_PX: Mapping[Scene, float] = MappingProxyType({Scene.FAR: 36, Scene.NEAR: 150, Scene.CLOSE: 190, Scene.TWO: 120})
"""Width of a face in the frame: some steps away, at the counter, bent over it, or two side by side."""

BLINK_S = 0.14
"""How long lids stay down in a blink (Schiffman, 2001: 0.1 to 0.15 s)."""


class Filmed(Protocol):
    """Somebody before one camera. Equal arguments give equal frames."""

    def frame(self, index: int, at_s: float, scene: Scene = Scene.NEAR) -> Pixels:
        """What the camera sees `at_s` seconds into the visit, uint8 (480, 640, 3) BGR; `index` chooses the noise."""
        ...


def filmed(who: Appearance, *, seed: int, companion: Appearance | None = None) -> Filmed:
    """`who`, and in `Scene.TWO` the companion beside them; raises `OutsideError`, `UsageError`."""
    if isinstance(who, Drawn):
        if companion is not None and not isinstance(companion, Drawn):
            raise UsageError("filming two people: drawn people and photographs do not mix; pass one folder of people")
        return DrawnFilm(who, seed=seed, companion=companion)
    if isinstance(companion, Drawn):
        raise UsageError("filming two people: drawn people and photographs do not mix; pass one folder of people")
    return Motion(portrait(who), seed=seed, companion=None if companion is None else portrait(companion))


@lru_cache(maxsize=128)
def painter(seed: int) -> Painter:
    """The textures of the person drawn from `seed`: they cost some tens of milliseconds, once."""
    return Painter(person(seed))


class DrawnFilm:
    """A drawn person, and a companion in `Scene.TWO`, before a wall of their shop."""

    def __init__(self, who: Drawn, *, seed: int, companion: Drawn | None = None) -> None:
        draw = random.Random(seed)
        self._people = [who] if companion is None else [who, companion]
        self._painters = [painter(each.seed) for each in self._people]
        self._wall = background(np.random.default_rng(seed), (WIDTH, HEIGHT))
        self._light = Light(
            azimuth_deg=draw.uniform(-40, 40),
            elevation_deg=draw.uniform(15, 50),
            level=draw.uniform(0.85, 1.1),
            ambient=draw.uniform(0.5, 0.7),
            warmth=draw.uniform(-0.3, 0.4),
        )
        self._glasses = [draw.choice((None, None, None, 0, 1)) for _ in self._people]
        self._phases = [[draw.uniform(0, math.tau) for _ in range(6)] for _ in self._people]
        self._blinks_s = [draw.uniform(0.6, 4.0) for _ in self._people]
        self._seed = seed

    def frame(self, index: int, at_s: float, scene: Scene = Scene.NEAR) -> Pixels:
        """See `Filmed`."""
        canvas = self._wall.copy()
        pair = scene is Scene.TWO and len(self._people) > 1
        for number in range(2 if pair else 1):
            centre_x = WIDTH * ((0.27, 0.73)[number] if pair else 0.5)
            view = self._view(number, at_s, FACES_PX[scene], centre_x)
            species = self._people[number].act.species
            if species is None:
                self._painters[number].draw(view, canvas)
            else:
                # What is held up stays the same thing throughout the visit: paper does not change its grain.
                attack(self._painters[number], species, view, canvas, np.random.default_rng(self._seed))
        return Sensor(self._seed * 10_007 + index).expose(canvas)

    def _view(self, number: int, at_s: float, face_px: float, centre_x: float) -> View:
        """How a person holds their head at that moment."""
        a, b, c, d, e, f = self._phases[number]
        swing = 10 * face_px / FACES_PX[Scene.NEAR]
        view = View(
            yaw_deg=7 * math.sin(0.9 * at_s + a),
            pitch_deg=4 * math.sin(0.7 * at_s + b),
            roll_deg=3 * math.sin(0.8 * at_s + c),
            gaze=(0.15 * math.sin(1.1 * at_s + d), 0.1 * math.sin(0.6 * at_s + e)),
            smile=0.3 * math.sin(0.4 * at_s + f),
            glasses=self._glasses[number],
            light=self._light,
            face_px=face_px * (1 + 0.02 * math.sin(0.8 * at_s + d)),
            centre=(
                centre_x + swing * math.sin(1.3 * at_s + e),
                HEIGHT * 0.48 + 0.6 * swing * math.sin(0.9 * at_s + f),
            ),
        )
        if self._people[number].act is Act.ASLEEP:
            return replace(view, eyes_open=(0.0, 0.0), smile=0.0, gaze=(0.0, 0.0))
        since_s = (at_s - self._blinks_s[number]) % 3.7
        return replace(view, eyes_open=(0.05, 0.05)) if since_s < BLINK_S else view
