"""What is known of a payer's recent use, and the features that the rules judge by.

Theory of operation: a `History` is a set of uses keyed by intent, sorted by time, bounded in number and in age. Adding
a use or noting its outcome twice changes nothing, so that a replay after a crash is harmless. `features` is a function
of the history before a recognition and of the recognition alone; its "now" is the recognition's own time, never a
clock, so that the same inputs give the same features on any machine, online or offline.

Units: times in microseconds UTC, money in minor units; sums count only the currency of the recognition at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson

from pipeline.errors import InvalidMessage
from schemas.codec import sha256_hex
from schemas.events import ClaimKind, Recognition, Settlement

MAX_USES = 128
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
STATE_FORMAT = 1

Outcome = Literal["pending", "settled", "declined", "unpaid"]
"""`unpaid`: expired or cancelled."""

OUTCOMES: dict[str, Outcome] = {
    "settled": "settled",
    "declined": "declined",
    "expired": "unpaid",
    "cancelled": "unpaid",
}


@dataclass(frozen=True, slots=True)
class Use:
    """One recognised payment of a payer; `outcome_id` is the event that ended it."""

    intent_id: str
    at_us: int
    terminal_id: str
    amount_minor: int
    currency: str
    outcome: Outcome = "pending"
    outcome_id: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """The uses of one payer, oldest first, at most `MAX_USES`."""

    uses: tuple[Use, ...] = ()

    def find(self, intent_id: str) -> Use | None:
        """The use of that intent, if it is remembered."""
        return next((use for use in self.uses if use.intent_id == intent_id), None)


@dataclass(frozen=True, slots=True)
class Windows:
    """The parameters of the features."""

    velocity_us: int
    history_us: int
    night_hours_utc: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Features:
    """What the rules may look at. Counts are of uses before this one; `None` means unknown."""

    amount_minor: int
    count_velocity: int
    count_1h: int
    count_24h: int
    sum_24h_minor: int
    terminals_1h: int
    minutes_since_last: float | None
    settled: int
    declined: int
    hour_utc: int
    night: bool
    similarity: float
    over_threshold: float
    margin: float
    liveness: float | None
    liveness_proven: bool | None
    eyes_open: bool | None
    frames_used: int
    lookalike: bool | None
    claim: ClaimKind | None
    candidates: int | None
    """Payers among whom the face was looked for: all of the gallery without a claim."""


def with_use(history: History, recognition: Recognition, windows: Windows) -> History:
    """The history after this recognition; unchanged when its intent is in it already."""
    if history.find(recognition.intent_id) is not None:
        return history
    return _bounded(
        (
            *history.uses,
            Use(
                intent_id=recognition.intent_id,
                at_us=recognition.recognised_at_us,
                terminal_id=recognition.terminal_id,
                amount_minor=recognition.terms.amount_minor,
                currency=recognition.terms.currency,
            ),
        ),
        windows,
    )


def with_outcome(history: History, settlement: Settlement, windows: Windows) -> History:
    """The history after an intent's outcome; unchanged when that outcome is noted already or is only a refund.

    A use that is not remembered (the store was lost) is added from the outcome, so that reading `settlements` again
    rebuilds what matters.
    """
    outcome = OUTCOMES.get(settlement.outcome)
    if outcome is None:
        return history
    known = history.find(settlement.intent_id)
    if known is not None and known.outcome_id == settlement.event_id:
        return history
    ended = Use(
        intent_id=settlement.intent_id,
        at_us=known.at_us if known is not None else settlement.captured_at_us or settlement.opened_at_us,
        terminal_id=settlement.terminal_id,
        amount_minor=settlement.amount_minor,
        currency=settlement.currency,
        outcome=outcome,
        outcome_id=settlement.event_id,
    )
    return _bounded((*(use for use in history.uses if use.intent_id != ended.intent_id), ended), windows)


def features(history: History, recognition: Recognition, windows: Windows) -> Features:
    """The features of a recognition, given the history before it."""
    at_us = recognition.recognised_at_us
    before = [use for use in history.uses if use.intent_id != recognition.intent_id and use.at_us <= at_us]
    hour = [use for use in before if use.at_us > at_us - HOUR_US]
    day = [use for use in before if use.at_us > at_us - DAY_US]
    hour_utc = at_us // HOUR_US % 24
    return Features(
        amount_minor=recognition.terms.amount_minor,
        count_velocity=sum(use.at_us > at_us - windows.velocity_us for use in before),
        count_1h=len(hour),
        count_24h=len(day),
        sum_24h_minor=sum(
            use.amount_minor
            for use in day
            if use.currency == recognition.terms.currency and use.outcome in {"pending", "settled"}
        ),
        terminals_1h=len({use.terminal_id for use in hour}),
        minutes_since_last=round((at_us - before[-1].at_us) / 60_000_000, 3) if before else None,
        settled=sum(use.outcome == "settled" for use in before),
        declined=sum(use.outcome == "declined" for use in before),
        hour_utc=hour_utc,
        night=within_hours(hour_utc, windows.night_hours_utc),
        similarity=recognition.similarity,
        over_threshold=round(recognition.similarity - recognition.threshold, 6),
        margin=recognition.margin,
        liveness=recognition.liveness,
        liveness_proven=recognition.liveness_proven,
        eyes_open=recognition.eyes_open,
        frames_used=recognition.frames_used,
        lookalike=recognition.lookalike,
        claim=recognition.claim,
        candidates=recognition.candidates,
    )


def within_hours(hour: int, hours: tuple[int, int]) -> bool:
    """Whether `hour` (0..23) lies in [from, to); a range whose end is below its start goes over midnight, and one
    whose ends are equal is empty."""
    start, end = hours
    return start <= hour < end if start <= end else hour >= start or hour < end


def features_sha256(values: Features) -> str:
    """The hash of the features' canonical JSON (sorted keys, no spaces)."""
    return sha256_hex(orjson.dumps(values, option=orjson.OPT_SORT_KEYS))


def encode_history(history: History) -> bytes:
    """A history as compact JSON: a list of lists, a format number first."""
    return orjson.dumps(
        [
            STATE_FORMAT,
            *(
                [u.intent_id, u.at_us, u.terminal_id, u.amount_minor, u.currency, u.outcome, u.outcome_id]
                for u in history.uses
            ),
        ]
    )


def decode_history(data: bytes | None) -> History:
    """The history in `data`, empty for None; raises `InvalidMessage` (`state_invalid`) for anything else than
    `encode_history` writes."""
    if data is None:
        return History()
    try:
        form, *rows = orjson.loads(data)
        if form != STATE_FORMAT:
            raise ValueError("another format")
        return History(tuple(_use(row) for row in rows))
    except (ValueError, TypeError) as error:
        raise InvalidMessage("state_invalid", f"a stored history is not of format {STATE_FORMAT}") from error


def _use(row: list[object]) -> Use:
    """One row as a use; raises ValueError or TypeError."""
    intent_id, at_us, terminal_id, amount_minor, currency, outcome, outcome_id = row
    texts = (intent_id, terminal_id, currency)
    if not all(isinstance(text, str) for text in texts) or not isinstance(outcome_id, str | None):
        raise TypeError("a text is missing")
    if type(at_us) is not int or type(amount_minor) is not int:
        raise TypeError("a number is missing")
    if outcome not in {"pending", "settled", "declined", "unpaid"}:
        raise ValueError("no such outcome")
    return Use(str(intent_id), at_us, str(terminal_id), amount_minor, str(currency), outcome, outcome_id)


def _bounded(uses: tuple[Use, ...], windows: Windows) -> History:
    """The newest `MAX_USES` uses that are not older than the history's window, oldest first."""
    ordered = sorted(uses, key=lambda use: (use.at_us, use.intent_id))
    oldest_us = ordered[-1].at_us - windows.history_us
    return History(tuple(use for use in ordered[-MAX_USES:] if use.at_us >= oldest_us))
