"""Short names for the inputs of the lifecycle, as the tables of these tests use them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pipeline.domain.intents import (
    Cancellation,
    Confirmation,
    HintNoted,
    Intent,
    Judgement,
    Opening,
    RefundAsked,
    State,
    Superseded,
)
from schemas.events import PaymentTerms
from schemas.ids import derived_id

OPENED_US = 1_000_000
DEADLINE_US = 2_000_000
IN_TIME_US = DEADLINE_US - 1
ALICE, BOB = derived_id("payer", "alice"), derived_id("payer", "bob")
VERDICT_ID = derived_id("intent", "verdict")

TERMS = PaymentTerms(
    intent_id=derived_id("intent"),
    terminal_id="till-1",
    merchant_id="shop",
    payee_id="shop-payee",
    amount_minor=1_000,
    currency="CNY",
    opened_at_us=OPENED_US,
    expires_at_us=DEADLINE_US,
    key_epoch=1,
)


def opening(*, lane_seq: int = 7, newest: int = 0, taken: bool = False, terms: PaymentTerms = TERMS) -> Opening:
    return Opening(terms, lane_seq, "order-1", "trace", "sha-command", newest, taken)


def judged(
    decision: Literal["approve", "step_up", "decline"],
    payer: str = ALICE,
    *,
    reasons: tuple[str, ...] = (),
    methods: tuple[str, ...] | None = None,
    terms: PaymentTerms = TERMS,
) -> Judgement:
    asked = methods if methods is not None else (("pin",) if decision == "step_up" else ())
    return Judgement(VERDICT_ID, payer, decision, asked, reasons, terms, "sha-verdict", "sha-recognition", OPENED_US)


def confirmed(payer: str = ALICE, *, mac_ok: bool = True, verdict_id: str = VERDICT_ID) -> Confirmation:
    return Confirmation(verdict_id, payer, "pin", "sha-confirmation", mac_ok)


APPROVE, STEP_UP, DECLINE = judged("approve"), judged("step_up"), judged("decline", reasons=("velocity",))
CANCEL, SUPERSEDE, HINT = Cancellation("gave_up"), Superseded(), HintNoted("come_closer")


def refund(amount_minor: int, currency: str = "CNY", key: str = "r1") -> RefundAsked:
    return RefundAsked(derived_id("refund", key), amount_minor, currency)


def other_terms(**changed: object) -> PaymentTerms:
    return replace(TERMS, **changed)  # type: ignore[arg-type]


OPEN = Intent(
    terms=TERMS, lane_seq=7, merchant_order_id="order-1", trace="trace", command_sha256="sha-command", state=State.OPEN
)
AWAITING = replace(OPEN, state=State.AWAITING_CONFIRMATION, bound=STEP_UP)
AUTHORISING = replace(OPEN, state=State.AUTHORISING, bound=APPROVE, method="face")
SETTLED = replace(AUTHORISING, state=State.SETTLED, decided_at_us=IN_TIME_US)
DECLINED = replace(OPEN, state=State.DECLINED, reasons=("velocity",), decided_at_us=IN_TIME_US)
EXPIRED = replace(OPEN, state=State.EXPIRED, reasons=("deadline_passed",), decided_at_us=DEADLINE_US)
CANCELLED = replace(OPEN, state=State.CANCELLED, reasons=("gave_up",), decided_at_us=IN_TIME_US)
STATES = {i.state: i for i in (OPEN, AWAITING, AUTHORISING, SETTLED, DECLINED, EXPIRED, CANCELLED)}
