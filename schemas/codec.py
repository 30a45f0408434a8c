"""Events to bytes and back, with full validation on the way in.

`encode` is orjson over the dataclass. `decode` parses with orjson and converts with msgspec in strict mode: a wrong
type, a missing field or a value out of range is a `DecodeError` whose detail names the path of the field and never
repeats a value. Unknown fields are ignored, so that old and new versions run side by side on a topic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import orjson

from pipeline.errors import DecodeError
from schemas.events import EVENTS, Event

E = TypeVar("E", bound=Event)

MAX_EVENT_BYTES = 256 * 1024

TYPES: Mapping[str, type[Event]] = {str(event.__dataclass_fields__["type"].default): event for event in EVENTS}


def encode(event: Event) -> bytes:
    """UTF-8 JSON of an event, fields in declaration order: equal events give equal bytes."""
    return orjson.dumps(event)


def sha256_hex(data: bytes) -> str:
    """The hash by which events refer to each other as evidence."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes | None, *allowed: type[E]) -> E:
    """The event in `data`, which must be one of `allowed`; raises `DecodeError`."""
    if data is None:
        raise DecodeError("empty", "the record has no value")
    if len(data) > MAX_EVENT_BYTES:
        raise DecodeError("too_large", f"the record has {len(data)} bytes, more than {MAX_EVENT_BYTES}")
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DecodeError("not_json", f"the record is not JSON (line {error.lineno} column {error.colno})") from None
    if not isinstance(raw, dict):
        raise DecodeError("wrong_type", "the record is JSON but not an object")
    return convert(raw, *allowed)


def convert(raw: dict[str, Any], *allowed: type[E]) -> E:
    """The event in an already parsed object; raises `DecodeError`."""
    kind = raw.get("type")
    event_type = TYPES.get(kind) if isinstance(kind, str) else None
    if event_type is None or event_type not in allowed:
        names = ", ".join(sorted(str(t.__dataclass_fields__["type"].default) for t in allowed))
        raise DecodeError("wrong_event", f"the field type is none of: {names}")
    try:
        return msgspec.convert(raw, event_type, strict=True)
    except msgspec.ValidationError as error:
        # msgspec names the path and what it expected there, never the value it found.
        raise DecodeError("invalid_field", str(error)[:300]) from None
