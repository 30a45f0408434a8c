"""What a subject's journal says: is there a consent that stands, and is the chain whole.

A consent stands from `consent_given` until `consent_withdrawn` or `erased`; a newer one takes the place of the one
before. The entries of a subject are a chain: each counts on from the one before and names the hash of its bytes, so
that an entry that was changed, left out or put in between is seen by whoever holds the ones after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from schemas.codec import encode, sha256_hex
from schemas.events import ConsentRecord, JournalEntry

Fault = Literal["gap", "another_past", "another_subject"]


def standing(entries: Sequence[JournalEntry]) -> ConsentRecord | None:
    """The consent in force after `entries`, in their order; None if there is none."""
    consent = None
    for entry in entries:
        if entry.what == "consent_given":
            consent = entry.consent
        elif entry.what in {"consent_withdrawn", "erased"}:
            consent = None
    return consent


def first_fault(entries: Sequence[JournalEntry], raw: Sequence[bytes]) -> tuple[int, Fault] | None:
    """Where the chain is broken first (the place in `entries`) and how; None when it is whole. `raw` holds the bytes of
    each entry as they were read. A chain may begin late: retention takes its oldest entries."""
    for place, entry in enumerate(entries):
        if place == 0:
            if entry.sequence == 1 and entry.previous_sha256 is not None:
                return place, "another_past"
            continue
        before = entries[place - 1]
        if entry.subject != before.subject:
            return place, "another_subject"
        if entry.sequence != before.sequence + 1:
            return place, "gap"
        if entry.previous_sha256 != sha256_hex(raw[place - 1]):
            return place, "another_past"
    return None


def follows(entry: JournalEntry, last: JournalEntry | None) -> JournalEntry:
    """`entry` as the successor of `last`, its number and the hash of the past set."""
    if last is None:
        return replace(entry, sequence=1, previous_sha256=None)
    return replace(entry, sequence=last.sequence + 1, previous_sha256=sha256_hex(encode(last)))
