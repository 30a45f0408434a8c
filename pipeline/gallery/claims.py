"""Who may be meant by a claim: from the tag of a number, or of its last four digits, to who enrolled with it.

Tags come out of the sealed templates (`gallery.templates.TemplateFacts`) as the reader opens them, and go with them: a
payer stays a candidate for as long as one of their templates has the tag. A full number has one candidate as a rule,
but a family may share a telephone; four digits have one payer in ten thousand. The directory only narrows a search, it
proves nothing: whoever is among the candidates must still look like themselves.

Thread-safe. It holds tags, no numbers; in memory some 350 bytes per template.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from pipeline.errors import InvalidMessage
from pipeline.keys.claims import Claim, ClaimedBy, open_claim
from pipeline.keys.keyring import Keyring
from schemas.events import PaymentTerms

KINDS: Final[tuple[ClaimedBy, ...]] = ("full_number", "last_four")


class Tags(Protocol):
    """What a template says of its payer's telephone: tags in hexadecimal (`gallery.templates.TemplateFacts`)."""

    @property
    def phone_tag(self) -> str | None:
        """Of the number."""
        ...

    @property
    def last_four_tag(self) -> str | None:
        """Of its last four digits."""
        ...


class TaggedTemplate(Protocol):
    """A template as its reader opened it (`gallery.templates.OpenedTemplate`)."""

    @property
    def template_id(self) -> str:
        """Its id."""
        ...

    @property
    def payer_id(self) -> str:
        """Whose it is."""
        ...

    @property
    def facts(self) -> Tags:
        """What is known of the payer."""
        ...


_Entry = tuple[str, bytes | None, bytes | None]
"""Payer, tag of the number, tag of the last four digits."""
_Holders = str | dict[str, int]
"""Who has a tag: one payer by one template, as nearly all numbers do, or payers and how many templates each."""


class _Dump(msgspec.Struct, array_like=True):
    """The directory, column by column; an empty tag stands for none."""

    templates: list[str]
    payers: list[str]
    numbers: list[bytes]
    last_fours: list[bytes]


class ClaimDirectory:
    """A listener of the gallery's reader (`GalleryReader`)."""

    section = "claims"
    """Its part of a snapshot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._holders: dict[ClaimedBy, dict[bytes, _Holders]] = {kind: {} for kind in KINDS}

    def __len__(self) -> int:
        """Number of templates with a tag."""
        return len(self._entries)

    def put(self, opened: TaggedTemplate) -> None:
        """A template was added or replaced."""
        number, last_four = _raw(opened.facts.phone_tag), _raw(opened.facts.last_four_tag)
        with self._lock:
            self._remove(opened.template_id)
            if number is not None or last_four is not None:
                self._add(opened.template_id, (opened.payer_id, number, last_four))

    def removed(self, template_id: str, payer_id: str) -> None:
        """A template was taken out."""
        del payer_id
        with self._lock:
            self._remove(template_id)

    def among(self, claim: Claim) -> frozenset[str]:
        """The payers that the claim may mean; none for one that nobody enrolled with."""
        with self._lock:
            return _payers(self._holders[claim.kind].get(bytes.fromhex(claim.tag)))

    def dump(self) -> bytes:
        """All of it, for a snapshot that seals it."""
        with self._lock:
            templates, entries = list(self._entries), list(self._entries.values())
        payers, numbers, last_fours = zip(*entries, strict=True) if entries else ((), (), ())
        columns = _Dump(templates, list(payers), [tag or b"" for tag in numbers], [tag or b"" for tag in last_fours])
        return msgspec.msgpack.encode(columns)

    def load(self, data: bytes) -> None:
        """Takes over a dump in place of what is held; raises `InvalidMessage` `snapshot_invalid`."""
        try:
            held = msgspec.msgpack.decode(data, type=_Dump)
            entries: list[_Entry] = [
                (payer, number or None, last_four or None)
                for payer, number, last_four in zip(held.payers, held.numbers, held.last_fours, strict=True)
            ]
            of_template = dict(zip(held.templates, entries, strict=True))
        except (msgspec.DecodeError, ValueError):
            raise InvalidMessage("snapshot_invalid", "the directory of claims in a snapshot is damaged") from None
        numbers = _gathered((payer, number) for payer, number, _ in of_template.values() if number is not None)
        last_fours = _gathered((payer, four) for payer, _, four in of_template.values() if four is not None)
        with self._lock:
            self._entries = of_template
            self._holders = {"full_number": numbers, "last_four": last_fours}

    def _add(self, template_id: str, entry: _Entry) -> None:
        self._entries[template_id] = entry
        for kind, tag in zip(KINDS, entry[1:], strict=True):
            if tag is not None:
                _note(self._holders[kind], tag, entry[0])

    def _remove(self, template_id: str) -> None:
        entry = self._entries.pop(template_id, None)
        if entry is None:
            return
        for kind, tag in zip(KINDS, entry[1:], strict=True):
            if tag is not None:
                _strike(self._holders[kind], tag, entry[0])


class ClaimedPayers:
    """What claims say to an agent: it opens them, and finds who may be meant."""

    def __init__(self, keyring: Keyring, directory: ClaimDirectory) -> None:
        self._keyring = keyring
        self._directory = directory

    def read(self, terms: PaymentTerms, sealed: str) -> Claim:
        """The claim of that intent; raises `SealError` `claim_broken`."""
        return open_claim(self._keyring, sealed, terminal_id=terms.terminal_id, intent_id=terms.intent_id)

    def among(self, claim: Claim) -> frozenset[str]:
        """The payers that the claim may mean."""
        return self._directory.among(claim)


def _raw(tag: str | None) -> bytes | None:
    return None if tag is None else bytes.fromhex(tag)


def _payers(held: _Holders | None) -> frozenset[str]:
    return frozenset() if held is None else frozenset((held,) if isinstance(held, str) else held)


def _note(holders: dict[bytes, _Holders], tag: bytes, payer_id: str) -> None:
    """One more template of the payer has the tag."""
    held = holders.get(tag)
    if held is None:
        holders[tag] = payer_id
        return
    if isinstance(held, str):
        held = holders[tag] = {held: 1}
    held[payer_id] = held.get(payer_id, 0) + 1


def _strike(holders: dict[bytes, _Holders], tag: bytes, payer_id: str) -> None:
    """One template of the payer less has the tag."""
    held = holders[tag]
    if isinstance(held, str):
        del holders[tag]
        return
    held[payer_id] -= 1
    if not held[payer_id]:
        del held[payer_id]
    if not held:
        del holders[tag]


def _gathered(tagged: Iterable[tuple[str, bytes]]) -> dict[bytes, _Holders]:
    holders: dict[bytes, _Holders] = {}
    for payer_id, tag in tagged:
        _note(holders, tag, payer_id)
    return holders
