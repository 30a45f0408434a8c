"""What a subject's journal says: a consent that stands or not, and a chain that is whole or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.consent import first_fault, follows, standing
from schemas.codec import encode
from schemas.events import ConsentRecord, JournalDeed, JournalEntry
from schemas.ids import derived_id

PAYER = derived_id("payer")
FIRST = ConsentRecord(text_version="2026-01", purposes=("face_payment",))
SECOND = ConsentRecord(text_version="2027-01", text_sha256="c" * 64, purposes=("face_payment", "statistics"))
DEEDS: dict[str, tuple[JournalDeed, ConsentRecord | None]] = {
    "1": ("consent_given", FIRST),
    "2": ("consent_given", SECOND),
    "n": ("enrolled", None),
    "r": ("template_refreshed", None),
    "w": ("consent_withdrawn", None),
    "e": ("erased", None),
}


def chain(story: str) -> list[JournalEntry]:
    """Entries as the journal makes them, one per letter."""
    entries: list[JournalEntry] = []
    for number, letter in enumerate(story):
        what, consent = DEEDS[letter]
        entry = JournalEntry(
            event_id=derived_id(PAYER, str(number)), subject=PAYER, sequence=1, previous_sha256=None, what=what,
            who="ann", at_us=number, consent=consent,
        )  # fmt: skip
        entries.append(follows(entry, entries[-1] if entries else None))
    return entries


@pytest.mark.parametrize(
    ("story", "consent"),
    [
        ("", None),
        ("n", None),
        ("1", FIRST),
        ("1n", FIRST),
        ("12", SECOND),
        ("121", FIRST),
        ("1nw", None),
        ("1ne", None),
        ("1w2", SECOND),
        ("1nr", FIRST),
    ],
)
def test_which_consent_stands(story: str, consent: ConsentRecord | None) -> None:
    """The newest one given, until it is withdrawn or the payer erased."""
    assert standing(chain(story)) == consent


@given(story=st.text("12nrwe", max_size=8))
def test_a_chain_as_it_was_made_is_whole(story: str) -> None:
    """Also when retention has taken its oldest entries."""
    entries = chain(story)
    raw = [encode(entry) for entry in entries]
    for start in range(len(entries) + 1):
        assert first_fault(entries[start:], raw[start:]) is None


@given(story=st.text("12nrwe", min_size=3, max_size=8), data=st.data())
def test_what_is_changed_left_out_or_put_in_is_seen(story: str, data: st.DataObject) -> None:
    """Whatever happens to an entry that has a successor."""
    entries = chain(story)
    place = data.draw(st.integers(0, len(entries) - 2))
    forged = replace(entries[place], who="mallory")
    left_out = [*entries[:place], *entries[place + 1 :]]
    tales = {
        "changed": [*entries[:place], forged, *entries[place + 1 :]],
        "twice": [*entries[: place + 1], *entries[place:]],
        "swapped": [*entries[:place], entries[place + 1], entries[place], *entries[place + 2 :]],
        "another's": [*entries[: place + 1], replace(entries[place + 1], subject="gallery"), *entries[place + 2 :]],
    }
    if place:  # the oldest may be gone by retention
        tales["left out"] = left_out
    for what, tale in tales.items():
        assert first_fault(tale, [encode(entry) for entry in tale]) is not None, what


def test_a_first_entry_has_no_past() -> None:
    """An entry that calls itself the first and has a predecessor hides it."""
    (entry,) = chain("1")
    lying = replace(entry, previous_sha256="d" * 64)
    assert first_fault([lying], [encode(lying)]) == (0, "another_past")
