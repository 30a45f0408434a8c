"""A small world around the ledger: a clock that tests turn, events as their producers would write them, positions."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.keys.confirmations import confirmation_mac
from pipeline.ledger.store import SqlLaneStore
from pipeline.ports import Emit, InMessage
from schemas.codec import decode, encode
from schemas.events import (
    Cancel,
    Confirm,
    Event,
    NoteHint,
    OpenIntent,
    PaymentTerms,
    Refund,
    Settlement,
    Verdict,
)
from schemas.ids import derived_id

KEY = b"k" * 32
START_US = 1_700_000_000_000_000
TTL_US = 20_000_000
LIMIT = 500_000
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
ALICE = str(uuid.uuid5(uuid.NAMESPACE_URL, "alice"))
BOB = str(uuid.uuid5(uuid.NAMESPACE_URL, "bob"))


class TestClock:
    """The database's clock, turned by hand."""

    __test__ = False

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


def bury(message: InMessage, reason: str, detail: str, now_us: int) -> Emit:
    """A dead letter that shows its reason."""
    return Emit("deadletter", message.key or b"", reason.encode(), (("reason", reason.encode()),))


def sign(fields: Mapping[str, str | int | None]) -> str:
    """A receipt that shows what was signed."""
    return ",".join(f"{name}={value}" for name, value in sorted(fields.items()))


def new_id(*parts: object) -> str:
    return derived_id("test", *(str(part) for part in parts))


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def terms_of(name: str, **other: object) -> PaymentTerms:
    values: dict[str, object] = {
        "intent_id": new_id(name),
        "terminal_id": "till-1",
        "merchant_id": "shop",
        "payee_id": "shop-payee",
        "amount_minor": 1_250,
        "currency": "CNY",
        "opened_at_us": START_US,
        "expires_at_us": START_US + TTL_US,
        "key_epoch": 1,
    }
    return PaymentTerms(**{**values, **other})  # type: ignore[arg-type]


def opening(name: str, *, lane_seq: int = 1, order: str | None = None, **terms: object) -> OpenIntent:
    agreed = terms_of(name, **terms)
    return OpenIntent(
        event_id=derived_id(agreed.intent_id, "open"),
        terminal_id=agreed.terminal_id,
        intent_id=agreed.intent_id,
        trace=TRACE,
        lane_seq=lane_seq,
        merchant_order_id=order or f"order-{name}",
        terms=agreed,
    )


def verdict(
    name: str, decision: str = "approve", *, payer: str = ALICE, reasons: tuple[str, ...] = (), **terms: object
) -> Verdict:
    agreed = terms_of(name, **terms)
    return Verdict(
        event_id=derived_id(agreed.intent_id, "verdict"),
        terminal_id=agreed.terminal_id,
        intent_id=agreed.intent_id,
        trace=TRACE,
        terms=agreed,
        payer_id=payer,
        decision=decision,  # type: ignore[arg-type]
        methods=("pin",) if decision == "step_up" else (),
        reasons=reasons,
        score=0.1,
        policy_version="p1",
        features_sha256=sha("features"),
        recognition_sha256=sha(f"recognition {name} {payer}"),
        captured_at_us=START_US,
        decided_at_us=START_US,
    )


def confirmation(
    name: str, *, payer: str = ALICE, key: bytes = KEY, verdict_id: str | None = None, **terms: object
) -> Confirm:
    agreed = terms_of(name, **terms)
    judged = verdict_id or derived_id(agreed.intent_id, "verdict")
    return Confirm(
        event_id=derived_id(agreed.intent_id, "confirm", payer),
        terminal_id=agreed.terminal_id,
        intent_id=agreed.intent_id,
        trace=TRACE,
        verdict_id=judged,
        payer_id=payer,
        method="pin",
        mac=confirmation_mac(
            key,
            intent_id=agreed.intent_id,
            verdict_id=judged,
            payer_id=payer,
            amount_minor=agreed.amount_minor,
            currency=agreed.currency,
            payee_id=agreed.payee_id,
        ),
        confirmed_at_us=START_US,
    )


def cancellation(name: str, reason: str = "gave_up", terminal_id: str = "till-1") -> Cancel:
    intent_id = new_id(name)
    return Cancel(
        event_id=derived_id(intent_id, "cancel"), terminal_id=terminal_id, intent_id=intent_id, trace=TRACE,
        reason=reason, cancelled_at_us=START_US,
    )  # fmt: skip


def hint(name: str, code: str = "come_closer", terminal_id: str = "till-1") -> NoteHint:
    intent_id = new_id(name)
    return NoteHint(
        event_id=derived_id(intent_id, "hint", code), terminal_id=terminal_id, intent_id=intent_id, trace=TRACE,
        code=code,
    )  # fmt: skip


def refund(
    name: str, amount_minor: int, *, key: str = "r1", currency: str = "CNY", terminal_id: str = "till-1"
) -> Refund:
    intent_id = new_id(name)
    return Refund(
        event_id=derived_id(intent_id, "refund-command", key), terminal_id=terminal_id, intent_id=intent_id,
        trace=TRACE, refund_id=derived_id(intent_id, "refund-id", key), amount_minor=amount_minor, currency=currency,
        requested_at_us=START_US,
    )  # fmt: skip


@dataclass
class World:
    """One store, one lane, its topics' next offsets; `feed` writes events to their topics and applies them."""

    path: Path
    clock: TestClock = field(default_factory=TestClock)
    limit: int = LIMIT
    lane: int = 3
    epoch: int = 0
    next_offset: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = self.open()

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def open(self) -> SqlLaneStore:
        store = SqlLaneStore(
            self.url, confirmation_key=KEY, receipt_signer=sign, payer_limit_minor=self.limit, dead=bury,
            clock=self.clock,
        )  # fmt: skip
        self.epoch = store.acquire(self.lane, "test").owner_epoch
        return store

    def message(self, event: Event | bytes, *, topic: str | None = None, key: str | None = None) -> InMessage:
        """The next record of the event's topic."""
        on = topic or ("verdicts" if isinstance(event, Verdict) else "commands")
        offset = self.next_offset.get(on, 0)
        self.next_offset[on] = offset + 1
        value = event if isinstance(event, bytes) else encode(event)
        named = key if key is not None else getattr(event, "terminal_id", "till-1")
        return InMessage(on, self.lane, offset, named.encode(), value)

    def feed(self, *events: Event | bytes) -> list[Settlement]:
        """Applies the events in one batch; the settlements that followed."""
        return self.apply(*(self.message(event) for event in events))

    def apply(self, *messages: InMessage) -> list[Settlement]:
        before = self.store.outbox_seq(self.lane)
        self.store.apply(self.lane, self.epoch, messages)
        return self.settlements(before)

    def tick(self, seconds: float) -> list[Settlement]:
        """Time passes, then timers fire."""
        self.clock.now_us += int(seconds * 1e6)
        return self.apply()

    def settlements(self, after: int = 0) -> list[Settlement]:
        rows = self.store.outbox_after(self.lane, after, 100_000)
        return [decode(row.value, Settlement) for row in rows if row.topic == "settlements"]

    def dead(self) -> list[str]:
        """The reasons of all dead letters so far."""
        rows = self.store.outbox_after(self.lane, 0, 100_000)
        return [row.value.decode() for row in rows if row.topic == "deadletter"]
