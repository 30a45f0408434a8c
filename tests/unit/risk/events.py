"""Recognitions and settlements of payers who do not exist, for the tests of the fraud agent's rules."""

from __future__ import annotations

from typing import Any

from schemas.events import Evidence, PaymentTerms, Recognition, Settlement
from schemas.ids import derived_id

NOON_US = 1_764_000_000_000_000 - 1_764_000_000_000_000 % 86_400_000_000 + 12 * 3_600_000_000
"""Noon UTC of a day in November 2025."""
MINUTE_US = 60_000_000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def an_id(*parts: object) -> str:
    """An id that the same parts give again."""
    return derived_id(*(str(part) for part in parts))


def recognition(name: str = "first", *, at_us: int = NOON_US, terminal: str = "till-1", **changes: Any) -> Recognition:
    """A good recognition of the intent called `name`; `changes` are fields of it or of its terms."""
    intent_id = an_id("intent", name)
    terms = PaymentTerms(
        intent_id=intent_id,
        terminal_id=terminal,
        merchant_id="noodle-house",
        payee_id="noodle-house-main",
        amount_minor=changes.pop("amount_minor", 2_350),
        currency=changes.pop("currency", "CNY"),
        opened_at_us=at_us - 1_000_000,
        expires_at_us=changes.pop("expires_at_us", at_us + 20_000_000),
        key_epoch=1,
    )
    fields: dict[str, Any] = {
        "event_id": derived_id(intent_id, "recognition"),
        "terminal_id": terminal,
        "intent_id": intent_id,
        "trace": TRACE,
        "terms": terms,
        "payer_id": an_id("payer", "someone"),
        "similarity": 0.73,
        "margin": 0.4,
        "threshold": 0.475,
        "frames_used": 2,
        "frames_seen": 3,
        "gallery_size": 1_000,
        "model_sha256": "ab" * 32,
        "liveness": 0.9,
        "liveness_proven": True,
        "eyes_open": True,
        "lookalike": False,
        "captured_at_us": at_us - 60_000,
        "recognised_at_us": at_us,
    }
    return Recognition(**{**fields, **changes})


def settlement(of: Recognition, outcome: str = "settled", **changes: Any) -> Settlement:
    """The outcome of a recognised intent."""
    fields: dict[str, Any] = {
        "event_id": derived_id(of.intent_id, "outcome"),
        "terminal_id": of.terminal_id,
        "intent_id": of.intent_id,
        "trace": of.trace,
        "outcome": outcome,
        "reasons": (),
        "merchant_id": of.terms.merchant_id,
        "payee_id": of.terms.payee_id,
        "merchant_order_id": "order-1",
        "amount_minor": of.terms.amount_minor,
        "currency": of.terms.currency,
        "payer_id": of.payer_id,
        "method": "face",
        "settlement_id": derived_id(of.intent_id, "settlement"),
        "opened_at_us": of.terms.opened_at_us,
        "expires_at_us": of.terms.expires_at_us,
        "captured_at_us": of.captured_at_us,
        "decided_at_us": of.recognised_at_us + 20_000,
        "evidence": Evidence(),
    }
    return Settlement(**{**fields, **changes})
