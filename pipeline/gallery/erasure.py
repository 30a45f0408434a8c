"""Erasing a payer: everywhere, proved place by place, and safe to do again.

What ends it comes first. The payer's data key is destroyed: from then on no copy of the templates, on whichever log or
backup, can be opened, and none can be written. Then one tombstone with the payer's id: every mirror (an embedding
agent) drops all that it has of the payer when it reads it. Then the hot tier and the profile with the PIN, the
templates' own tombstones, and the snapshots. After that each place is looked at until it is empty or its time is over.

Every step can be done again and none rests on another having been seen: a process that died anywhere is finished by
the next. Running mirrors are found by what they report (`mirrors`). A snapshot of an agent that runs is rewritten by
it, within `keeping.REMOVED_S` and the time that writing takes; that of an agent which does not run loses its key.

What stays is not template data: receipts and the ledger name the payer's id, as does the journal.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from confluent_kafka import Producer

from pipeline.domain.lanes import lane_of
from pipeline.errors import FacepayError
from pipeline.gallery.journal import Deed, Journal
from pipeline.gallery.mirrors import Kept, Standing, standings
from pipeline.gallery.records import PayersTemplates, write
from pipeline.gallery.snapshot import SUFFIX, header_of, owner_of
from pipeline.ports import Clock, DataKeys
from pipeline.runtime.producer import make_producer
from pipeline.runtime.reader import partitions_of, read_topic
from pipeline.settings import Kafka
from pipeline.topics import GALLERY, PAYERS
from schemas.events import JournalEntry

WAIT_S = 60.0
"""How long a mirror or a snapshot may take before it counts as not empty."""
_LOOK_S = 0.1
_ROUNDS = 5
_ATTEMPT = "erasing"


class HotEraser(Protocol):
    """The hot tier, as an erasure sees it (`gallery.hot`)."""

    def erase(self, payer_id: str) -> int:
        """Removes the payer, and keeps anybody from putting an older state back. Raises `RedisUnavailable`."""
        ...

    def holds(self, payer_id: str) -> bool:
        """Whether anything of the payer is there. Raises `RedisUnavailable`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place that held something of the payer: whether it is gone, after how many seconds, and what to do if not."""

    name: str
    gone: bool
    seconds: float
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure did. `known`: whether anything had ever been known of this payer."""

    places: Sequence[Place]
    templates: int
    known: bool

    @property
    def complete(self) -> bool:
        """Whether every place is empty."""
        return all(place.gone for place in self.places)


class Erasure:
    """Erases payers of one installation."""

    def __init__(
        self,
        kafka: Kafka,
        data_keys: DataKeys,
        journal: Journal,
        clock: Clock,
        *,
        hot: HotEraser | None,
        snapshots: Path | None = None,
        producer: Producer | None = None,
        gallery_topic: str = GALLERY,
        payers_topic: str = PAYERS,
        wait_s: float = WAIT_S,
    ) -> None:
        """`hot` is None where the installation has no hot tier; `snapshots` is the folder of this host's snapshots."""
        self._kafka = kafka
        self._data_keys = data_keys
        self._journal = journal
        self._clock = clock
        self._hot = hot
        self._snapshots = snapshots
        self._producer = producer or make_producer(kafka)
        self._gallery = gallery_topic
        self._payers = payers_topic
        self._wait_s = wait_s
        self._began = 0.0
        self._places: list[Place] = []

    def erase(self, payer_id: str, *, withdrawn: bool = False) -> Erased:
        """Erases a payer, and notes it in the journal when every place is empty; `withdrawn`: because the payer
        withdrew the consent. Idempotent. Raises `KafkaUnavailable` or `OutsideError` where a step could not be done:
        then do it again."""
        self._began, self._places = time.monotonic(), []
        if withdrawn:
            self._journal.append(payer_id, _withdraws)
        keys = self._data_keys.destroy(payer_id)
        self._place("data key", gone=not self._data_keys.of_payer(payer_id))
        behind = write(self._producer, self._gallery, [(payer_id, None)], attempt=_ATTEMPT)
        self._hot_tier(payer_id)
        write(self._producer, self._payers, [(payer_id, None)], attempt=_ATTEMPT)
        profile = self._profile_lives(payer_id)
        self._place("topic payers", gone=not profile, remedy="erase again")
        templates, buried = self._bury(payer_id)
        for partition, offset in buried.items():
            behind[partition] = max(behind.get(partition, 0), offset)
        self._mirrors(behind)
        self._files(behind)
        erased = Erased(places=tuple(self._places), templates=len(templates), known=bool(templates or keys))
        if erased.complete:
            chain = self._journal.append(payer_id, lambda chain: _erases(chain, erased)) or self._journal.chain(
                payer_id
            )
            erased = Erased(places=erased.places, templates=erased.templates, known=erased.known or bool(chain))
        return erased

    def _place(self, name: str, *, gone: bool, remedy: str = "") -> None:
        seconds = round(time.monotonic() - self._began, 3)
        self._places.append(Place(name=name, gone=gone, seconds=seconds, remedy="" if gone else remedy))

    def _hot_tier(self, payer_id: str) -> None:
        if self._hot is None:
            return
        gone = False
        for _ in range(_ROUNDS):
            try:
                self._hot.erase(payer_id)
                gone = not self._hot.holds(payer_id)
            except FacepayError:
                gone = False
            if gone:
                break
        self._place("hot tier", gone=gone, remedy="see that Redis runs and answers, and erase again")

    def _profile_lives(self, payer_id: str) -> bool:
        number = lane_of(payer_id.encode(), partitions_of(self._kafka, self._payers))
        last = None
        for message in read_topic(self._kafka, self._payers, read_committed=False, partition=number):
            if message.key == payer_id.encode():
                last = message.value
        return last is not None

    def _bury(self, payer_id: str) -> tuple[set[str], dict[int, int]]:
        """Tombstones until the topic, read to its end, has nothing alive; the templates there were, and the offsets
        behind the tombstones."""
        templates = PayersTemplates(self._kafka, self._gallery, [payer_id])
        behind: dict[int, int] = {}
        for _ in range(_ROUNDS):
            living = templates.update()
            if not living:
                break
            wrote = write(self._producer, self._gallery, [(name, None) for name in living], attempt=_ATTEMPT)
            behind.update({partition: max(behind.get(partition, 0), offset) for partition, offset in wrote.items()})
        self._place(
            "topic gallery", gone=not templates.found, remedy="somebody goes on writing this payer's templates: stop it"
        )
        return templates.ever, behind

    def _mirrors(self, behind: Mapping[int, int]) -> None:
        """Waits for every mirror that runs, and for every snapshot."""
        done: set[str] = set()
        deadline = time.monotonic() + self._wait_s
        while True:
            late = time.monotonic() >= deadline
            waiting = 0
            for standing in standings(self._kafka, self._gallery):
                waiting += self._mirror(standing, behind, done, late=late)
                waiting += self._snapshot(standing, behind, done, late=late)
            if late or not waiting:
                return
            time.sleep(_LOOK_S)

    def _mirror(self, standing: Standing, behind: Mapping[int, int], done: set[str], *, late: bool) -> int:
        """Notes a mirror when it is past the tombstones; 1 if that must be waited for."""
        name = f"mirror {standing.name}"
        if name in done or not standing.alive(self._clock()):
            return 0
        gone = _past(standing.offsets, behind)
        if gone or late:
            done.add(name)
            self._place(name, gone=gone, remedy="this agent does not read the gallery: look at its log, or stop it")
        return int(not gone)

    def _snapshot(self, standing: Standing, behind: Mapping[int, int], done: set[str], *, late: bool) -> int:
        name = f"snapshot {standing.name}"
        if name in done or standing.snapshot is None:
            return 0
        gone = _past(standing.snapshot.offsets, behind) or self._shredded(standing.snapshot)
        if not gone and not standing.alive(self._clock()):
            # Nobody rewrites it now: without its key it is nothing, and its agent reads the topic when it starts.
            self._data_keys.destroy(owner_of(standing.snapshot.token))
            gone = self._shredded(standing.snapshot)
        if gone or late:
            done.add(name)
            self._place(name, gone=gone, remedy="this agent does not rewrite its snapshot: look at its log, or stop it")
        return int(not gone)

    def _files(self, behind: Mapping[int, int]) -> None:
        """Snapshots on this host that no agent has reported lately."""
        noted = {place.name for place in self._places}
        for path in [] if self._snapshots is None else sorted(self._snapshots.glob(f"*{SUFFIX}")):
            name = f"snapshot {path.name.removesuffix(SUFFIX)}"
            if name in noted or (header := header_of(path)) is None:
                continue
            kept = Kept(offsets=header.offsets, token=header.token)
            if not _past(kept.offsets, behind):
                self._data_keys.destroy(owner_of(kept.token))
            self._place(name, gone=_past(kept.offsets, behind) or self._shredded(kept), remedy=f"remove {path}")

    def _shredded(self, snapshot: Kept) -> bool:
        return not self._data_keys.of_payer(owner_of(snapshot.token))


def _past(offsets: Mapping[int, int], behind: Mapping[int, int]) -> bool:
    return all(offsets.get(partition, 0) >= offset for partition, offset in behind.items())


def _withdraws(chain: Sequence[JournalEntry]) -> list[Deed]:
    return [Deed(what="consent_withdrawn")] if chain else []


def _erases(chain: Sequence[JournalEntry], erased: Erased) -> list[Deed]:
    """Nothing is noted of an id that nothing was ever known of."""
    return [Deed(what="erased", templates=erased.templates)] if chain or erased.known else []
