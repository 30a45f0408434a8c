"""What stands on the gallery's topic: of every key the newest record, and what that says of models and versions.

One reading of the whole topic, without opening anything. A record that a re-key wrote names in a header the offset of
the record it was made from (`REWRITTEN_FROM`). If another writer wrote the same key between the two, the newer word is
below the older one: `Survey.overtaken` has the offset of what must be said again. (A key stays in one partition, so
that offsets order its records.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.errors import InvalidMessage
from pipeline.ports import InMessage
from schemas.codec import decode
from schemas.events import GalleryTemplate

REWRITTEN_FROM = "facepay-rewritten-from"


@dataclass(slots=True)
class _Newest:
    """The newest record of a key: where it stands, what it is, and where the word stands that it repeats."""

    partition: int
    offset: int
    version: int | None
    """Gallery version; None for a tombstone, 0 for what is no template."""
    model: str = ""
    payer_id: str = ""
    word: int = 0
    """Offset of the newest record that no re-key wrote."""
    repeats: int = 0
    """The same, as the newest record has it: lower when it was overtaken."""


@dataclass(slots=True)
class Survey:
    """The newest record of each key of the topic `gallery`, and where each partition ended."""

    ends: dict[int, int] = field(default_factory=dict)
    """The first offset that was not seen, by partition."""
    _newest: dict[bytes, _Newest] = field(default_factory=dict)

    def see(self, message: InMessage) -> None:
        """Takes the next record; of one partition in order."""
        self.ends[message.partition] = message.offset + 1
        key = message.key or b""
        before = self._newest.get(key)
        source = message.header(REWRITTEN_FROM)
        repeats = int(source) if source is not None and source.isdigit() else message.offset
        word = max(repeats, before.word if before is not None else 0)
        newest = _Newest(message.partition, message.offset, None, word=word, repeats=repeats)
        if message.value is not None:
            try:
                template = decode(message.value, GalleryTemplate)
            except InvalidMessage:
                newest.version = 0
            else:
                newest.version, newest.model, newest.payer_id = (
                    template.key_version,
                    template.model_sha256,
                    template.payer_id,
                )
        self._newest[key] = newest

    def below(self, version: int) -> Mapping[int, frozenset[int]]:
        """By partition, the offsets of the templates whose gallery version is below `version`."""
        return _places(n for n in self._newest.values() if n.version is not None and 0 < n.version < version)

    @property
    def overtaken(self) -> Mapping[int, frozenset[int]]:
        """By partition, the offsets of the words that a re-key's older copy hides."""
        found: dict[int, set[int]] = {}
        for newest in self._newest.values():
            if newest.repeats < newest.word:
                found.setdefault(newest.partition, set()).add(newest.word)
        return {partition: frozenset(offsets) for partition, offsets in found.items()}

    @property
    def templates(self) -> Mapping[tuple[str, int], int]:
        """Number of templates by model and gallery version."""
        return Counter((n.model, n.version) for n in self._newest.values() if n.version)

    @property
    def damaged(self) -> int:
        """Number of keys whose newest record is no template."""
        return sum(newest.version == 0 for newest in self._newest.values())

    def payers(self, model_sha256: str | None = None) -> frozenset[str]:
        """Who has a template (of that model)."""
        return frozenset(n.payer_id for n in self._newest.values() if n.version and model_sha256 in {None, n.model})

    def lost(self, model_sha256: str) -> frozenset[str]:
        """Who could not be recognised any more if only that model were used: payers without a template of it."""
        return self.payers() - self.payers(model_sha256)


def _places(newest: Iterable[_Newest]) -> Mapping[int, frozenset[int]]:
    found: dict[int, set[int]] = {}
    for each in newest:
        found.setdefault(each.partition, set()).add(each.offset)
    return {partition: frozenset(offsets) for partition, offsets in found.items()}


def survey(messages: Iterable[InMessage]) -> Survey:
    """A survey of all records of the topic (`runtime.reader.read_topic`)."""
    seen = Survey()
    for message in messages:
        seen.see(message)
    return seen


def merged(*places: Mapping[int, Collection[int]]) -> Mapping[int, frozenset[int]]:
    """Places of all of them."""
    found: dict[int, set[int]] = {}
    for each in places:
        for partition, offsets in each.items():
            found.setdefault(partition, set()).update(offsets)
    return {partition: frozenset(offsets) for partition, offsets in found.items()}
