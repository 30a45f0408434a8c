"""A dead letter: sealed bytes, clear position and reason, always deliverable itself."""

from __future__ import annotations

import base64

import pytest

from pipeline.errors import SealError
from pipeline.keys.seals import AesGcmSeal
from pipeline.ports import InMessage
from pipeline.runtime.deadletters import MAX_VALUE_BYTES, DeadLetters, associated, position_of
from schemas.codec import decode
from schemas.events import DeadLetter

SEAL = AesGcmSeal(b"k" * 32)
LETTERS = DeadLetters(SEAL, "embedding")
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def letter_of(message: InMessage, reason: str = "not_json", detail: str = "no JSON") -> DeadLetter:
    """What an operator would find."""
    return decode(LETTERS.emit(message, reason, detail, 1_700_000_000_000_000).value, DeadLetter)


def test_it_holds_what_was_and_says_where_and_why() -> None:
    """The bytes come back with the key and the position, and not without; the trace goes along."""
    message = InMessage("frames", 3, 17, b"till-1", b"\xffface", (("traceparent", TRACE),))
    emit = LETTERS.emit(message, "not_json", "no JSON", 5)
    assert (emit.topic, emit.key, emit.headers) == ("deadletter", b"till-1", (("traceparent", TRACE),))
    letter = letter_of(message)
    assert (letter.topic, letter.partition, letter.offset) == ("frames", 3, 17)
    assert (letter.reason, letter.agent) == ("not_json", "embedding")
    assert b"face" not in (emit.value or b"")
    sealed = base64.b64decode(letter.sealed_value)
    assert SEAL.open(sealed, associated(position_of(message))) == b"\xffface"
    with pytest.raises(SealError):
        SEAL.open(sealed, associated(("frames", "3", "18")))


def test_a_repeat_is_the_same_letter() -> None:
    """Its id derives from the position; another position is another letter."""
    first, again, other = (letter_of(InMessage("frames", 3, offset, None, b"x")) for offset in (17, 17, 18))
    assert first.event_id == again.event_id != other.event_id


# what, the record, reason, detail
ROWS: list[tuple[str, InMessage, str, str]] = [
    ("no key and no value", InMessage("frames", 0, 0, None, None), "empty", ""),
    ("a value of 2 MB", InMessage("frames", 0, 0, b"k", b"x" * 2_000_000), "too_large", "big"),
    ("a key of 1 MB", InMessage("frames", 0, 0, b"k" * 1_000_000, b"x"), "header_invalid", "big key"),
    ("a trace of 1 MB", InMessage("frames", 0, 0, b"k", b"x", (("traceparent", b"0" * 1_000_000),)), "seal_broken", ""),
    ("a reason that is no code", InMessage("frames", 0, 0, b"k", b"x"), "What? No!", "odd"),
    ("a detail without end", InMessage("frames", 0, 0, b"k", b"x"), "not_json", "y" * 10_000),
]


@pytest.mark.parametrize(("message", "reason", "detail"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_it_can_always_be_sent(message: InMessage, reason: str, detail: str) -> None:
    """Whatever was wrong with the record, the letter is valid and fits into a record of 1 MB."""
    emit = LETTERS.emit(message, reason, detail, 5)
    letter = decode(emit.value, DeadLetter)
    assert len(emit.value or b"") + len(emit.key) + sum(len(v) for _, v in emit.headers) < 500_000
    opened = SEAL.open(base64.b64decode(letter.sealed_value), associated(position_of(message)))
    assert opened == (message.value or b"")[:MAX_VALUE_BYTES]
