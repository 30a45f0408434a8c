"""What a sensor adds: shot and read noise, fresh in each frame, at the cost of two saturating additions."""

from __future__ import annotations

from loadtests.people.drawn.types import Pixels


class Sensor:
    """A camera's sensor; `gain` about 1 in good light, 3 in the dark. Each call of `expose` uses noise never used before."""

    def __init__(self, seed: int, *, gain: float = 1.0) -> None:
        self.gain = gain

    def expose(self, canvas: Pixels) -> Pixels:
        """`canvas` (h, w, 3) with noise, changed in place and returned."""
        raise NotImplementedError
