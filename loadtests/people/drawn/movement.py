"""How somebody at a counter moves: small sways along smooth curves, glances, blinks. A function of time, without state.

Blinks are spread as in people: one about every four seconds, lids down within 0.1 s, up within 0.15 s (Schiffman, 2001;
VanderWerf et al., 2003).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from loadtests.people.drawn.view import View

BLINK_EVERY_S = 4.0
_CLOSING_S, _SHUT_S, _OPENING_S = 0.09, 0.06, 0.15


class Movement:
    """`rest` is how the person stands; `lively` 1 is somebody who waits, 0 a thing that is held still."""

    def __init__(self, rest: View, rng: np.random.Generator, *, lively: float = 1.0, eyes_closed: bool = False) -> None:
        self._rest = rest
        self._lively = lively
        self._closed = eyes_closed
        self._phase = rng.uniform(0, 2 * math.pi, 9)
        self._pace = rng.uniform(0.7, 1.3, 9)
        self._glances = rng.normal(0, 0.28, (64, 2)).clip(-0.9, 0.9)
        self._blinks = rng.uniform(0.0, BLINK_EVERY_S - 0.5, 64)

    def at(self, at_s: float) -> View:
        """The view at this moment, seconds since the stream began."""
        wave = [
            math.sin(float(pace) * at_s + float(phase)) for pace, phase in zip(self._pace, self._phase, strict=True)
        ]
        rest, lively = self._rest, self._lively
        reach = 0.07 * rest.face_px * lively
        lids = 0.0 if self._closed else self.lids(at_s)
        glance = self._glances[int(at_s / 1.1) % 64] if not self._closed else (0.0, 0.0)
        return replace(
            rest,
            yaw_deg=rest.yaw_deg + 5 * lively * wave[0],
            pitch_deg=rest.pitch_deg + 3.5 * lively * wave[1],
            roll_deg=rest.roll_deg + 2.5 * lively * wave[2],
            eyes_open=(lids * rest.eyes_open[0], lids * rest.eyes_open[1]),
            gaze=(float(glance[0]), float(glance[1])),
            smile=min(max(rest.smile + 0.12 * wave[3], -1.0), 1.0),
            face_px=rest.face_px * (1 + 0.03 * lively * wave[4]),
            centre=(rest.centre[0] + reach * wave[5], rest.centre[1] + 0.6 * reach * wave[6]),
        )

    def lids(self, at_s: float) -> float:
        """How far the lids are open, 0..1."""
        since = at_s % BLINK_EVERY_S - float(self._blinks[int(at_s / BLINK_EVERY_S) % 64])
        if since < 0:
            return 1.0
        if since < _CLOSING_S:
            return 1 - since / _CLOSING_S
        if since < _CLOSING_S + _SHUT_S:
            return 0.0
        return min((since - _CLOSING_S - _SHUT_S) / _OPENING_S, 1.0)
