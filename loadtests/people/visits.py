"""What people do at a terminal: most step up and pay, some are too far away, come in pairs, mistype, change their mind.

A visit is drawn from the shares in `SHARES`; everything random comes from the seed that the caller gives.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from loadtests.motion import Scene
from loadtests.people.appearance import Act, Appearance, Drawn
from loadtests.people.cast import Payer, Stranger
from pipeline.errors import UsageError


class Kind(StrEnum):
    """What is special about a visit."""

    PLAIN = "plain"
    FAR_FIRST = "far first"
    TWO_PEOPLE = "two people"
    STRANGER = "stranger"
    LARGE = "large amount"
    LARGE_MISTYPED = "large amount, PIN mistyped once"
    TOO_LARGE = "amount above every limit"
    REFUND = "refunded afterwards"
    REFUND_TOO_MUCH = "asks back more than was paid"
    CHANGES_MIND = "changes their mind"
    WALKS_AWAY = "walks away, intent left open"
    WAITS_IN_VAIN = "stranger who waits until the end"
    ASLEEP = "sleeping person, used by somebody else"
    PRINT = "print of a payer held up"
    SCREEN = "payer's picture on a screen"
    CUTOUT_MASK = "payer's picture worn as a mask"


SHARES: Mapping[Kind, float] = MappingProxyType(
    {
        Kind.PLAIN: 0.50,
        Kind.FAR_FIRST: 0.08,
        Kind.TWO_PEOPLE: 0.05,
        Kind.STRANGER: 0.06,
        Kind.LARGE: 0.05,
        Kind.LARGE_MISTYPED: 0.02,
        Kind.TOO_LARGE: 0.02,
        Kind.REFUND: 0.05,
        Kind.REFUND_TOO_MUCH: 0.01,
        Kind.CHANGES_MIND: 0.03,
        Kind.WALKS_AWAY: 0.02,
        Kind.WAITS_IN_VAIN: 0.01,
        Kind.ASLEEP: 0.04,
        Kind.PRINT: 0.02,
        Kind.SCREEN: 0.02,
        Kind.CUTOUT_MASK: 0.02,
    }
)

THEFTS: Mapping[Kind, Act] = MappingProxyType(
    {
        Kind.ASLEEP: Act.ASLEEP,
        Kind.PRINT: Act.PRINT,
        Kind.SCREEN: Act.SCREEN,
        Kind.CUTOUT_MASK: Act.CUTOUT_MASK,
    }
)
"""Visits in which somebody presents a payer's face without the payer wanting to pay: drawn people only."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One person's wish to pay, and how they go about it. Times in milliseconds."""

    kind: Kind
    who: Payer | Stranger
    amount_minor: int
    seed: int
    companion: Appearance | None = None
    pin_ms: int = 600
    react_ms: int = 250
    pause_ms: int = 200

    @property
    def payer_id(self) -> str | None:
        """Whose money may be taken: nobody's where a stranger stands."""
        return self.who.payer_id if isinstance(self.who, Payer) else None

    @property
    def first_scene(self) -> Scene:
        """How the visit begins."""
        return {Kind.FAR_FIRST: Scene.FAR, Kind.TWO_PEOPLE: Scene.TWO}.get(self.kind, Scene.NEAR)

    def refund_minor(self) -> int | None:
        """How much is asked back after the payment."""
        if self.kind is Kind.REFUND:
            return max(1, self.amount_minor // 2)
        return self.amount_minor + 1 if self.kind is Kind.REFUND_TOO_MUCH else None


@dataclass(frozen=True, slots=True)
class Limits:
    """Amounts (minor units) above which a PIN is asked for, and above which a payment is declined."""

    step_up_minor: int
    decline_minor: int


class Crowd:
    """Hands out visits: nobody stands before two terminals at once, and those who waited longest come first.

    `next` and `leave` belong to one event loop; `join` may come from any thread.
    """

    def __init__(self, strangers: Sequence[Stranger], *, seed: int, limits: Limits) -> None:
        self._payers: deque[Payer] = deque()
        self._strangers = deque(strangers)
        self._draw = random.Random(seed)
        self._limits = limits

    def join(self, payer: Payer) -> None:
        """Somebody was enrolled while others pay; they come last."""
        self._payers.append(payer)

    def next(self) -> Visit:
        """The next person to step up; give them back with `leave`."""
        if not self._payers:
            raise UsageError("serving a visit: more terminals than people; pass more --people or fewer --terminals")
        kind = self._draw.choices(list(SHARES), list(SHARES.values()))[0]
        if kind in {Kind.STRANGER, Kind.WAITS_IN_VAIN} and not self._strangers:
            kind = Kind.PLAIN
        if kind in THEFTS and not isinstance(self._payers[0].seen_with, Drawn):
            kind = Kind.PLAIN
        who = self._who(kind)
        # Whoever is large enough and alone in the picture is asked to pay; a companion with an account of their own
        # who steps in front of the payer would rightly be charged, and then the ground truth would be wrong.
        companion = self._strangers[0].seen_with if kind is Kind.TWO_PEOPLE and self._strangers else None
        return Visit(
            kind=kind,
            who=who,
            amount_minor=self._amount(kind),
            seed=self._draw.randrange(1 << 30),
            companion=companion,
            pin_ms=self._draw.randrange(350, 900),
            react_ms=self._draw.randrange(120, 320),
            pause_ms=self._draw.randrange(40, 220),
        )

    def leave(self, visit: Visit) -> None:
        """The person is free to come again."""
        if isinstance(visit.who, Payer):
            self._payers.append(visit.who)
        elif visit.kind not in THEFTS:
            self._strangers.append(visit.who)

    def _who(self, kind: Kind) -> Payer | Stranger:
        """Who steps up. A thief is nobody that the system knows, whatever face they show and number they type."""
        if kind in {Kind.STRANGER, Kind.WAITS_IN_VAIN}:
            return self._strangers.popleft()
        if kind not in THEFTS:
            return self._payers.popleft()
        victim = self._payers[0]
        assert isinstance(victim.seen_with, Drawn)  # noqa: S101 - `next` has asked
        return Stranger(f"{victim.label}, {kind.value}", Drawn(victim.seen_with.seed, THEFTS[kind]), victim.phone)

    def _amount(self, kind: Kind) -> int:
        ranges: Mapping[Kind, Callable[[], tuple[int, int]]] = {
            Kind.LARGE: lambda: (self._limits.step_up_minor + 1, self._limits.step_up_minor * 2),
            Kind.LARGE_MISTYPED: lambda: (self._limits.step_up_minor + 1, self._limits.step_up_minor * 2),
            Kind.TOO_LARGE: lambda: (self._limits.decline_minor + 1, self._limits.decline_minor * 2),
        }
        low, high = ranges.get(kind, lambda: (300, 4_900))()
        return self._draw.randrange(low, high)
