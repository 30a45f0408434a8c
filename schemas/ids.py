"""Derived ids: UUIDv5 of what they derive from, so that deriving twice gives the same event.

First ids (UUIDv7) need a clock and randomness and are therefore made at the edge (`pipeline.gateway`), not here.
"""

from __future__ import annotations

import uuid

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:facepay:derived-ids:v1")


def derived_id(*parts: str) -> str:
    """UUIDv5 over `parts`; a separator that no part may contain keeps ("ab", "c") and ("a", "bc") apart."""
    if any("\x1f" in part for part in parts):
        raise ValueError("a part of a derived id may not contain the unit separator")
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(parts)))
