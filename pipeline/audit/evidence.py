"""I4: no settlement without the evidence that its method needs.

Evidence is named by the SHA-256 of the bytes as consumed, so it can be neither exchanged nor altered afterwards. A
settlement by face rests on a command, a recognition and an approving verdict; one by face and PIN on a verdict that
asked for the PIN and on the payer's confirmation besides. All of them are about one payer, amount, currency and payee.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.audit.findings import Finding, Violation
from pipeline.audit.history import History, Record
from schemas.events import Command, Confirm, OpenIntent, PaymentTerms, Recognition, Refund, Settlement, Verdict


@dataclass(frozen=True, slots=True)
class _Known:
    """What can be evidence, by hash."""

    commands: Mapping[str, Command]
    verdicts: Mapping[str, Verdict]
    recognitions: Mapping[str, Recognition]


def settled_on_evidence(history: History) -> Finding:
    """I4 over a history: settlements by face, and refunds by the command that asked for them."""
    known = _Known(
        {record.sha256: record.event for record in history.commands},
        {record.sha256: record.event for record in history.verdicts},
        {record.sha256: record.event for record in history.recognitions},
    )
    judged = [
        record
        for record in history.settlements
        if record.event.outcome in {"settled", "refunded"} and history.in_scope(record.event.opened_at_us)
    ]
    violations = [v for record in judged for v in _judge(record, known)]
    return Finding.of(len(judged), (*violations, *_ledger_keeps_it(history, judged)))


def _judge(record: Record[Settlement], known: _Known) -> Iterator[Violation]:
    event = record.event
    for kind, detail in _refund(event, known) if event.outcome == "refunded" else _settlement(event, known):
        yield Violation(kind, event.intent_id, f"{record.position}: {detail}")


def _refund(event: Settlement, known: _Known) -> Iterator[tuple[str, str]]:
    command = known.commands.get(event.evidence.command_sha256 or "")
    if not isinstance(command, Refund):
        yield "no_command", "no refund command has the hash it names"
    elif (command.intent_id, command.refund_id, command.amount_minor, command.currency) != (
        event.intent_id,
        event.refund_id,
        event.amount_minor,
        event.currency,
    ):
        yield "other_command", "the refund command it names asks for something else"


def _settlement(event: Settlement, known: _Known) -> Iterator[tuple[str, str]]:
    command = known.commands.get(event.evidence.command_sha256 or "")
    verdict = known.verdicts.get(event.evidence.verdict_sha256 or "")
    recognition = known.recognitions.get(event.evidence.recognition_sha256 or "")
    if not isinstance(command, OpenIntent):
        yield "no_command", "no command that opens an intent has the hash it names"
    elif _agreement(command.terms) != _settled_agreement(event):
        yield "other_command", "the command it names is about another intent, amount, currency or payee"
    if recognition is None:
        yield "no_recognition", "no recognition has the hash it names"
    else:
        yield from _about_the_same("recognition", event, recognition.terms, recognition.payer_id)
    if verdict is None:
        yield "no_verdict", "no verdict has the hash it names"
        return
    yield from _about_the_same("verdict", event, verdict.terms, verdict.payer_id)
    if verdict.recognition_sha256 != event.evidence.recognition_sha256:
        yield "other_recognition", "its verdict judged another recognition"
    yield from _method(event, verdict, known)


def _method(event: Settlement, verdict: Verdict, known: _Known) -> Iterator[tuple[str, str]]:
    """The method is what the verdict allowed, and a confirmation stands behind a PIN."""
    confirmation = known.commands.get(event.evidence.confirmation_sha256 or "")
    if event.method == "face":
        if verdict.decision != "approve":
            yield "not_allowed", f"it was settled by face alone on the verdict {verdict.decision}"
        return
    if event.method != "face_pin":
        yield "not_allowed", "it names no method"
        return
    if verdict.decision == "decline":
        yield "not_allowed", "it was settled on a verdict that declined"
    if not isinstance(confirmation, Confirm):
        yield "no_confirmation", "no confirmation has the hash it names"
    elif (confirmation.intent_id, confirmation.verdict_id, confirmation.payer_id) != (
        event.intent_id,
        verdict.event_id,
        event.payer_id,
    ):
        yield "other_confirmation", "the confirmation is about another intent, verdict or payer"


def _about_the_same(what: str, event: Settlement, terms: PaymentTerms, payer_id: str) -> Iterator[tuple[str, str]]:
    if payer_id != event.payer_id:
        yield f"other_payer_in_{what}", f"the {what} is about another payer than the settlement"
    if _agreement(terms) != _settled_agreement(event):
        yield f"other_terms_in_{what}", f"the {what} is about another intent, amount, currency or payee"


def _agreement(terms: PaymentTerms) -> tuple[str, int, str, str]:
    return terms.intent_id, terms.amount_minor, terms.currency, terms.payee_id


def _settled_agreement(event: Settlement) -> tuple[str, int, str, str]:
    return event.intent_id, event.amount_minor, event.currency, event.payee_id


def _ledger_keeps_it(history: History, judged: Sequence[Record[Settlement]]) -> Iterator[Violation]:
    """The hashes that went out are those that the ledger keeps."""
    if history.ledger is None:
        return
    kept = {intent.intent_id: intent for intent in history.ledger.intents}
    for record in judged:
        event, row = record.event, kept.get(record.event.intent_id)
        if event.outcome != "settled" or row is None:
            continue
        told = (
            event.payer_id,
            event.evidence.command_sha256,
            event.evidence.verdict_sha256,
            event.evidence.recognition_sha256,
            event.evidence.confirmation_sha256,
        )
        held = (
            row.payer_id,
            row.command_sha256,
            row.verdict_sha256,
            row.recognition_sha256,
            row.confirmation_sha256,
        )
        if told != held:
            detail = f"{record.position} names other evidence or another payer than the ledger keeps"
            yield Violation("ledger_differs", event.intent_id, detail)
