"""The audit finds what is broken and nothing else: every row of `corruptions`, and what is no violation."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit.history import Input, OutboxRow
from pipeline.audit.invariants import INVARIANTS, TITLES, as_json, broken, examine
from tests.unit.audit.corruptions import CORRUPTIONS, Change, late, ledger_of, outcome_of, repeated, with_ledger
from tests.unit.audit.story import CANCELLED, EXPIRED, FACE, HASH, LEDGER_ID, OPEN, PAYER, SECOND_US, clean


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
