"""An intent as a row of the database and back."""

from __future__ import annotations

from typing import Any, Literal, cast

from sqlalchemy import Row

from pipeline.domain.intents import Confirmation, Intent, Judgement, Method, State
from pipeline.ledger.tables import intents
from schemas.events import PaymentTerms

INTENT_COLUMNS = tuple(intents.c)

CHANGING = (
    "state", "last_hint", "verdict_id", "payer_id", "decision", "methods", "verdict_sha256", "recognition_sha256",
    "captured_at_us", "held_verdict_id", "held_payer_id", "held_method", "held_sha256", "method",
    "confirmation_sha256", "reasons", "decided_at_us", "refunded_minor",
)  # fmt: skip
"""Columns that can differ after an intent was opened."""


def changing_values(intent: Intent) -> dict[str, object]:
    """The values of `CHANGING`."""
    bound, held = intent.bound, intent.held
    values: dict[str, object] = {
        "state": intent.state.value,
        "last_hint": intent.last_hint,
        "method": intent.method,
        "confirmation_sha256": intent.confirmation_sha256,
        "reasons": ",".join(intent.reasons),
        "decided_at_us": intent.decided_at_us,
        "refunded_minor": intent.refunded_minor,
    }
    if bound is None:
        values |= dict.fromkeys(CHANGING[2:9])
    else:
        values |= {
            "verdict_id": bound.verdict_id,
            "payer_id": bound.payer_id,
            "decision": bound.decision,
            "methods": ",".join(bound.methods),
            "verdict_sha256": bound.verdict_sha256,
            "recognition_sha256": bound.recognition_sha256,
            "captured_at_us": bound.captured_at_us,
        }
    if held is None:
        values |= dict.fromkeys(CHANGING[9:13])
    else:
        values |= {
            "held_verdict_id": held.verdict_id,
            "held_payer_id": held.payer_id,
            "held_method": held.method,
            "held_sha256": held.confirmation_sha256,
        }
    return values


def all_values(intent: Intent, lane: int) -> dict[str, object]:
    """The whole row of a new intent."""
    terms = intent.terms
    return {
        "intent_id": terms.intent_id,
        "lane": lane,
        "lane_seq": intent.lane_seq,
        "terminal_id": terms.terminal_id,
        "merchant_id": terms.merchant_id,
        "payee_id": terms.payee_id,
        "merchant_order_id": intent.merchant_order_id,
        "amount_minor": terms.amount_minor,
        "currency": terms.currency,
        "opened_at_us": terms.opened_at_us,
        "expires_at_us": terms.expires_at_us,
        "key_epoch": terms.key_epoch,
        "trace": intent.trace,
        "command_sha256": intent.command_sha256,
        **changing_values(intent),
    }


def intent_of(row: Row[Any]) -> Intent:
    """The intent in a row of `INTENT_COLUMNS`. A bound verdict had the terms of the command, or the intent is final."""
    terms = PaymentTerms(
        intent_id=row.intent_id,
        terminal_id=row.terminal_id,
        merchant_id=row.merchant_id,
        payee_id=row.payee_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        opened_at_us=row.opened_at_us,
        expires_at_us=row.expires_at_us,
        key_epoch=row.key_epoch,
    )
    bound = held = None
    if row.verdict_id is not None:
        bound = Judgement(
            verdict_id=row.verdict_id,
            payer_id=row.payer_id,
            decision=cast("Literal['approve', 'step_up', 'decline']", row.decision),
            methods=words(row.methods),
            reasons=(),
            terms=terms,
            verdict_sha256=row.verdict_sha256,
            recognition_sha256=row.recognition_sha256,
            captured_at_us=row.captured_at_us,
        )
    if row.held_verdict_id is not None:
        held = Confirmation(row.held_verdict_id, row.held_payer_id, row.held_method, row.held_sha256)
    return Intent(
        terms=terms,
        lane_seq=row.lane_seq,
        merchant_order_id=row.merchant_order_id,
        trace=row.trace,
        command_sha256=row.command_sha256,
        state=State(row.state),
        last_hint=row.last_hint,
        bound=bound,
        held=held,
        method=cast("Method | None", row.method),
        confirmation_sha256=row.confirmation_sha256,
        reasons=words(row.reasons),
        decided_at_us=row.decided_at_us,
        refunded_minor=row.refunded_minor,
    )


def words(joined: str) -> tuple[str, ...]:
    """Codes joined by commas: no code has one."""
    return tuple(joined.split(",")) if joined else ()
