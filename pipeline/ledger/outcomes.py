"""The events that settlement owes to everyone: outcomes and refunds, with receipt and the hashes of their evidence.

Everything in them derives from the intent and the moment of the decision, so deciding nothing twice, they are the
same bytes whenever they are built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, cast

from pipeline.domain.intents import Intent, RefundDecision, State
from schemas.events import Evidence, Refund, Settlement
from schemas.ids import derived_id

ReceiptSigner = Callable[[Mapping[str, str | int | None]], str]


@lru_cache(maxsize=4096)
def settlement_id(intent_id: str) -> str:
    """The id of the transfer that settles an intent."""
    return derived_id(intent_id, "settlement")


def refund_transfer_id(intent_id: str, refund_id: str) -> str:
    """The id of the transfer that refunds, and of its event."""
    return derived_id(intent_id, "refund", refund_id)


def final_outcome(intent: Intent, sign: ReceiptSigner) -> Settlement:
    """The one final outcome; a receipt goes with money only."""
    terms, bound = intent.terms, intent.bound
    settled = intent.state is State.SETTLED
    paid = settlement_id(terms.intent_id) if settled else None
    decided_at_us = intent.decided_at_us or 0
    receipt = None
    if settled and bound is not None:
        receipt = sign(
            {
                "kind": "settled",
                "intent_id": terms.intent_id,
                "settlement_id": paid,
                "terminal_id": terms.terminal_id,
                "merchant_id": terms.merchant_id,
                "payee_id": terms.payee_id,
                "merchant_order_id": intent.merchant_order_id,
                "payer_id": bound.payer_id,
                "amount_minor": terms.amount_minor,
                "currency": terms.currency,
                "method": intent.method,
                "decided_at_us": decided_at_us,
            }
        )
    return Settlement(
        event_id=derived_id(terms.intent_id, "outcome"),
        terminal_id=terms.terminal_id,
        intent_id=terms.intent_id,
        trace=intent.trace,
        outcome=cast("Literal['settled', 'declined', 'expired', 'cancelled']", intent.state.value),
        reasons=intent.reasons,
        merchant_id=terms.merchant_id,
        payee_id=terms.payee_id,
        merchant_order_id=intent.merchant_order_id,
        amount_minor=terms.amount_minor,
        currency=terms.currency,
        payer_id=bound.payer_id if bound is not None else None,
        method=intent.method if settled else None,
        settlement_id=paid,
        opened_at_us=terms.opened_at_us,
        expires_at_us=terms.expires_at_us,
        captured_at_us=bound.captured_at_us if bound is not None else None,
        decided_at_us=decided_at_us,
        evidence=Evidence(
            command_sha256=intent.command_sha256,
            verdict_sha256=bound.verdict_sha256 if bound is not None else None,
            recognition_sha256=bound.recognition_sha256 if bound is not None else None,
            confirmation_sha256=intent.confirmation_sha256,
        ),
        receipt=receipt,
    )


def refund_answer(
    intent: Intent, asked: Refund, decision: RefundDecision, command_sha256: str, now_us: int, sign: ReceiptSigner
) -> Settlement:
    """`refunded` with a receipt, or `refund_refused` with its reason; the evidence is the refund's own command."""
    terms, bound = intent.terms, intent.bound
    payer_id = bound.payer_id if bound is not None else None
    receipt = None
    if decision.refused is None:
        receipt = sign(
            {
                "kind": "refunded",
                "intent_id": terms.intent_id,
                "refund_id": asked.refund_id,
                "terminal_id": terms.terminal_id,
                "merchant_id": terms.merchant_id,
                "payee_id": terms.payee_id,
                "merchant_order_id": intent.merchant_order_id,
                "payer_id": payer_id,
                "amount_minor": asked.amount_minor,
                "currency": asked.currency,
                "refunded_minor": intent.refunded_minor,
                "decided_at_us": now_us,
            }
        )
    return Settlement(
        event_id=refund_transfer_id(terms.intent_id, asked.refund_id),
        terminal_id=terms.terminal_id,
        intent_id=terms.intent_id,
        trace=intent.trace,
        outcome="refunded" if decision.refused is None else "refund_refused",
        reasons=() if decision.refused is None else (decision.refused,),
        merchant_id=terms.merchant_id,
        payee_id=terms.payee_id,
        merchant_order_id=intent.merchant_order_id,
        amount_minor=asked.amount_minor,
        currency=asked.currency,
        payer_id=payer_id,
        method=intent.method if intent.state is State.SETTLED else None,
        refund_id=asked.refund_id,
        opened_at_us=terms.opened_at_us,
        expires_at_us=terms.expires_at_us,
        captured_at_us=bound.captured_at_us if bound is not None else None,
        decided_at_us=now_us,
        evidence=Evidence(command_sha256=command_sha256),
        receipt=receipt,
    )
