"""Leases: an open intent, lent to the cameras of its lane and to nobody else.

A camera asks with its own credentials and waits until an intent opens. What it gets are the intent's terms, under
which it seals, and until when it may film: the intent's end or `lease_ms` from now, whichever comes first. So a camera
that loses the gateway stops by itself, and one whose intent was decided, cancelled or superseded is told at its next
question.

A terminal's token gets no lease. It did before cameras had credentials of their own, and keeping that would leave a
second way to film that no removal of a camera closes.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from pipeline import metrics
from pipeline.gateway.answers import ApiError, no_camera
from pipeline.gateway.edge import Doorkeeper
from pipeline.gateway.intents import Intents
from pipeline.ports import Clock
from schemas.events import OpenIntent


@dataclass(frozen=True, slots=True)
class Granted:
    """An intent's opening, and the last moment at which its cameras may film without asking again."""

    opening: OpenIntent
    until_us: int


def grant(opening: OpenIntent, now_us: int, lease_ms: int) -> Granted:
    """A lease from `now_us` on, never beyond the intent's end."""
    return Granted(opening, min(opening.terms.expires_at_us, now_us + lease_ms * 1_000))


class Leases:
    """What the gateway lends to cameras."""

    def __init__(self, door: Doorkeeper, intents: Intents, clock: Clock, *, lease_ms: int) -> None:
        self._door = door
        self._intents = intents
        self._clock = clock
        self._lease_ms = lease_ms

    async def ask(self, request: Request, wait_ms: int) -> Granted | None:
        """A lease for the camera that asks, waiting for an intent up to `wait_ms`; None when none opened. Raises
        `ApiError` 401 (no such camera), 403 (a terminal, or a camera of another lane), 429 or 503."""
        try:
            granted = await self._ask(request, wait_ms)
        except ApiError as error:
            metrics.LEASES.labels(error.code).inc()
            raise
        metrics.LEASES.labels("none" if granted is None else "granted").inc()
        return granted

    async def _ask(self, request: Request, wait_ms: int) -> Granted | None:
        camera = self._door.admit_camera(request)
        with self._door.waiting(camera):
            opening = await self._intents.lease(camera.terminal_id, wait_ms)
        if not self._door.is_still(camera):
            raise no_camera()
        return None if opening is None else grant(opening, self._clock(), self._lease_ms)
