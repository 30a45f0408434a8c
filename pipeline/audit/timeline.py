"""The steps of each payment and how long each stage took, from the times that the events themselves carry. Pure.

A stage ends at an event and begins at the one before it, so the stages of a payment add up to its whole. The person's
own time (walking up, the PIN pad) is a stage of its own and never hidden in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.audit.history import FINAL_OUTCOMES, History
from schemas.events import (
    Cancel,
    Command,
    Confirm,
    Hint,
    NoteHint,
    OpenIntent,
    Recognition,
    Refund,
    Settlement,
    Verdict,
)

_Told = Command | Hint | Recognition | Verdict | Settlement


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to an intent; `what` is a stable word, `detail` names no person."""

    at_us: int
    what: str
    detail: str = ""


@dataclass(slots=True)
class Timeline:
    """What happened to one intent. Times in microseconds UTC, None where it did not happen."""

    intent_id: str
    terminal_id: str
    opened_at_us: int | None = None
    captured_at_us: int | None = None
    recognised_at_us: int | None = None
    judged_at_us: int | None = None
    confirmed_at_us: int | None = None
    decided_at_us: int | None = None
    emitted_at_us: int | None = None
    outcome: str | None = None
    decision: str | None = None
    similarity: float | None = None
    margin: float | None = None
    steps: list[Step] = field(default_factory=list)


STAGES: Mapping[str, str] = MappingProxyType(
    {
        "recognise": "capture of the frame to the recognition (sealing, transport, detection, embedding, search, vote)",
        "judge": "recognition to the verdict (features, rules)",
        "confirm": "verdict to the confirmation: the payer at the PIN pad",
        "settle": "verdict, or confirmation, to the decision in the ledger",
        "emit": "decision to the record on Kafka (its timestamp has milliseconds)",
    }
)


def timelines(history: History) -> Mapping[str, Timeline]:
    """The timeline of each intent, by its id, steps in the order of time."""
    found: dict[str, Timeline] = {}
    events: Iterable[tuple[int, _Told]] = (
        (record.timestamp_us, record.event)
        for records in (
            history.commands, history.hints, history.recognitions, history.verdicts, history.settlements,
        )
        for record in records
    )  # fmt: skip
    for stored_at_us, event in events:
        line = found.setdefault(event.intent_id, Timeline(event.intent_id, event.terminal_id))
        _take(line, event, stored_at_us)
    for line in found.values():
        line.steps.sort(key=lambda step: step.at_us)
    return found


def _take(line: Timeline, event: _Told, stored_at_us: int) -> None:
    match event:
        case OpenIntent():
            line.opened_at_us = line.opened_at_us or event.terms.opened_at_us
            line.steps.append(Step(event.terms.opened_at_us, "opened", f"{event.terms.amount_minor}"))
        case Hint():
            line.steps.append(Step(event.hinted_at_us, "hint", event.code))
        case NoteHint():
            pass
        case Recognition() if line.recognised_at_us is None:
            line.captured_at_us, line.recognised_at_us = event.captured_at_us, event.recognised_at_us
            line.similarity, line.margin = event.similarity, event.margin
            line.steps.append(Step(event.captured_at_us, "captured"))
            detail = f"similarity {event.similarity:.3f}, margin {event.margin:.3f}, {event.frames_used} frame(s) voted"
            line.steps.append(Step(event.recognised_at_us, "recognised", detail))
        case Verdict() if line.judged_at_us is None:
            line.judged_at_us, line.decision = event.decided_at_us, event.decision
            line.steps.append(Step(event.decided_at_us, event.decision, ", ".join(event.reasons)))
        case Confirm() if line.confirmed_at_us is None:
            line.confirmed_at_us = event.confirmed_at_us
            line.steps.append(Step(event.confirmed_at_us, "confirmed", event.method))
        case Cancel():
            line.steps.append(Step(event.cancelled_at_us, "cancel asked", event.reason))
        case Refund():
            line.steps.append(Step(event.requested_at_us, "refund asked", f"{event.amount_minor}"))
        case Settlement():
            if event.outcome in FINAL_OUTCOMES and line.decided_at_us is None:
                line.decided_at_us, line.emitted_at_us = event.decided_at_us, stored_at_us
                line.outcome = event.outcome
            line.steps.append(Step(event.decided_at_us, event.outcome, ", ".join(event.reasons)))
        case _:
            pass


def stages_ms(line: Timeline) -> Mapping[str, float]:
    """How long each stage of a settled payment took, in milliseconds; stages that did not happen are left out."""
    if line.outcome != "settled":
        return {}
    found: dict[str, float] = {}
    asked_at_us = line.confirmed_at_us or line.judged_at_us
    spans: Sequence[tuple[str, int | None, int | None]] = (
        ("recognise", line.captured_at_us, line.recognised_at_us),
        ("judge", line.recognised_at_us, line.judged_at_us),
        ("confirm", line.judged_at_us, line.confirmed_at_us),
        ("settle", asked_at_us, line.decided_at_us),
        ("emit", line.decided_at_us, line.emitted_at_us),
    )
    for name, start_us, end_us in spans:
        if start_us is not None and end_us is not None:
            found[name] = max(0.0, (end_us - start_us) / 1000)
    return found
