"""Events of one intent, for the tests of the gateway."""

from __future__ import annotations

from typing import Any

from schemas.events import (
    Cancel,
    Confirm,
    Evidence,
    Hint,
    NoteHint,
    OpenIntent,
    PaymentTerms,
    Refund,
    Settlement,
    Verdict,
)
from schemas.ids import derived_id

NOW_US = 1_764_000_000_000_000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PAYER = derived_id("payer", "someone")


class Story:
    """The events of one intent of `terminal`."""

    def __init__(self, name: str = "first", terminal: str = "till-1", now_us: int = NOW_US) -> None:
        self.intent_id = derived_id(terminal, "intent", name)
        self.now_us = now_us
        self._base: dict[str, Any] = {"terminal_id": terminal, "intent_id": self.intent_id, "trace": TRACE}
        self.terms = PaymentTerms(
            intent_id=self.intent_id,
            terminal_id=terminal,
            merchant_id="noodle-house",
            payee_id="noodle-house-main",
            amount_minor=2_350,
            currency="CNY",
            opened_at_us=now_us,
            expires_at_us=now_us + 20_000_000,
            key_epoch=1,
        )

    def opening(self, lane_seq: int = 1, claim: str | None = None) -> OpenIntent:
        return OpenIntent(
            **self._base,
            event_id=derived_id(self.intent_id, "open"),
            lane_seq=lane_seq,
            merchant_order_id="order-1",
            terms=self.terms,
            claim=claim,
        )

    def hint(self, number: int = 0, code: str = "come_closer", final: bool = False) -> Hint:
        return Hint(
            **self._base,
            event_id=derived_id(self.intent_id, "hint", str(number)),
            code=code,  # type: ignore[arg-type]  # a code of the list
            final=final,
            hinted_at_us=self.now_us + number,
        )

    def verdict(self, decision: str = "approve") -> Verdict:
        return Verdict(
            **self._base,
            event_id=derived_id(self.intent_id, "verdict"),
            terms=self.terms,
            payer_id=PAYER,
            decision=decision,  # type: ignore[arg-type]  # one of the three
            methods=("pin",) if decision == "step_up" else (),
            reasons=("thin_margin",) if decision == "step_up" else (),
            score=0.5,
            policy_version="rules-1.test",
            features_sha256="ab" * 32,
            recognition_sha256="cd" * 32,
            captured_at_us=self.now_us,
            decided_at_us=self.now_us,
        )

    def confirm(self) -> Confirm:
        verdict_id = self.verdict().event_id
        return Confirm(
            **self._base,
            event_id=derived_id(self.intent_id, "confirm", verdict_id),
            verdict_id=verdict_id,
            payer_id=PAYER,
            method="pin",
            mac="ef" * 32,
            confirmed_at_us=self.now_us,
        )

    def cancel(self) -> Cancel:
        event_id = derived_id(self.intent_id, "cancel")
        return Cancel(**self._base, event_id=event_id, reason="customer_left", cancelled_at_us=self.now_us)

    def refund(self, name: str = "one") -> Refund:
        refund_id = derived_id(self.intent_id, "refund_id", name)
        return Refund(
            **self._base,
            event_id=derived_id(self.intent_id, "refund_command", refund_id),
            refund_id=refund_id,
            amount_minor=100,
            currency="CNY",
            requested_at_us=self.now_us,
        )

    def note(self, code: str = "come_closer") -> NoteHint:
        return NoteHint(**self._base, event_id=derived_id(self.intent_id, "note_hint", code), code=code)

    def settlement(self, outcome: str = "settled", name: str = "outcome") -> Settlement:
        return Settlement(
            **self._base,
            event_id=derived_id(self.intent_id, name),
            outcome=outcome,  # type: ignore[arg-type]  # one of the list
            reasons=(),
            merchant_id=self.terms.merchant_id,
            payee_id=self.terms.payee_id,
            merchant_order_id="order-1",
            amount_minor=self.terms.amount_minor,
            currency=self.terms.currency,
            payer_id=PAYER,
            opened_at_us=self.terms.opened_at_us,
            expires_at_us=self.terms.expires_at_us,
            decided_at_us=self.now_us,
            evidence=Evidence(),
        )
