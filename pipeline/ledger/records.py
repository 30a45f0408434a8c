"""Consumed records to what the lifecycle understands, before any lock is taken: decoding and hashing are the dear part.

A record that can never be applied keeps its fault; `store` sends it to the dead letter and its neighbours go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from pipeline.domain.intents import Judgement
from pipeline.errors import InvalidMessage
from pipeline.ports import InMessage
from schemas.codec import decode, sha256_hex
from schemas.events import Cancel, Command, Confirm, NoteHint, OpenIntent, Refund, Verdict


@dataclass(frozen=True, slots=True)
class Record:
    """A record as consumed with its event, or with the fault that makes it a dead letter."""

    message: InMessage
    event: Command | Verdict | None
    sha256: str
    fault: InvalidMessage | None = None


def read_record(message: InMessage, *, commands: str, verdicts: str) -> Record:
    """Decodes by topic; the key must be the terminal's id, the terms those of the event's own intent."""
    event: Command | Verdict
    try:
        if message.topic == commands:
            event = cast("Command", decode(message.value, OpenIntent, Confirm, Cancel, Refund, NoteHint))
        elif message.topic == verdicts:
            event = decode(message.value, Verdict)
        else:
            raise InvalidMessage("wrong_topic", "settlement does not read this topic")
        _check(message, event)
    except InvalidMessage as fault:
        return Record(message, None, "", fault)
    return Record(message, event, sha256_hex(message.value or b""))


def judgement(verdict: Verdict, sha256: str) -> Judgement:
    """A verdict as the lifecycle sees it."""
    return Judgement(
        verdict_id=verdict.event_id,
        payer_id=verdict.payer_id,
        decision=verdict.decision,
        methods=verdict.methods,
        reasons=verdict.reasons,
        terms=verdict.terms,
        verdict_sha256=sha256,
        recognition_sha256=verdict.recognition_sha256,
        captured_at_us=verdict.captured_at_us,
    )


def _check(message: InMessage, event: Command | Verdict) -> None:
    if message.key != event.terminal_id.encode():
        raise InvalidMessage("key_mismatch", "the record's key is not the terminal_id of its event")
    if isinstance(event, (OpenIntent, Verdict)):
        terms = event.terms
        if terms.intent_id != event.intent_id or terms.terminal_id != event.terminal_id:
            raise InvalidMessage("terms_inconsistent", "the terms are of another intent or terminal than the event")
