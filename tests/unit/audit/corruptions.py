"""Ways to corrupt a true history, a row each: what the audit must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline.audit.history import FINAL_OUTCOMES, History, Ledger, LedgerEntry, Record
from schemas.events import Settlement
from schemas.ids import derived_id
from tests.unit.audit.story import (
    CANCELLED,
    EXPIRED,
    FACE,
    HASH,
    OTHER_PAYER,
    PIN,
    SECOND_US,
)

Change = Callable[[History], History]


def ledger_of(history: History) -> Ledger:
    """The ledger, which these histories have."""
    assert history.ledger is not None
    return history.ledger


def outcome_of(history: History, intent_id: str) -> Record[Settlement]:
    """The final outcome of an intent."""
    return next(r for r in history.settlements if r.event.intent_id == intent_id and r.event.outcome in FINAL_OUTCOMES)


def with_outcome(intent_id: str, **changes: Any) -> Change:
    """The event of the final outcome of an intent, changed."""

    def change(history: History) -> History:
        old = outcome_of(history, intent_id)
        new = replace(old, event=replace(old.event, **changes))
        return replace(history, settlements=tuple(new if r is old else r for r in history.settlements))

    return change


def with_evidence(intent_id: str, **changes: Any) -> Change:
    """The evidence that an outcome names, changed on Kafka and in the ledger alike."""

    def change(history: History) -> History:
        old = outcome_of(history, intent_id)
        history = with_outcome(intent_id, evidence=replace(old.event.evidence, **changes))(history)
        return with_rows("intents", intent_id, **changes)(history)

    return change


def with_rows(table: str, key: str, **changes: Any) -> Change:
    """Rows of a table of the ledger whose first field or intent is `key`, changed."""

    def change(history: History) -> History:
        rows = tuple(
            replace(row, **changes)
            if key in {getattr(row, "intent_id", None), getattr(row, "transfer_id", None)}
            else row
            for row in getattr(ledger_of(history), table)
        )
        changed: dict[str, Any] = {table: rows}
        return replace(history, ledger=replace(ledger_of(history), **changed))

    return change


def with_ledger(**tables: Callable[[Ledger], Any]) -> Change:
    """Tables of the ledger, recomputed."""

    def change(history: History) -> History:
        ledger = ledger_of(history)
        return replace(history, ledger=replace(ledger, **{name: build(ledger) for name, build in tables.items()}))

    return change


def without(topic: str, intent_id: str) -> Change:
    """All records of an intent removed from a topic."""

    def change(history: History) -> History:
        kept = tuple(record for record in getattr(history, topic) if record.event.intent_id != intent_id)
        changed: dict[str, Any] = {topic: kept}
        return replace(history, **changed)

    return change


def with_events(topic: str, intent_id: str, **changes: Any) -> Change:
    """The events of an intent on a topic, changed, their hashes kept: what a forger would need to do."""

    def change(history: History) -> History:
        records = tuple(
            replace(
                record, event=replace(record.event, **{k: v for k, v in changes.items() if hasattr(record.event, k)})
            )
            if record.event.intent_id == intent_id
            else record
            for record in getattr(history, topic)
        )
        changed: dict[str, Any] = {topic: records}
        return replace(history, **changed)

    return change


def with_terms(topic: str, intent_id: str, **changes: Any) -> Change:
    """The terms inside the events of an intent, changed."""

    def change(history: History) -> History:
        records = tuple(
            replace(record, event=replace(record.event, terms=replace(record.event.terms, **changes)))
            if record.event.intent_id == intent_id and hasattr(record.event, "terms")
            else record
            for record in getattr(history, topic)
        )
        changed: dict[str, Any] = {topic: records}
        return replace(history, **changed)

    return change


def repeated(intent_id: str, **changes: Any) -> Change:
    """The outcome of an intent stands on Kafka a second time."""

    def change(history: History) -> History:
        old = outcome_of(history, intent_id)
        again = replace(old, offset=old.offset + 100, event=replace(old.event, **changes))
        return replace(history, settlements=(*history.settlements, again))

    return change


def with_emission(intent_id: str, **changes: Any) -> Change:
    """The headers of an outcome, changed."""

    def change(history: History) -> History:
        old = outcome_of(history, intent_id)
        assert old.emission is not None
        new = replace(old, emission=replace(old.emission, **changes) if changes else None)
        return replace(history, settlements=tuple(new if r is old else r for r in history.settlements))

    return change


def read_later(seconds: int) -> Change:
    """The audit reads so much later."""
    return lambda history: replace(history, read_at_us=history.read_at_us + seconds * SECOND_US)


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(history: History) -> History:
        for each in changes:
            history = each(history)
        return history

    return change


def late(intent_id: str, seconds: float) -> Change:
    """The outcome is decided so long after the deadline."""

    def change(history: History) -> History:
        deadline_us = outcome_of(history, intent_id).event.expires_at_us
        return with_outcome(intent_id, decided_at_us=deadline_us + int(seconds * SECOND_US))(history)

    return change


def refund_is(**changes: Any) -> Change:
    """The refund's event, changed."""

    def change(history: History) -> History:
        records = tuple(
            replace(r, event=replace(r.event, **changes)) if r.event.outcome == "refunded" else r
            for r in history.settlements
        )
        return replace(history, settlements=records)

    return change


def swapped(history: History) -> History:
    """Two settlements of one lane stand in the other order."""
    records = list(history.settlements)
    lane = [index for index, record in enumerate(records) if record.partition == 0]
    records[lane[0]], records[lane[1]] = records[lane[1]], records[lane[0]]
    return replace(history, settlements=tuple(records))


SETTLED = derived_id(FACE, "settlement")
EXTRA = LedgerEntry("payee:shop-main", "CNY", SETTLED, "credit", 5)

CORRUPTIONS: tuple[tuple[str, str, Change], ...] = (
    ("I1", "no_outcome", both(without("settlements", EXPIRED), read_later(10))),
    ("I1", "no_outcome", read_later(30)),
    ("I1", "several_outcomes", repeated(FACE, outcome="expired")),
    ("I1", "never_opened", without("commands", CANCELLED)),
    ("I1", "settled_after_deadline", late(FACE, 0)),
    ("I1", "settled_after_deadline", late(PIN, 0.5)),
    ("I1", "late_outcome", late(EXPIRED, 2.1)),
    ("I2", "unbalanced_transfer", with_rows("transfers", SETTLED, amount_minor=1499)),
    ("I2", "unbalanced_transfer", with_ledger(entries=lambda ledger: ledger.entries[1:])),
    (
        "I2",
        "mixed_currencies",
        with_ledger(entries=lambda ld: (replace(ld.entries[0], currency="EUR"), *ld.entries[1:])),
    ),
    ("I2", "entry_without_transfer", with_ledger(transfers=lambda ledger: ledger.transfers[1:])),
    ("I2", "account_differs", with_ledger(accounts=lambda ledger: ledger.accounts[1:])),
    ("I2", "account_differs", with_ledger(accounts=lambda ld: tuple(replace(a, balance_minor=0) for a in ld.accounts))),
    ("I2", "settled_above_authorised", with_terms("commands", FACE, amount_minor=100)),
    (
        "I2",
        "refunded_above_settled",
        with_ledger(
            transfers=lambda ld: tuple(replace(t, amount_minor=30_001) if t.refund_id else t for t in ld.transfers)
        ),
    ),
    ("I2", "announced_differs", with_outcome(FACE, amount_minor=1)),
    ("I2", "announced_differs", repeated(FACE)),
    ("I3", "several_effects", with_ledger(transfers=lambda ledger: (*ledger.transfers, ledger.transfers[0]))),
    (
        "I3",
        "several_effects",
        with_ledger(transfers=lambda ld: (*ld.transfers, replace(ld.transfers[0], transfer_id=derived_id("x")))),
    ),
    ("I3", "several_effects", with_ledger(entries=lambda ledger: (*ledger.entries, EXTRA))),
    ("I3", "no_effect", with_ledger(transfers=lambda ledger: ledger.transfers[1:])),
    ("I3", "no_effect", refund_is(refund_id=derived_id("x"))),
    ("I3", "other_effect", with_outcome(FACE, currency="EUR")),
    ("I3", "other_effect", with_outcome(FACE, settlement_id=derived_id("x"))),
    ("I3", "other_effect", refund_is(amount_minor=9_999)),
    ("I3", "announced_twice", repeated(FACE)),
    ("I4", "no_command", with_evidence(FACE, command_sha256=HASH)),
    ("I4", "no_command", without("commands", FACE)),
    ("I4", "other_command", with_terms("commands", FACE, payee_id="thief")),
    ("I4", "other_command", with_events("commands", PIN, amount_minor=1)),
    ("I4", "no_recognition", with_evidence(FACE, recognition_sha256=None)),
    ("I4", "no_recognition", without("recognitions", FACE)),
    ("I4", "other_payer_in_recognition", with_events("recognitions", FACE, payer_id=OTHER_PAYER)),
    ("I4", "other_terms_in_recognition", with_terms("recognitions", FACE, amount_minor=1)),
    ("I4", "no_verdict", with_evidence(FACE, verdict_sha256=HASH)),
    ("I4", "other_payer_in_verdict", with_events("verdicts", FACE, payer_id=OTHER_PAYER)),
    ("I4", "other_terms_in_verdict", with_terms("verdicts", FACE, payee_id="thief")),
    ("I4", "other_recognition", with_events("verdicts", FACE, recognition_sha256=HASH)),
    ("I4", "not_allowed", with_events("verdicts", FACE, decision="step_up")),
    ("I4", "not_allowed", with_events("verdicts", PIN, decision="decline")),
    ("I4", "not_allowed", with_outcome(PIN, method="face")),
    ("I4", "not_allowed", with_outcome(FACE, method=None)),
    ("I4", "no_confirmation", with_evidence(PIN, confirmation_sha256=None)),
    ("I4", "other_confirmation", with_events("commands", PIN, payer_id=OTHER_PAYER)),
    ("I4", "other_confirmation", with_events("commands", PIN, verdict_id=derived_id("x"))),
    ("I4", "ledger_differs", with_rows("intents", FACE, payer_id=OTHER_PAYER)),
    ("I4", "ledger_differs", with_rows("intents", PIN, confirmation_sha256=HASH)),
    ("I5", "outbox_gap", with_ledger(outbox=lambda ledger: tuple(r for r in ledger.outbox if r.seq != 2))),
    (
        "I5",
        "outbox_gap",
        with_ledger(lanes=lambda ld: tuple(replace(x, outbox_seq=x.outbox_seq + 1) for x in ld.lanes)),
    ),
    ("I5", "outbox_ahead", with_ledger(lanes=lambda ld: tuple(replace(x, outbox_seq=1) for x in ld.lanes))),
    ("I5", "unnumbered", with_emission(FACE)),
    ("I5", "other_ledger", with_emission(FACE, ledger_id=derived_id("another"))),
    ("I5", "wrong_lane", with_emission(FACE, lane=1, outbox_seq=9)),
    ("I5", "emitted_twice", repeated(FACE)),
    ("I5", "out_of_order", swapped),
    ("I5", "not_owed", with_emission(FACE, outbox_seq=50)),
    ("I5", "other_bytes", with_ledger(outbox=lambda ld: tuple(replace(r, sha256=HASH) for r in ld.outbox))),
    ("I5", "emission_gap", without("settlements", FACE)),
    ("I5", "not_emitted", both(without("settlements", EXPIRED), read_later(60))),
    (
        "I5",
        "ahead_of_kafka",
        with_ledger(lanes=lambda ld: tuple(replace(x, next_offsets={"verdicts": 99}) for x in ld.lanes)),
    ),
    (
        "I5",
        "not_consumed",
        both(with_ledger(lanes=lambda ld: tuple(replace(x, next_offsets={}) for x in ld.lanes)), read_later(60)),
    ),
)
