"""Camera streams: frames with timestamps of somebody who stands at a counter, moves and blinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtests.people.drawn.attacks import Species
from loadtests.people.drawn.factors import Person
from loadtests.people.drawn.truth import Pixels, Truth


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
    """One camera. Equal arguments give equal frames."""

    def __init__(
        self,
        seed: int,
        payer: Person | None,
        *,
        bystanders: Sequence[Person] = (),
        species: Species | None = None,
        size: tuple[int, int] = (640, 480),
        rate_fps: float = 5.0,
        face_px: float | None = None,
        eyes_closed: bool = False,
    ) -> None:
        self.seed = seed

    def frame(self, index: int) -> Frame:
        """The frame with this number, from 0; frames may be asked for in any order."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError
