"""When a source shows its next picture: at a steady rate, while somebody wants pictures, until told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from pipeline.ports import Clock


class Wanted(Protocol):
    """Whether pictures are wanted now."""

    def wait_held(self, timeout_s: float) -> bool:
        """True as soon as pictures are wanted, False after `timeout_s`."""
        ...


class Pace:
    """`rate`: pictures a second, at most. Every wait ends early, with False, once `stop` is set."""

    _LOOK_S = 0.05

    def __init__(
        self,
        rate: float,
        clock: Clock,
        wanted: Wanted,
        stop: threading.Event,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self.interval_us = round(1_000_000 / rate)
        self._clock = clock
        self._wanted = wanted
        self._stop = stop
        self._on_turn = on_turn
        self._due_us = 0

    def now_us(self) -> int:
        """The camera's clock, microseconds UTC."""
        return self._clock()

    def running(self) -> bool:
        """Whether nobody has stopped the camera; asked several times a second, so that `on_turn` sees it live."""
        self._on_turn()
        return not self._stop.is_set()

    def wanted(self) -> bool:
        """Whether pictures are wanted at this moment."""
        return self._wanted.wait_held(0)

    def wait_wanted(self) -> bool:
        """Waits until pictures are wanted."""
        while self.running():
            if self._wanted.wait_held(self._LOOK_S):
                return True
        return False

    def wait_until(self, due_us: int) -> bool:
        """Waits until the clock shows `due_us`."""
        while (ahead_us := due_us - self._clock()) > 0:
            if self._stop.wait(ahead_us / 1_000_000):
                return False
        return self.running()

    def wait_turn(self) -> bool:
        """Waits until pictures are wanted and one interval has passed since the last turn."""
        if not self.wait_wanted() or not self.wait_until(self._due_us):
            return False
        # Late by more than an interval, after a pause: go on from now, do not catch up in a burst.
        now_us = self._clock()
        self._due_us = (self._due_us if now_us - self._due_us < self.interval_us else now_us) + self.interval_us
        return True
