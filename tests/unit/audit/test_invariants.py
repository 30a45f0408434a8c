"""The audit finds what is broken and nothing else: a row per way to corrupt a true history."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit.history import FINAL_OUTCOMES, History, Input, Ledger, LedgerEntry, OutboxRow, Record
from pipeline.audit.invariants import INVARIANTS, TITLES, as_json, broken, examine
from schemas.events import Settlement
from schemas.ids import derived_id
from tests.unit.audit.story import (
    CANCELLED,
    EXPIRED,
    FACE,
    HASH,
    LEDGER_ID,
    OPEN,
    OTHER_PAYER,
    PAYER,
    PIN,
    SECOND_US,
    clean,
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


def test_a_true_history_breaks_no_promise() -> None:
    """Each invariant looks at something and finds nothing wrong; the payment still open is no violation."""
    findings = examine(clean())
    assert broken(findings) == []
    assert all(finding.checked > 0 for finding in findings.values())
    assert findings["I1"].checked == 6


@pytest.mark.parametrize(("invariant", "kind", "change"), CORRUPTIONS)
def test_each_corruption_is_found(invariant: str, kind: str, change: Change) -> None:
    """The invariant that is broken says so, by its kind."""
    kinds = {violation.kind for violation in examine(change(clean()))[invariant].violations}
    assert kind in kinds


def test_each_kind_of_violation_has_a_corruption(root: Path) -> None:
    """No check goes untested: every kind named in the code stands in a row above."""
    named: set[str] = set()
    for file in (root / "pipeline" / "audit").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            code = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Violation":
                code = node.args[0]
            elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple) and file.stem == "evidence":
                code = node.value.elts[0]
            if isinstance(code, ast.Constant):
                named.add(str(code.value))
            elif isinstance(code, ast.JoinedStr):
                prefix = str(getattr(code.values[0], "value", ""))
                named |= {f"{prefix}recognition", f"{prefix}verdict"}
    assert named == {kind for _, kind, _ in CORRUPTIONS}


def test_violations_name_no_payer() -> None:
    """What an audit prints can be shown to anyone: ids of payments and hashes, never a payer."""
    for _, _, change in CORRUPTIONS:
        for finding in examine(change(clean())).values():
            for violation in finding.violations:
                assert PAYER not in f"{violation.subject} {violation.detail}"


OUTAGES: tuple[tuple[str, float, tuple[tuple[float, float], ...] | None, bool], ...] = (
    ("within the bound", 1.9, (), True),
    ("without an outage", 2.1, (), False),
    ("nobody knows of outages", 29.0, None, True),
    ("nobody knows of outages, too late all the same", 31.0, None, False),
    ("settlement was down at the deadline", 40.0, ((-5, 15),), True),
    ("too long after it came back", 46.0, ((-5, 15),), False),
    ("an outage that had not begun yet", 20.0, ((5, 10),), False),
    ("an outage long before", 10.0, ((-90, -60),), False),
    ("it fell again while catching up", 80.0, ((-5, 15), (20, 60)), True),
)


@pytest.mark.parametrize(("case", "late_s", "outages_s", "fine"), OUTAGES)
def test_an_outage_excuses_a_late_outcome_for_a_while(
    case: str, late_s: float, outages_s: tuple[tuple[float, float], ...] | None, fine: bool
) -> None:
    """Two seconds after the deadline, or thirty after the recovery from an outage that was in the way."""
    history = late(EXPIRED, late_s)(clean())
    deadline_us = outcome_of(history, EXPIRED).event.expires_at_us
    outages_us = None
    if outages_s is not None:
        outages_us = tuple((deadline_us + int(a * SECOND_US), deadline_us + int(b * SECOND_US)) for a, b in outages_s)
    findings = examine(replace(history, outages_us=outages_us))
    assert (broken(findings) == []) is fine, case


def test_young_debts_are_no_violations() -> None:
    """An audit beside a running system: what was decided a moment ago may not be on Kafka yet."""
    history = clean()
    kept = tuple(r for r in history.settlements if r.event.intent_id != CANCELLED)
    assert broken(examine(replace(history, settlements=kept))) == []


def test_since_leaves_older_intents_out() -> None:
    """Without their evidence in reach, older payments are not judged, and the books still are."""
    history = clean()
    since_us = outcome_of(history, EXPIRED).event.opened_at_us
    young = {EXPIRED, CANCELLED, OPEN}
    partial = replace(
        history,
        since_us=since_us,
        commands=tuple(r for r in history.commands if r.event.intent_id in young),
        verdicts=(),
        recognitions=(),
        inputs=tuple(i for i in history.inputs if i.timestamp_us >= since_us),
    )
    findings = examine(partial)
    assert broken(findings) == []
    assert findings["I1"].checked == 3
    assert findings["I2"].checked > 0


def test_pruned_outbox_rows_are_no_gap() -> None:
    """A ledger that dropped old rows still vouches for the newer ones."""
    change = with_ledger(outbox=lambda ledger: tuple(row for row in ledger.outbox if row.seq > 1))
    assert broken(examine(change(clean()))) == []


def test_a_lane_that_was_never_read_owes_nothing() -> None:
    """Rows of other topics (dead letters) are not looked for on `settlements`."""
    dead = OutboxRow(1, 4, "deadletter", HASH, 0)
    change = with_ledger(
        outbox=lambda ledger: (*ledger.outbox, dead),
        lanes=lambda ld: tuple(replace(x, outbox_seq=4) if x.lane == 1 else x for x in ld.lanes),
    )
    assert broken(examine(change(clean()))) == []


def test_without_a_ledger_only_kafka_is_judged() -> None:
    """A history without a ledger is judged by what is on the topics."""
    findings = examine(replace(clean(), ledger=None))
    assert broken(findings) == []
    assert findings["I2"].checked == findings["I3"].checked == findings["I5"].checked == 0


def test_the_answer_as_json() -> None:
    """`ok`, and for each invariant what was checked and what was found."""
    answer = as_json(examine(repeated(FACE)(clean())))
    assert answer["ok"] is False
    invariants: Any = answer["invariants"]
    assert set(invariants) == set(INVARIANTS) == set(TITLES)
    assert invariants["I4"]["violations"] == ()
    assert {"kind", "subject", "detail"} == set(invariants["I3"]["violations"][0])


def test_the_story_is_what_it_says() -> None:
    """The ledger's id and an undecodable input do not disturb: both are counted where they belong."""
    history = clean()
    assert ledger_of(history).ledger_id == LEDGER_ID
    extra = Input("commands", 0, 1000, history.read_at_us)
    assert broken(examine(replace(history, inputs=(*history.inputs, extra)))) == []
