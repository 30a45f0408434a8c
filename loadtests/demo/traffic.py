"""Terminals at work: each serves one visit after the other until the time is up, then finishes what it has begun."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from loadtests.cameras import Camera, FrameSender
from loadtests.demo.world import CURRENCY, World
from loadtests.gateway_client import GatewayClient, LeaseClient
from loadtests.people.visits import Crowd
from loadtests.terminal import TerminalClient, VisitRecord
from pipeline.ports import Clock

CLOSING_SHARE = 0.08
CLOSING_S = 3.0
"""No visit begins in the last seconds: at most so long before the end, and at most that share of the whole time."""

APART_S = 0.1
"""The first person of each terminal comes so much after that of the one before: shops do not open in one instant."""


@dataclass(slots=True)
class Journal:
    """Every visit of the demo, as it goes; written on the event loop, read by whoever shows it."""

    visits: list[VisitRecord] = field(default_factory=list)
    current: dict[str, VisitRecord] = field(default_factory=dict)
    repeated_requests: int = 0

    def note(self, record: VisitRecord) -> None:
        """A visit has begun or changed."""
        if self.current.get(record.terminal_id) is not record:
            self.current[record.terminal_id] = record
            self.visits.append(record)


async def run(
    world: World,
    crowd: Crowd,
    sender: FrameSender,
    journal: Journal,
    clock: Clock,
    *,
    seconds: float,
    rate_fps: float,
    check: Callable[[], None],
) -> None:
    """Serves visits at every terminal for `seconds`, and returns when the last one has ended. `check` is called
    several times a second and may raise to stop everything."""
    closing_at = time.monotonic() + seconds - min(CLOSING_S, CLOSING_SHARE * seconds)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=4 * len(world.credentials))
    async with httpx.AsyncClient(timeout=httpx.Timeout(10.0), limits=limits) as http:
        clients = []
        for terminal_id, credentials in world.credentials.items():
            gateway = GatewayClient(http, world.gateway, credentials)
            seen_with = world.cameras[terminal_id]
            leases = LeaseClient(http, world.gateway, seen_with)
            camera = Camera(sender, leases, seen_with, clock, rate_fps=rate_fps)
            terminal = TerminalClient(terminal_id, CURRENCY, gateway, camera, clock, on_change=journal.note)
            clients.append((terminal, gateway))
        watching = asyncio.create_task(_watch(check))
        serving = [
            asyncio.create_task(_serve(terminal, crowd, closing_at, number * APART_S))
            for number, (terminal, _) in enumerate(clients)
        ]
        everyone = asyncio.create_task(_all(serving))
        try:
            # `watching` ends by raising only: then nobody needs to finish.
            await asyncio.wait([watching, everyone], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            await everyone
        finally:
            for task in (watching, everyone, *serving):
                task.cancel()
            await asyncio.gather(watching, everyone, *serving, return_exceptions=True)
        journal.repeated_requests = sum(gateway.repeated for _, gateway in clients)


async def _serve(terminal: TerminalClient, crowd: Crowd, closing_at: float, after_s: float) -> None:
    await asyncio.sleep(after_s)
    while time.monotonic() < closing_at:
        visit = crowd.next()
        try:
            await terminal.serve(visit)
        finally:
            crowd.leave(visit)
        await asyncio.sleep(visit.pause_ms / 1000)


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


async def _watch(check: Callable[[], None]) -> None:
    while True:
        check()
        await asyncio.sleep(0.1)
