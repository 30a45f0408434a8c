"""A new key for a live gallery: every template in a new space, under new data keys, without a failed payment.

    1. The keyring gets the next version of `gallery` (or one that was made waiting, for other machines, comes in
       force).
    2. Every template of the topic that is of an older version is written again under it: same id, same facts, a new
       data key of its payer. Readers take either version at any time (`templates.open_templates`): a process keeps the
       space it started with and turns what it reads, so that nobody is without a template for a moment.
    3. The topic is read again until nothing older is left, also not of an enrolment that was under way (`settle_s`),
       and every agent that holds the gallery in memory has read what was written (`mirrors`).
    4. The old data keys are destroyed and the old versions refused from then on; last the old secret is shredded. No
       record, backup or snapshot of before can be opened, and a stolen protected vector of the old space is a stranger
       in the new one (`protect.linkage` says what a thief of both can do).

Killed at any point it is run again and goes on: what has been rewritten is of the new version, data keys are made once
per payer and version, and the old secret is the last thing to go. While more than one version lives, a re-key is under
way, and running it finishes that one.

Another writer may tombstone or change a template between our reading and our writing it. The copy names the record that
it repeats, and the next reading finds the word that was overtaken and says it again. Until then a template that was
removed may be searched for some seconds more; never one of an erased payer, whose data keys are gone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message

from pipeline.errors import InvalidMessage, KafkaUnavailable, OutsideError, UsageError
from pipeline.gallery.mirrors import standings
from pipeline.gallery.protect.data_keys import SqlDataKeys
from pipeline.gallery.survey import REWRITTEN_FROM, Survey, merged, survey
from pipeline.gallery.templates import reseal
from pipeline.keys.keyring import Keyring
from pipeline.ports import Emit, InMessage
from pipeline.runtime.producer import make_producer, produce
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from pipeline.topics import GALLERY
from schemas.codec import decode, encode
from schemas.events import GalleryTemplate

_AT_ONCE = 500
_ROUNDS = 20
_LOOK_S = 0.25

Places = Mapping[int, frozenset[int]]
Said = Callable[[str, int], None]
"""Hears of progress: what is being done, and how many records so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """What a re-key has done."""

    version: int
    retired: tuple[int, ...]
    """The versions whose secrets are destroyed."""
    rewritten: int
    buried: Mapping[str, int]
    """Templates that could not be opened and were tombstoned, by reason."""
    data_keys_destroyed: int
    templates: int
    """Templates of the new version at the end."""


class Unreadable(OutsideError):
    """Templates of an old version that do not open: going on would lose them for good."""

    def __init__(self, reasons: Mapping[str, int]) -> None:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        super().__init__(
            f"re-keying the gallery: some templates do not open ({told}), and nothing was destroyed; see that keyring "
            "and data keys are this gallery's, or pass --drop-unreadable to give those templates up"
        )
        self.reasons = dict(reasons)


@dataclass(slots=True)
class _Pass:
    """What one reading of the topic has written."""

    rewritten: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    buried: Counter[str] = field(default_factory=Counter)


class Rekey:
    """One re-key; `run` does it, and does what is left of one that was killed."""

    def __init__(
        self,
        kafka: Kafka,
        keyring: Keyring,
        data_keys: SqlDataKeys,
        *,
        topic: str = GALLERY,
        settle_s: float = 60.0,
        mirrors_s: float = 120.0,
        drop_unreadable: bool = False,
        said: Said = lambda _what, _count: None,
    ) -> None:
        """`settle_s`: how old the new version must be before the old one is destroyed; more than an enrolment takes
        from its sealing to its confirmation. `mirrors_s`: how long to wait for the agents to have read everything."""
        self._kafka = kafka
        self._keyring = keyring
        self._data_keys = data_keys
        self._topic = topic
        self._settle_s = settle_s
        self._mirrors_s = mirrors_s
        self._drop_unreadable = drop_unreadable
        self._said = said
        self._producer = make_producer(kafka)
        self._failed: list[KafkaError] = []

    def run(self) -> Rekeyed:
        """Does what the module says. Raises `Unreadable`, `KafkaUnavailable`, `OutsideError` (an agent does not
        follow): then nothing was destroyed, and running it again goes on."""
        version = self._begin()
        done = _Pass()
        self._rewrite(version, done)
        self._settle(version)
        seen = self._rewrite(version, done)
        self._wait_for_mirrors(seen)
        destroyed = self._data_keys.retire_below(version)
        old = tuple(v for v in self._keyring.versions("gallery") if v < version)
        for each in old:
            self._keyring.destroy_version("gallery", each)
        return Rekeyed(
            version=version,
            retired=old,
            rewritten=done.rewritten,
            buried=dict(done.buried),
            data_keys_destroyed=destroyed,
            templates=sum(seen.templates.values()),
        )

    def _begin(self) -> int:
        """The version to go to, in force."""
        versions = self._keyring.versions("gallery")
        if len(versions) == 1:
            return self._keyring.new_version("gallery")
        self._keyring.put_in_force("gallery", versions[-1])
        return versions[-1]

    def _rewrite(self, version: int, done: _Pass) -> Survey:
        """Reads and writes until a reading finds nothing older than `version` and nothing overtaken; that reading."""
        for _ in range(_ROUNDS):
            seen = survey(self._read("reading"))
            places = merged(seen.below(version), seen.overtaken)
            if not places:
                return seen
            self._write(version, places, done)
        raise OutsideError(
            f"re-keying the gallery: after {_ROUNDS} readings of the topic {self._topic} somebody still writes "
            "templates of an older version; see that every machine that enrols has the new version, and run it again"
        )

    def _write(self, version: int, places: Places, done: _Pass) -> None:
        batch: list[InMessage] = []
        for message in self._read("rewriting"):
            if message.offset in places.get(message.partition, frozenset()):
                batch.append(message)
            if len(batch) >= _AT_ONCE:
                self._write_batch(version, batch, done)
                batch = []
        self._write_batch(version, batch, done)
        self._confirm()
        if done.refused:
            raise Unreadable(done.refused)

    def _write_batch(self, version: int, batch: Sequence[InMessage], done: _Pass) -> None:
        """Writes each of `batch` again: a template of an older version sealed anew, anything else as it is."""
        old: list[tuple[InMessage, GalleryTemplate]] = []
        for message in batch:
            template = None if message.value is None else _template(message.value)
            if template is not None and template.key_version < version:
                old.append((message, template))
            else:
                self._send(message, message.value)
        answers = reseal(self._keyring, self._data_keys, [template for _, template in old]) if old else []
        for (message, _), answer in zip(old, answers, strict=True):
            if not isinstance(answer, InvalidMessage):
                self._send(message, encode(answer))
                done.rewritten += 1
            elif answer.reason == "data_key_destroyed" or self._drop_unreadable:
                self._send(message, None)  # noise already: the tombstone lets compaction take it away
                done.buried[answer.reason] += 1
            else:
                done.refused[answer.reason] += 1

    def _settle(self, version: int) -> None:
        """Returns when the new version is old enough that no enrolment can still be under way with an older one."""
        began = self._keyring.made_at("gallery", version)
        while (left := began + self._settle_s - time.time()) > 0:
            self._said("waiting for enrolments under way", round(left))
            time.sleep(min(left, 1.0))

    def _wait_for_mirrors(self, seen: Survey) -> None:
        """Returns when every agent that holds the gallery in memory has read what `seen` has seen: an old record that
        it read after its key was destroyed would take the template out until it reads the new one."""
        deadline = time.monotonic() + self._mirrors_s
        while True:
            now_us = time.time_ns() // 1000
            behind = [
                standing.name
                for standing in standings(self._kafka, self._topic)
                if standing.alive(now_us)
                and any(standing.offsets.get(partition, 0) < end for partition, end in seen.ends.items())
            ]
            if not behind:
                return
            if time.monotonic() > deadline:
                raise OutsideError(
                    f"re-keying the gallery: {', '.join(sorted(behind))} did not follow within "
                    f"{self._mirrors_s:.0f} s, and nothing was destroyed; see what holds them up, and run it again"
                )
            self._said("waiting for agents", len(behind))
            time.sleep(_LOOK_S)

    def _read(self, what: str) -> Iterator[InMessage]:
        for count, message in enumerate(read_topic(self._kafka, self._topic, read_committed=False), 1):
            if count % 10_000 == 0:
                self._said(what, count)
            yield message

    def _send(self, message: InMessage, value: bytes | None) -> None:
        headers = ((REWRITTEN_FROM, str(message.offset).encode()),)
        emit = Emit(self._topic, message.key or b"", value, headers, message.partition)
        produce(self._producer, emit, self._delivered)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error)

    def _confirm(self) -> None:
        """Returns when everything that was sent is confirmed; raises `KafkaUnavailable`."""
        left = self._producer.flush(self._kafka.request_timeout_ms / 1000 + 5)
        if left or self._failed:
            why = self._failed[0].str() if self._failed else "no answer"
            raise KafkaUnavailable(
                f"re-keying the gallery: {left + len(self._failed)} records for the topic {self._topic} were not "
                f"confirmed ({why}), and nothing was destroyed; run it again"
            )


def prepare(keyring: Keyring) -> int:
    """Makes the next version waiting, or finds the one that does: distribute the keyring, then re-key. Raises
    `UsageError` while a re-key is under way."""
    versions, in_force = keyring.versions("gallery"), keyring.gallery_version
    if versions[-1] > in_force:
        return versions[-1]
    if len(versions) > 1:
        raise UsageError("preparing a re-key: one is under way; finish it with `facepay gallery rekey`")
    return keyring.new_version("gallery", waiting=True)


def _template(value: bytes) -> GalleryTemplate | None:
    try:
        return decode(value, GalleryTemplate)
    except InvalidMessage:
        return None
