"""Camera streams: frames with timestamps of somebody who stands at a counter, moves and blinks.

Bystanders are drawn once and only shift a little from frame to frame: they are far away. What a frame costs is the
payer, and the noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtests.people.drawn.attacks import Instrument, Species
from loadtests.people.drawn.backgrounds import background
from loadtests.people.drawn.factors import Person
from loadtests.people.drawn.movement import Movement
from loadtests.people.drawn.noise import expose
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.scenes import HIDDEN_SHARE, bystander_view, covered_by, hidden
from loadtests.people.drawn.truth import Pixels, Truth
from loadtests.people.drawn.view import View, random_light, random_view

STILLS = 6
"""How many moments of the bystanders are prepared; frames go through them."""

_STILL_S = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """`pixels` uint8 (h, w, 3) BGR, `at_ms` since the stream began; `truths`: the payer's (or attack's) first, then the
    bystanders' whose faces can be seen.
    """

    index: int
    at_ms: int
    pixels: Pixels
    truths: tuple[Truth, ...]


class CameraStream:
    """One camera: `payer` at the counter (or nobody), `bystanders` behind, with `species` an attack that shows the
    payer. `size` (width, height), up to 1280 x 720; `face_px` the payer's face (by default drawn from 110 to 220 at
    VGA). Equal arguments give equal frames.
    """

    def __init__(
        self,
        seed: int,
        payer: Person | Painter | None,
        *,
        bystanders: Sequence[Person | Painter] = (),
        species: Species | None = None,
        size: tuple[int, int] = (640, 480),
        rate_fps: float = 5.0,
        face_px: float | None = None,
        eyes_closed: bool = False,
    ) -> None:
        self.seed = seed
        self.size = size
        self.rate_fps = rate_fps
        rng = np.random.default_rng([83, seed])
        self._empty = background(rng, size)
        light = random_light(rng)
        rest = _rest(rng, size, face_px)
        rest = replace(rest, light=light)
        self._gain = float(rng.uniform(0.7, 1.5)) / max(light.level, 0.6)
        self._painter = _painter(payer) if payer is not None else None
        self._instrument = None
        if self._painter is not None and species is not None:
            self._instrument = Instrument(self._painter, species, rng)
        self._movement = Movement(
            rest, rng, lively=0.5 if species in {Species.PRINT, Species.SCREEN} else 1.0, eyes_closed=eyes_closed
        )
        views = sorted((bystander_view(rng, size, light) for _ in bystanders), key=lambda view: view.face_px)
        self._behind = [(_painter(one), Movement(view, rng)) for one, view in zip(bystanders, views, strict=True)]
        self._stills: dict[int, tuple[Pixels, list[tuple[Truth, View]]]] = {}

    def frame(self, index: int) -> Frame:
        """The frame with this number, from 0; frames may be asked for in any order."""
        at_s = index / self.rate_fps
        still, others = self._still(int(at_s / _STILL_S) % STILLS if self._behind else 0)
        canvas = still.copy()
        truths: list[Truth] = []
        covers = []
        if self._painter is not None:
            view = self._movement.at(at_s)
            if self._instrument is not None:
                truths.append(self._instrument.present(view, canvas))
            else:
                truths.append(self._painter.draw(view, canvas))
            covers.append(covered_by(view))
        seen: list[Truth] = []
        for truth, other in reversed(others):
            if hidden(truth, covers, self.size) <= HIDDEN_SHARE:
                seen.insert(0, truth)
            covers.append(covered_by(other))
        expose(canvas, np.random.default_rng([89, self.seed, index]), self._gain)
        return Frame(index, round(1000 * at_s), canvas, (*truths, *seen))

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in itertools.count())

    def _still(self, number: int) -> tuple[Pixels, list[tuple[Truth, View]]]:
        """The store with its bystanders at one of their moments, from far to near."""
        found = self._stills.get(number)
        if found is None:
            canvas = self._empty.copy()
            others = []
            for painter, movement in self._behind:
                view = movement.at(number * _STILL_S)
                others.append((painter.draw(view, canvas), view))
            found = self._stills[number] = (canvas, others)
        return found


def _rest(rng: np.random.Generator, size: tuple[int, int], face_px: float | None) -> View:
    unit = size[1] / 480
    chosen = float(rng.uniform(110, 220)) * unit if face_px is None else face_px
    middle = (size[0] * float(rng.uniform(0.44, 0.56)), size[1] * float(rng.uniform(0.44, 0.52)))
    return random_view(rng, face_px=(chosen, chosen), centre=middle, max_yaw_deg=12, max_pitch_deg=8, max_roll_deg=6)


def _painter(one: Person | Painter) -> Painter:
    return one if isinstance(one, Painter) else Painter(one)
