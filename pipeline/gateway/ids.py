"""First ids and traces: made at the edge from a clock and randomness, nowhere else.

`uuid7` follows RFC 9562, section 5.7: 48 bits of milliseconds since 1970, then 12 bits that hold the rest of the
microsecond clock (method 3 of section 6.2), then 62 random bits.
"""

from __future__ import annotations

import secrets
import uuid


def uuid7(now_us: int) -> str:
    """A UUIDv7 for `now_us` (microseconds UTC), lower case; ids made at least a microsecond apart sort by time."""
    milliseconds, rest_us = divmod(now_us, 1_000)
    fraction = rest_us * 4096 // 1_000
    value = (
        (milliseconds & (1 << 48) - 1) << 80
        | 0x7 << 76
        | fraction << 64
        | 0b10 << 62
        | secrets.randbits(62)
    )  # fmt: skip
    return str(uuid.UUID(int=value))


def new_trace(now_us: int) -> str:
    """A W3C traceparent, sampled: its trace id is a UUIDv7, so that traces sort by time; its span id is random."""
    span = secrets.randbits(64) or 1  # all zeros are invalid
    return f"00-{uuid7(now_us).replace('-', '')}-{span:016x}-01"
