"""I1: every intent has exactly one final outcome, in time, and none was settled after its deadline.

An outcome follows within 2 s of the deadline. After an outage it follows within 30 s of the recovery instead: nobody
can decide while settlement is down, and an expiry that comes late harms nobody, while a charge that comes late does.
Before its deadline an intent may be open. Where outages are not known (`History.outages_us` is None) the audit
cannot tell a slow timer from an outage, and allows every outcome the longer bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.audit.findings import Finding, Violation
from pipeline.audit.history import FINAL_OUTCOMES, History, Record
from schemas.events import OpenIntent, Settlement

DEADLINE_BOUND_US = 2_000_000
RECOVERY_BOUND_US = 30_000_000
EMISSION_BOUND_US = 3_000_000
"""From the decision to its record on the topic, where nothing was down: the bound that "missing" adds to "late"."""


def openings(history: History) -> Mapping[str, Record[OpenIntent]]:
    """The first command that opened each intent, those out of scope left out. A repeated command (two replicas of the
    gateway, a retry) opens nothing again."""
    found: dict[str, Record[OpenIntent]] = {}
    for record in history.commands:
        event = record.event
        if not isinstance(event, OpenIntent) or not history.in_scope(event.terms.opened_at_us):
            continue
        found.setdefault(event.intent_id, Record(**{name: getattr(record, name) for name in _FIELDS}, event=event))
    return found


_FIELDS = ("topic", "partition", "offset", "timestamp_us", "sha256", "emission")


def finals(history: History) -> Mapping[str, list[Record[Settlement]]]:
    """The final outcomes of each intent, in the order read."""
    found: dict[str, list[Record[Settlement]]] = {}
    for record in history.settlements:
        if record.event.outcome in FINAL_OUTCOMES and history.in_scope(record.event.opened_at_us):
            found.setdefault(record.event.intent_id, []).append(record)
    return found


def one_outcome_in_time(history: History) -> Finding:
    """I1 over a history."""
    opened, ended = openings(history), finals(history)
    return Finding.of(len(opened), _violations(history, opened, ended))


def _violations(
    history: History,
    opened: Mapping[str, Record[OpenIntent]],
    ended: Mapping[str, Sequence[Record[Settlement]]],
) -> Iterator[Violation]:
    for intent_id, opening in opened.items():
        outcomes = ended.get(intent_id, ())
        deadline_us = opening.event.terms.expires_at_us
        if not outcomes:
            bound_us = _bound(history, deadline_us) + EMISSION_BOUND_US
            if history.read_at_us > bound_us:
                late_s = (history.read_at_us - deadline_us) / 1e6
                yield Violation("no_outcome", intent_id, f"{late_s:.1f} s after its deadline it has no outcome")
    for intent_id, outcomes in ended.items():
        if len(outcomes) > 1:
            where = ", ".join(f"{o.event.outcome} at {o.position}" for o in outcomes)
            yield Violation("several_outcomes", intent_id, f"it has {len(outcomes)} final outcomes: {where}")
        if intent_id not in opened:
            yield Violation("never_opened", intent_id, f"{outcomes[0].position} ends an intent that no command opened")
        for outcome in outcomes:
            yield from _in_time(history, outcome)


def _in_time(history: History, outcome: Record[Settlement]) -> Iterator[Violation]:
    event = outcome.event
    late_us = event.decided_at_us - event.expires_at_us
    if event.outcome == "settled" and late_us >= 0:
        detail = f"{outcome.position} was settled {late_us / 1e6:.3f} s after its deadline"
        yield Violation("settled_after_deadline", event.intent_id, detail)
    elif event.decided_at_us > _bound(history, event.expires_at_us):
        detail = f"{outcome.position} ({event.outcome}) was decided {late_us / 1e6:.1f} s after its deadline"
        yield Violation("late_outcome", event.intent_id, detail)


def _bound(history: History, deadline_us: int) -> int:
    """The latest time at which the outcome of an intent with this deadline may be decided."""
    if history.outages_us is None:
        return deadline_us + RECOVERY_BOUND_US
    bound_us = deadline_us + DEADLINE_BOUND_US
    for down_us, up_us in sorted(history.outages_us):
        if down_us <= bound_us and up_us + RECOVERY_BOUND_US > deadline_us:
            bound_us = max(bound_us, up_us + RECOVERY_BOUND_US)
    return bound_us
