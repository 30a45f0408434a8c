"""A terminal at a counter: opens an intent, lets the camera film, does what it is told, and keeps a record of it all.

Where the gallery is too large for a face alone, it is told to ask for the last digits of the payer's telephone, or for
the whole number: it opens the same order again with that claim, and the newer intent takes the place of the older one.

The record (`VisitRecord`) is what the terminal itself saw, with its own clock, and who truly stood there. It is the
ground truth that settlements are compared with afterwards.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from loadtests.cameras import Film, Stand
from loadtests.film import filmed
from loadtests.gateway_client import GatewayClient, GatewayRefusal, HintView, IntentView, Opened, VerdictView
from loadtests.motion import Scene
from loadtests.people.cast import Payer
from loadtests.people.visits import Kind, Visit
from pipeline.errors import OutsideError
from pipeline.ports import Clock
from schemas.events import PaymentTerms, Settlement

POLL_MS = 2_000
OVERDUE_S = 40.0
"""How long after its deadline an intent's outcome is waited for: the bound after a recovery, and some."""
TTL_MS = 12_000
SHORT_TTL_MS = 3_000
MAX_CLAIMS = 2
"""The last four digits, then the whole number."""
CLAIM_HINTS = frozenset({"enter_last_four", "enter_number"})

Claim = Mapping[str, str]
"""What the payer typed, as the gateway takes it."""


@dataclass(slots=True)
class Moment:
    """Something that the terminal noticed."""

    at_us: int
    what: str
    detail: str = ""


@dataclass(slots=True)
class VisitRecord:
    """One visit as it went. Times are the terminal's clock, microseconds UTC."""

    visit: Visit
    terminal_id: str
    asked_at_us: int
    order_id: str = field(default_factory=lambda: f"order-{uuid.uuid4()}")
    opened: Opened | None = None
    opened_at_us: int | None = None
    superseded: list[Opened] = field(default_factory=list)
    film: Film = field(default_factory=Film)
    moments: list[Moment] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    decision: str | None = None
    reasons: tuple[str, ...] = ()
    confirmed: bool = False
    outcome: Settlement | None = None
    outcome_at_us: int | None = None
    refund: Settlement | None = None
    error: str | None = None

    @property
    def intent_id(self) -> str | None:
        """The intent, once the gateway has confirmed it."""
        return self.opened.intent_id if self.opened is not None else None

    @property
    def intent_ids(self) -> tuple[str, ...]:
        """Every intent that the gateway has confirmed, the newest last."""
        newest = () if self.opened is None else (self.opened.intent_id,)
        return (*(opened.intent_id for opened in self.superseded), *newest)

    @property
    def state(self) -> str:
        """Where the visit stands, in a word."""
        if self.outcome is not None:
            return self.outcome.outcome
        if self.error is not None:
            return "failed"
        if self.opened is None:
            return "opening"
        if self.decision == "step_up" and not self.confirmed:
            return "PIN"
        return self.hints[-1].replace("_", " ") if self.hints else "looking"


class Filming(Protocol):
    """What a terminal needs of its camera (`loadtests.cameras.Camera`)."""

    async def film(self, terms: PaymentTerms, stand: Stand, film: Film, done: Callable[[], bool]) -> None:
        """Films until `done` or until the deadline."""
        ...


class TerminalClient:
    """One terminal with one camera; `run` serves one visit after the other."""

    def __init__(
        self,
        terminal_id: str,
        currency: str,
        gateway: GatewayClient,
        camera: Filming,
        clock: Clock,
        *,
        on_change: Callable[[VisitRecord], None] = lambda _: None,
    ) -> None:
        self.terminal_id = terminal_id
        self._currency = currency
        self._gateway = gateway
        self._camera = camera
        self._clock = clock
        self._on_change = on_change

    async def serve(self, visit: Visit) -> VisitRecord:
        """One visit from the first key press to its end; never raises for what an outside does."""
        record = VisitRecord(visit, self.terminal_id, self._clock())
        self._on_change(record)
        try:
            opened = await self._open(record)
            if visit.kind is not Kind.WALKS_AWAY:
                await self._attend(record, opened)
        except OutsideError as error:
            record.error = str(error)
        self._on_change(record)
        return record

    async def _open(self, record: VisitRecord, claim: Claim | None = None) -> Opened:
        """Opens the visit's order, again where a claim is made after the first attempt."""
        short = record.visit.kind in {Kind.WAITS_IN_VAIN, Kind.WALKS_AWAY}
        opened = await self._gateway.open(
            str(uuid.uuid4()),
            order_id=record.order_id,
            amount_minor=record.visit.amount_minor,
            currency=self._currency,
            ttl_ms=SHORT_TTL_MS if short else TTL_MS,
            patience_s=OVERDUE_S,
            claim=claim,
        )
        if record.opened is not None:
            record.superseded.append(record.opened)
        record.opened, record.opened_at_us = opened, record.opened_at_us or self._clock()
        self._note(record, "opened", "" if claim is None else next(iter(claim)).replace("_", " "))
        return opened

    async def _attend(self, record: VisitRecord, opened: Opened) -> None:
        visit = record.visit
        motion = await asyncio.to_thread(filmed, visit.who.seen_with, seed=visit.seed, companion=visit.companion)
        stand = Stand(motion, visit.first_scene)
        asks = MAX_CLAIMS
        while (claim := await self._filmed(record, opened, stand, may_claim=asks > 0)) is not None:
            try:
                opened, asks = await self._open(record, claim), asks - 1
            except GatewayRefusal as refusal:
                self._note(record, "claim refused", refusal.code)
                asks = 0
        asked = visit.refund_minor()
        if record.outcome is not None and record.outcome.outcome == "settled" and asked is not None:
            await self._refund(record, opened, asked)

    async def _filmed(self, record: VisitRecord, opened: Opened, stand: Stand, *, may_claim: bool) -> Claim | None:
        """One intent while the camera films; what the payer claims when they are asked to and still may."""
        looked_enough = asyncio.Event()
        filming = asyncio.create_task(self._camera.film(opened.terms, stand, record.film, looked_enough.is_set))
        try:
            return await self._follow(record, opened, stand, looked_enough, may_claim=may_claim)
        finally:
            looked_enough.set()
            await filming

    async def _follow(
        self, record: VisitRecord, opened: Opened, stand: Stand, looked_enough: asyncio.Event, *, may_claim: bool
    ) -> Claim | None:
        """Waits for news and does what they ask for, until the outcome, a claim or long after the deadline."""
        version, seen = opened.version, IntentView(opened.intent_id, "open", opened.version, None, None, None, ())
        given_up = False
        while self._clock() < opened.terms.expires_at_us + int(OVERDUE_S * 1e6):
            if record.visit.kind is Kind.CHANGES_MIND and not given_up:
                await asyncio.sleep(record.visit.react_ms / 1000)
                given_up = await self._cancel(record, opened, "changed_mind")
            view = await self._gateway.look(
                opened.intent_id, wait_ms=POLL_MS, after_version=version, patience_s=OVERDUE_S
            )
            version = view.version
            if view.outcome is not None:
                record.outcome, record.outcome_at_us = view.outcome, self._clock()
                self._note(record, view.outcome.outcome, ", ".join(view.outcome.reasons))
                return None
            if view.state != "open":
                looked_enough.set()
            if view.hint is not None and view.hint != seen.hint:
                claim = _claim_for(view.hint, record.visit)
                if claim is not None and may_claim and not given_up:
                    await self._hear(record, view.hint)
                    return claim
                given_up = await self._heed(record, opened, view.hint, stand) or given_up
            if view.verdict is not None and seen.verdict is None:
                await self._obey(record, opened, view.state, view.verdict)
            seen = view
        self._note(record, "no outcome")
        return None

    async def _hear(self, record: VisitRecord, hint: HintView) -> None:
        """Notes a hint, and the time that it takes to do what it says."""
        record.hints.append(hint.code)
        self._note(record, "hint", hint.code)
        await asyncio.sleep(record.visit.react_ms / 1000)

    async def _heed(self, record: VisitRecord, opened: Opened, hint: HintView, stand: Stand) -> bool:
        """Does what a hint says; True when the person gave up."""
        await self._hear(record, hint)
        if hint.code == "come_closer":
            stand.scene = Scene.NEAR if stand.scene is Scene.FAR else Scene.CLOSE
        elif hint.code == "one_person_please":
            stand.scene = Scene.NEAR
        if hint.final and record.visit.kind is not Kind.WAITS_IN_VAIN:
            return await self._cancel(record, opened, "another_way_to_pay")
        return False

    async def _obey(self, record: VisitRecord, opened: Opened, state: str, verdict: VerdictView) -> None:
        """Notes a verdict, and takes the payer's PIN where it asks for one."""
        record.decision, record.reasons = verdict.decision, verdict.reasons
        self._note(record, verdict.decision, ", ".join(verdict.reasons))
        if state != "awaiting_confirmation":
            return
        who = record.visit.who
        if not isinstance(who, Payer):
            # Whoever was recognised, it was not this person: they know no PIN.
            await self._cancel(record, opened, "no_pin")
            return
        pins = [who.pin]
        if record.visit.kind is Kind.LARGE_MISTYPED:
            pins.insert(0, f"{(int(who.pin) + 1) % 10_000:04d}")
        for pin in pins:
            await asyncio.sleep(record.visit.pin_ms / 1000)
            try:
                await self._gateway.confirm(opened.intent_id, verdict.verdict_id, pin, patience_s=10)
            except GatewayRefusal as refusal:
                self._note(record, "PIN refused", refusal.code)
                continue
            record.confirmed = True
            self._note(record, "PIN accepted")
            return
        await self._cancel(record, opened, "no_pin")

    async def _cancel(self, record: VisitRecord, opened: Opened, reason: str) -> bool:
        """Gives up, unless the intent has ended in the meantime."""
        try:
            await self._gateway.cancel(opened.intent_id, reason, patience_s=OVERDUE_S)
        except GatewayRefusal as refusal:
            self._note(record, "cancel refused", refusal.code)
        else:
            self._note(record, "cancelling", reason)
        return True

    async def _refund(self, record: VisitRecord, opened: Opened, amount: int) -> None:
        """Asks for money back and waits for the answer."""
        try:
            refund_id = await self._gateway.refund(str(uuid.uuid4()), opened.intent_id, amount, patience_s=OVERDUE_S)
        except GatewayRefusal as refusal:
            self._note(record, "refund refused", refusal.code)
            return
        self._note(record, "refund asked", str(amount))
        version, until_us = 0, self._clock() + int(OVERDUE_S * 1e6)
        while self._clock() < until_us:
            view = await self._gateway.look(
                opened.intent_id, wait_ms=POLL_MS, after_version=version, patience_s=OVERDUE_S
            )
            version = view.version
            answer = next((r for r in view.refunds if r.refund_id == refund_id), None)
            if answer is not None:
                record.refund = answer
                self._note(record, answer.outcome, ", ".join(answer.reasons))
                return

    def _note(self, record: VisitRecord, what: str, detail: str = "") -> None:
        record.moments.append(Moment(self._clock(), what, detail))
        self._on_change(record)


def _claim_for(hint: HintView, visit: Visit) -> Claim | None:
    """What the visitor types when they are asked for digits; None where they are not, or have none to type."""
    if hint.code not in CLAIM_HINTS or not visit.who.phone:
        return None
    return {"last_four": visit.who.phone[-4:]} if hint.code == "enter_last_four" else {"phone": visit.who.phone}
