"""What a camera at a counter films of somebody: a photograph set in motion, or a drawn person who moves and blinks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from loadtests.motion import HEIGHT, WIDTH, Motion, Pixels, Scene, portrait
from loadtests.people.appearance import Act, Appearance, Drawn, painter
from loadtests.people.drawn import Light, background, expose, random_light, random_view
from loadtests.people.drawn.attacks import Instrument
from loadtests.people.drawn.movement import Movement
from pipeline.errors import UsageError

PASSERS_BY = 9_000
"""Numbers of those who pass behind: nobody's that pays."""

FACES_PX: Mapping[Scene, float] = MappingProxyType({Scene.FAR: 36, Scene.NEAR: 150, Scene.CLOSE: 190, Scene.TWO: 120})
"""Width of a face in the frame: some steps away, at the counter, bent over it, or two side by side."""

BYSTANDERS_PX = (26.0, 36.0)
"""Width of the faces of those who pass behind: too far away to be asked to pay."""


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


class DrawnFilm:
    """A drawn person, and a companion in `Scene.TWO`, in their shop, where somebody else passes behind."""

    def __init__(self, who: Drawn, *, seed: int, companion: Drawn | None = None) -> None:
        draw = np.random.default_rng([97, seed])
        light = random_light(draw)
        self._seed = seed
        self._gain = float(draw.uniform(0.7, 1.4)) / max(light.level, 0.6)
        self._shop = background(draw, (WIDTH, HEIGHT))
        for _ in range(int(draw.integers(0, 3))):
            self._pass_behind(draw, light)
        self._people = [_Standing(each, draw, light) for each in ([who] if companion is None else [who, companion])]

    def frame(self, index: int, at_s: float, scene: Scene = Scene.NEAR) -> Pixels:
        """See `Filmed`."""
        canvas = self._shop.copy()
        pair = scene is Scene.TWO and len(self._people) > 1
        for number, standing in enumerate(self._people[: 2 if pair else 1]):
            standing.draw(at_s, scene, WIDTH * ((0.27, 0.73)[number] if pair else 0.5), canvas)
        return expose(canvas, np.random.default_rng([101, self._seed, index]), self._gain)

    def _pass_behind(self, draw: np.random.Generator, light: Light) -> None:
        middle = (float(draw.choice([0.12, 0.88])) * WIDTH, float(draw.uniform(0.3, 0.42)) * HEIGHT)
        view = random_view(draw, face_px=BYSTANDERS_PX, centre=middle)
        painter(PASSERS_BY + int(draw.integers(0, 8))).draw(replace(view, light=light), self._shop)


class _Standing:
    """One person before the camera, who moves and blinks; or what is held up in their place."""

    def __init__(self, who: Drawn, draw: np.random.Generator, light: Light) -> None:
        rest = random_view(
            draw,
            face_px=(FACES_PX[Scene.NEAR], FACES_PX[Scene.NEAR]),
            centre=(0.0, HEIGHT * 0.48),
            max_yaw_deg=10,
            max_pitch_deg=7,
            max_roll_deg=5,
            max_age_years=1,
        )
        self._painter = painter(who.seed)
        species = who.act.species
        # What is held up stays the same thing throughout the visit: paper does not change its grain.
        self._instrument = None if species is None else Instrument(self._painter, species, draw)
        self._movement = Movement(
            replace(rest, light=light),
            draw,
            lively=1.0 if species is None else 0.5,
            eyes_closed=who.act is Act.ASLEEP,
        )

    def draw(self, at_s: float, scene: Scene, middle_x: float, canvas: Pixels) -> None:
        """Into `canvas`, in place."""
        view = self._movement.at(at_s)
        scale = FACES_PX[scene] / FACES_PX[Scene.NEAR]
        x, y = view.centre
        moved = replace(view, face_px=view.face_px * scale, centre=(middle_x + x * scale, y))
        if self._instrument is None:
            self._painter.draw(moved, canvas)
        else:
            self._instrument.present(moved, canvas)
