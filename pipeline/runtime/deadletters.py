"""The dead letter: a record that can never be processed, kept sealed with its position and its reason.

The bytes are sealed (they may hold a face, or anything), the position and the reason stand in clear, so that an
operator can sort and count without a key. The seal's associated data is the position: a letter cannot be passed off
as another.
"""

from __future__ import annotations

import base64
import re

from pipeline.ports import Emit, InMessage, Seal
from pipeline.topics import DEADLETTER
from schemas.codec import encode
from schemas.events import DeadLetter
from schemas.ids import derived_id

MAX_DETAIL = 500
MAX_VALUE_BYTES = 150_000
MAX_KEY_BYTES = 1_000
MAX_TRACE_BYTES = 64
"""What is longer is cut or left out: whoever wrote a record that cannot be processed must not be able to write one that
cannot even be buried, for that would stop the agent."""


class DeadLetters:
    """Makes the records for the topic `deadletter`; `agent` says who gave up."""

    def __init__(self, seal: Seal, agent: str, topic: str = DEADLETTER) -> None:
        self._seal = seal
        self._agent = agent
        self._topic = topic

    def emit(self, message: InMessage, reason: str, detail: str, now_us: int) -> Emit:
        """The letter for one record; its id derives from the position, so that a repeat is the same letter."""
        position = position_of(message)
        letter = DeadLetter(
            event_id=derived_id(self._agent, *position, "dead_letter"),
            agent=self._agent,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            reason=_code(reason),
            detail=detail[:MAX_DETAIL],
            sealed_key=self._sealed(message.key, MAX_KEY_BYTES, position),
            sealed_value=self._sealed(message.value, MAX_VALUE_BYTES, position),
            failed_at_us=now_us,
        )
        trace = message.header("traceparent")
        headers = (("traceparent", trace),) if trace is not None and len(trace) <= MAX_TRACE_BYTES else ()
        return Emit(self._topic, (message.key or b"")[:MAX_KEY_BYTES], encode(letter), headers)

    def _sealed(self, data: bytes | None, limit: int, position: tuple[str, str, str]) -> str:
        return base64.b64encode(self._seal.seal((data or b"")[:limit], associated(position))).decode()


def position_of(message: InMessage) -> tuple[str, str, str]:
    """Topic, partition and offset as text."""
    return message.topic, str(message.partition), str(message.offset)


def associated(position: tuple[str, str, str]) -> bytes:
    """The associated data under which a letter's key and value are sealed."""
    return "\x1f".join(("facepay.deadletter.v1", *position)).encode()


def _code(reason: str) -> str:
    """A reason that is no code would make the letter itself undeliverable."""
    return reason if re.fullmatch(r"[a-z][a-z0-9_]{0,63}", reason) else "unknown"


def open_letter(seal: Seal, letter: DeadLetter) -> tuple[bytes, bytes]:
    """The key and the value that a letter keeps, for the operator who has the key; raises `SealError`."""
    position = associated((letter.topic, str(letter.partition), str(letter.offset)))
    key, value = (base64.b64decode(sealed) for sealed in (letter.sealed_key, letter.sealed_value))
    return seal.open(key, position), seal.open(value, position)
