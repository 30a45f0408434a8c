"""The intent book: what the gateway knows of each intent, from commands, verdicts, hints and settlements. Pure.

Theory of operation: a record is a set of facts, keyed by event id, and its state is a function of that set. Topics race
each other (a verdict may be read before its command) and events repeat; neither changes where a record ends up. Each
new fact raises the record's version by one, so `version` counts facts and a waiter knows that something happened; a
note of the gateway to settlement tells a terminal nothing and does not count.

A record belongs to one terminal: facts are kept under (terminal, intent), so no terminal ever sees another's. It is
visible once its command or its outcome is known. `evict` forgets what ended, or should have, `history_us` ago.

Settlement decides, the book reports: `authorising` means that settlement has what it needs and no outcome came yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from schemas.events import Cancel, Confirm, Hint, NoteHint, OpenIntent, Refund, Settlement, Verdict

Fact = OpenIntent | Confirm | Cancel | Refund | NoteHint | Verdict | Hint | Settlement
State = Literal[
    "open", "awaiting_confirmation", "authorising", "settled", "declined", "expired", "cancelled"
]  # fmt: skip
FINAL: dict[str, State] = {
    "settled": "settled",
    "declined": "declined",
    "expired": "expired",
    "cancelled": "cancelled",
}
MAX_HINTS = 64
"""Hints kept of one intent; older ones are dropped, the version goes on counting."""

Key = tuple[str, str]
"""Terminal id and intent id."""


@dataclass(slots=True)
class Record:
    """One intent's facts. Changed by the book alone; `numbered` holds (version, fact) in the order they came."""

    touched_us: int
    version: int = 0
    opening: OpenIntent | None = None
    verdict: Verdict | None = None
    confirms: dict[str, Confirm] = field(default_factory=dict)
    cancel: Cancel | None = None
    refunds: dict[str, Refund] = field(default_factory=dict)
    noted: str | None = None
    hint: Hint | None = None
    outcome: Settlement | None = None
    answers: list[Settlement] = field(default_factory=list)
    numbered: list[tuple[int, Fact]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @property
    def visible(self) -> bool:
        """Whether its terminal may see it."""
        return self.opening is not None or self.outcome is not None

    @property
    def confirmed(self) -> bool:
        """Whether the verdict's confirmation was sent."""
        return self.verdict is not None and self.verdict.event_id in self.confirms

    @property
    def state(self) -> State:
        """Where the intent stands, whatever the order its facts came in."""
        if self.outcome is not None:
            return FINAL[self.outcome.outcome]
        if self.verdict is None:
            return "open"
        if self.verdict.decision == "step_up" and not self.confirmed:
            return "awaiting_confirmation"
        return "authorising"

    @property
    def final(self) -> bool:
        """Whether it has its outcome."""
        return self.outcome is not None

    @property
    def unnoted_hint(self) -> Hint | None:
        """The newest hint of a live intent, if settlement was not told its code yet."""
        if self.opening is None or self.final or self.hint is None or self.hint.code == self.noted:
            return None
        return self.hint

    def copy(self) -> Record:
        """The record as it is now, for another thread to read."""
        return replace(
            self,
            confirms=dict(self.confirms),
            refunds=dict(self.refunds),
            answers=list(self.answers),
            numbered=list(self.numbered),
            seen=set(self.seen),
        )

    def has(self, event_id: str) -> bool:
        """Whether that event was read."""
        return event_id in self.seen

    def since(self, version: int) -> list[tuple[int, Fact]]:
        """The facts after that version that are still kept, oldest first."""
        return [(number, fact) for number, fact in self.numbered if number > version]


class IntentBook:
    """Every intent of the last `history_us` and more; not safe for threads."""

    def __init__(self, history_us: int) -> None:
        self._history_us = history_us
        self._records: dict[Key, Record] = {}
        self._newest: dict[str, tuple[int, str]] = {}
        self._claimed: dict[str, list[str]] = {}

    def apply(self, fact: Fact, now_us: int) -> bool:
        """Takes in one event, in any order; False when it was known."""
        key = fact.terminal_id, fact.intent_id
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = Record(touched_us=now_us)
        if fact.event_id in record.seen:
            return False
        record.seen.add(fact.event_id)
        record.touched_us = now_us
        if not isinstance(fact, NoteHint):
            record.version += 1
            record.numbered.append((record.version, fact))
        _take(record, fact)
        if isinstance(fact, OpenIntent):
            self._newest[fact.terminal_id] = max(
                self._newest.get(fact.terminal_id, (0, "")), (fact.lane_seq, fact.intent_id)
            )
            if fact.claim is not None:
                self._claimed.setdefault(fact.terminal_id, []).append(fact.intent_id)
        return True

    def find(self, terminal_id: str, intent_id: str) -> Record | None:
        """The record, if that terminal may see it."""
        record = self._records.get((terminal_id, intent_id))
        return record if record is not None and record.visible else None

    def last_lane_seq(self, terminal_id: str) -> int:
        """The highest `lane_seq` of that terminal, 0 if none is remembered."""
        return self._newest.get(terminal_id, (0, ""))[0]

    def wants_frames(self, terminal_id: str, now_us: int) -> OpenIntent | None:
        """The terminal's newest intent, while frames can still decide it."""
        record = self._records.get((terminal_id, self._newest.get(terminal_id, (0, ""))[1]))
        if record is None or record.opening is None or now_us >= record.opening.terms.expires_at_us:
            return None
        if record.state != "open" or record.cancel is not None or (record.hint is not None and record.hint.final):
            return None
        return record.opening

    def unproven_claims(self, terminal_id: str, since_us: int) -> int:
        """How many intents of that terminal opened with a claim since then and have no verdict."""
        records = [self._records[terminal_id, intent_id] for intent_id in self._claimed.get(terminal_id, ())]
        return sum(
            record.verdict is None and record.opening is not None and record.opening.terms.opened_at_us >= since_us
            for record in records
        )

    def unnoted(self, now_us: int) -> list[Key]:
        """Intents that can still end without a verdict and whose newest hint settlement was not told."""
        return [
            key
            for key, record in self._records.items()
            if record.opening is not None
            and record.unnoted_hint is not None
            and now_us < record.opening.terms.expires_at_us
        ]

    def evict(self, now_us: int) -> int:
        """Forgets records whose last fact and deadline are `history_us` old; returns how many."""
        old = [key for key, record in self._records.items() if _rests_since(record) + self._history_us < now_us]
        for key in old:
            del self._records[key]
        for terminal_id in [t for t, (_, intent_id) in self._newest.items() if (t, intent_id) not in self._records]:
            del self._newest[terminal_id]
        for terminal_id, claimed in [*self._claimed.items()] if old else ():
            self._claimed[terminal_id] = [name for name in claimed if (terminal_id, name) in self._records]
            if not self._claimed[terminal_id]:
                del self._claimed[terminal_id]
        return len(old)

    def __len__(self) -> int:
        return len(self._records)


def _rests_since(record: Record) -> int:
    expires_us = record.opening.terms.expires_at_us if record.opening is not None else 0
    return max(record.touched_us, expires_us)


def _take(record: Record, fact: Fact) -> None:
    """Where a fact goes. Of what can be there once, the first in its topic counts, as it does for settlement."""
    match fact:
        case OpenIntent():
            record.opening = record.opening or fact
        case Verdict():
            record.verdict = record.verdict or fact
        case Hint():
            _take_hint(record, fact)
        case Settlement() if fact.outcome in FINAL:
            record.outcome = record.outcome or fact
        case Settlement():
            record.answers.append(fact)
        case Confirm():
            record.confirms.setdefault(fact.verdict_id, fact)
        case Cancel():
            record.cancel = record.cancel or fact
        case Refund():
            record.refunds.setdefault(fact.refund_id, fact)
        case NoteHint():
            record.noted = fact.code


def _take_hint(record: Record, fact: Hint) -> None:
    if record.hint is None or (fact.hinted_at_us, fact.event_id) > (record.hint.hinted_at_us, record.hint.event_id):
        record.hint = fact
    kept = [(number, other) for number, other in record.numbered if isinstance(other, Hint)]
    if len(kept) > MAX_HINTS:
        record.numbered.remove(kept[0])
        record.seen.discard(kept[0][1].event_id)
