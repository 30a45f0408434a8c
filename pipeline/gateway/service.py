"""Everything of the gateway that lives as long as its process: the book, the sender, the readers, the doors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline import metrics
from pipeline.gateway.book import Key
from pipeline.gateway.claims import ClaimDesk
from pipeline.gateway.commands import CommandSender
from pipeline.gateway.edge import Doorkeeper
from pipeline.gateway.feed import Feed
from pipeline.gateway.intents import Intents
from pipeline.gateway.leases import Leases
from pipeline.gateway.pins import PinDesk, Profiles
from pipeline.gateway.waiting import Waiters
from pipeline.keys.devices import DeviceRegistry
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import TerminalRegistry
from pipeline.ports import Clock
from pipeline.settings import Settings

EVICT_S = 10.0
PIN_TIMEOUT_S = 0.5
"""A PIN is typed by a person and is not on the path of a payment's milliseconds: Redis gets this long at least."""


@dataclass(frozen=True, slots=True)
class GatewayDeps:
    """What the gateway is given."""

    settings: Settings
    keyring: Keyring
    registry: TerminalRegistry
    devices: DeviceRegistry
    clock: Clock
    on_listening: Callable[[str, int], None] = field(default=lambda *_: None)
    """Called with the address once it takes connections."""


class Gateway:
    """Everything that lives as long as the process; made on its event loop."""

    def __init__(self, deps: GatewayDeps) -> None:
        settings = deps.settings
        edge = settings.gateway
        timeout_s = edge.command_timeout_ms / 1_000
        self._clock = deps.clock
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self.waiters = Waiters(self._loop)
        self.door = Doorkeeper(
            deps.keyring,
            deps.registry,
            deps.devices,
            deps.clock,
            rate_per_s=edge.rate_per_s,
            waits=edge.waits_per_terminal,
        )
        self.sender = CommandSender(settings.kafka, timeout_s=timeout_s)
        profiles = Profiles()
        self.pins = PinDesk(
            profiles,
            deps.keyring,
            settings.redis.url,
            max(PIN_TIMEOUT_S, settings.redis.timeout_ms / 1_000),
            edge.max_pin_failures,
            edge.pin_lock_s,
        )
        self.feed = Feed(
            settings.kafka,
            profiles,
            self.waiters,
            deps.clock,
            history_us=edge.history_s * 1_000_000,
            on_hint=self._hint_from_thread,
        )
        self.intents = Intents(
            feed=self.feed,
            sender=self.sender,
            waiters=self.waiters,
            pins=self.pins,
            claims=ClaimDesk(
                deps.keyring,
                self.feed,
                deps.clock,
                most=edge.max_unproven_claims,
                window_s=edge.claim_window_s,
            ),
            clock=deps.clock,
            confirmation_key=deps.keyring.secret("confirmation"),
            default_ttl_ms=edge.intent_ttl_ms,
            key_epoch=settings.keys.frame_epoch,
            timeout_s=timeout_s,
        )
        self.leases = Leases(self.door, self.intents, deps.clock, lease_ms=edge.lease_ms)

    @property
    def not_ready_because(self) -> str | None:
        """Why no terminal should be sent here; None when ready."""
        if self.waiters.closed:
            return "ending"
        if not self.feed.caught_up:
            return "reading what happened"
        if not self.sender.reachable:
            return "Kafka cannot be reached"
        return None

    def now_us(self) -> int:
        """The time by the gateway's clock."""
        return self._clock()

    async def start(self) -> None:
        """Starts sending and reading; returns at once. Kafka may still be down, then the readers wait for it."""
        self.sender.start()
        self.feed.start()
        self._tasks = [asyncio.create_task(self._keep_house())]

    async def stop(self) -> None:
        """Lets waits go, finishes what was sent, ends the readers."""
        self.waiters.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.sender.stop)
        await asyncio.to_thread(self.feed.stop)
        await self.pins.close()

    async def _keep_house(self) -> None:
        """Notes hints that came while the book was read, then forgets old intents from time to time."""
        while self.not_ready_because is not None:
            metrics.READY.labels("gateway").set(0)
            await asyncio.sleep(0.1)
        for key in self.feed.look(lambda book: book.unnoted(self._clock())):
            self.intents.note_hint(key)
        while True:
            metrics.READY.labels("gateway").set(self.not_ready_because is None)
            self.feed.look(lambda book: book.evict(self._clock()))
            await asyncio.sleep(EVICT_S)

    def _hint_from_thread(self, key: Key) -> None:
        self._loop.call_soon_threadsafe(self.intents.note_hint, key)
