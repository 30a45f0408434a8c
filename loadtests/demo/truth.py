"""What the system settled against who truly stood there. Pure: visits and a history in, figures out.

- `wrong_payer`: settlements that charged somebody else than the person who stood there and wanted to pay, strangers
  and thefts (a picture held up, a sleeping person used) included;
- `duplicates`: a second record of one outbox row, a second final outcome of an intent, a second answer to a refund;
- `lost`: intents that the gateway confirmed and that have no final outcome, and refunds accepted without an answer.

Latency is what a person at the counter feels: from the capture of the first frame in which they stood alone and close
enough, to the moment the terminal knew of the settlement. The time they took at the PIN pad is not the system's and is
left out. A payment is disturbed if it was under way at any moment of an outage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.demo.statistics import percentile
from loadtests.people.visits import THEFTS
from loadtests.terminal import VisitRecord
from pipeline.audit.history import FINAL_OUTCOMES, History
from schemas.events import Refund


@dataclass(frozen=True, slots=True)
class Disturbance:
    """From when to when an agent was away, in microseconds UTC."""

    agent: str
    from_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The demo's numbers. Latencies in milliseconds, None where nothing was settled."""

    intents: int
    outcomes: Mapping[str, int]
    stepped_up: int
    refunded: int
    wrong_payer: int
    duplicates: int
    lost: int
    strangers: int
    strangers_charged: int
    thefts: int
    thefts_charged: int
    p50_ms: float | None
    p99_ms: float | None
    p99_undisturbed_ms: float | None
    from_open_p50_ms: float | None
    from_open_p99_ms: float | None
    disturbed: int
    settlements_per_s: float
    wrong_intents: tuple[str, ...] = ()
    lost_intents: tuple[str, ...] = ()
    latencies_ms: Mapping[str, float] = field(default_factory=dict)


def measure(
    visits: Sequence[VisitRecord], history: History, disturbances: Sequence[Disturbance], *, seconds: float
) -> Figures:
    """The figures of a demo whose visits were served for `seconds`."""
    by_intent = {visit.intent_id: visit for visit in visits if visit.intent_id is not None}
    opened = {intent_id: visit for visit in visits for intent_id in visit.intent_ids}
    finals = Counter(record.event.intent_id for record in history.settlements if record.event.outcome in FINAL_OUTCOMES)
    outcomes: Counter[str] = Counter(r.event.outcome for r in history.settlements if r.event.outcome in FINAL_OUTCOMES)
    settled = [record.event for record in history.settlements if record.event.outcome == "settled"]
    wrong = [
        event.intent_id
        for event in settled
        if event.intent_id not in opened or opened[event.intent_id].visit.payer_id != event.payer_id
    ]
    lost = [*(intent_id for intent_id in opened if finals[intent_id] == 0), *unanswered_refunds(history)]
    whole = {i: ms for i, visit in by_intent.items() if (ms := latency_ms(visit)) is not None}
    from_open = [ms for visit in by_intent.values() if (ms := latency_ms(visit, from_open=True)) is not None]
    calm = [ms for intent_id, ms in whole.items() if not is_disturbed(by_intent[intent_id], disturbances)]
    unknown = {intent_id: visit.visit.kind for intent_id, visit in opened.items() if visit.visit.payer_id is None}
    thefts = {intent_id for intent_id, kind in unknown.items() if kind in THEFTS}
    strangers = unknown.keys() - thefts
    return Figures(
        intents=len(opened),
        outcomes=outcomes,
        stepped_up=sum(record.event.decision == "step_up" for record in history.verdicts),
        refunded=sum(record.event.outcome == "refunded" for record in history.settlements),
        wrong_payer=len(wrong),
        duplicates=duplicates(history),
        lost=len(lost),
        strangers=len(strangers),
        strangers_charged=sum(event.intent_id in strangers for event in settled),
        thefts=len(thefts),
        thefts_charged=sum(event.intent_id in thefts for event in settled),
        p50_ms=percentile(list(whole.values()), 0.50),
        p99_ms=percentile(list(whole.values()), 0.99),
        p99_undisturbed_ms=percentile(calm, 0.99),
        from_open_p50_ms=percentile(from_open, 0.50),
        from_open_p99_ms=percentile(from_open, 0.99),
        disturbed=len(whole) - len(calm),
        settlements_per_s=round(len(settled) / seconds, 3) if seconds > 0 else 0.0,
        wrong_intents=tuple(sorted(wrong)),
        lost_intents=tuple(sorted(lost)),
        latencies_ms=whole,
    )


def duplicates(history: History) -> int:
    """How many records say what another one has said already."""
    rows: Counter[tuple[str, int, int]] = Counter()
    answers: Counter[tuple[str, str]] = Counter()
    for record in history.settlements:
        event, emission = record.event, record.emission
        if emission is not None:
            rows[emission.ledger_id, emission.lane, emission.outbox_seq] += 1
        if event.outcome in FINAL_OUTCOMES:
            answers[event.intent_id, "outcome"] += 1
        else:
            answers[event.intent_id, event.refund_id or ""] += 1
    return max(sum(n - 1 for n in rows.values()), sum(n - 1 for n in answers.values()))


def unanswered_refunds(history: History) -> list[str]:
    """Intents of refund commands that got no answer. One that was asked before its intent settled needs none."""
    answered = {record.event.refund_id for record in history.settlements if record.event.refund_id is not None}
    return [
        record.event.intent_id
        for record in history.commands
        if isinstance(record.event, Refund) and record.event.refund_id not in answered
    ]


def latency_ms(visit: VisitRecord, *, from_open: bool = False) -> float | None:
    """How long a settled visit took, without the PIN pad; None for others."""
    start_us = visit.opened_at_us if from_open else visit.film.eligible_us
    end_us, outcome = visit.outcome_at_us, visit.outcome
    if outcome is None or outcome.outcome != "settled" or start_us is None or end_us is None:
        return None
    return max(0.0, (end_us - start_us) / 1000 - at_the_pin_pad_ms(visit))


def at_the_pin_pad_ms(visit: VisitRecord) -> float:
    """From the terminal's asking for the PIN to the gateway's yes, in milliseconds; 0 where none was asked for."""
    asked_us = next((moment.at_us for moment in visit.moments if moment.what == "step_up"), None)
    given_us = next((moment.at_us for moment in visit.moments if moment.what == "PIN accepted"), None)
    return 0.0 if asked_us is None or given_us is None else (given_us - asked_us) / 1000


def is_disturbed(visit: VisitRecord, disturbances: Sequence[Disturbance]) -> bool:
    """Whether the visit was under way at any moment of an outage."""
    start_us, end_us = visit.asked_at_us, visit.outcome_at_us
    return any(start_us <= each.until_us and (end_us is None or end_us >= each.from_us) for each in disturbances)
