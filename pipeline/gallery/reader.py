"""The gallery of a process: the compacted topic `gallery`, read from a snapshot or its beginning and followed, in an
index.

A record is either a template or, with a null value, a tombstone: of the template that its key names, or of everything
of the payer that its key names (an erasure begins with that one, because it needs no search for the templates). What
cannot be matched is refused with a reason, counted, and never searched: a template of another embedding model (its
cosines would mean nothing), one whose payer's data key was destroyed, one that is no embedding. A refused record also
takes out an older template of its key, as compaction would: a process that starts later must see the same gallery.

Everything in the index is in one space, that of the keyring's gallery version at the start; templates of an older
version are turned into it. Records are opened some hundred at a time. Listeners hear of each change after the index
has it, in the reader's thread; what they remember beside it can have a section in the snapshot.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import structlog

from pipeline import metrics
from pipeline.errors import InvalidMessage, OutsideError
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.keeping import Keeper, Section
from pipeline.gallery.mirrors import Reports
from pipeline.gallery.protect.transform import Transform
from pipeline.gallery.snapshot import Binding, Snapshots
from pipeline.gallery.templates import OpenedTemplate, open_templates
from pipeline.keys.keyring import Keyring
from pipeline.ports import Clock, DataKeys, InMessage, Match, Vector
from pipeline.runtime.admin import identity
from pipeline.runtime.health import Health
from pipeline.runtime.reader import Place, TopicReader
from pipeline.settings import Kafka
from pipeline.topics import GALLERY
from schemas.codec import decode
from schemas.events import GalleryTemplate

log = structlog.get_logger(__name__)

_SAY_S = 5.0
"""Between two log lines about the progress of a long start."""


@runtime_checkable
class Listener(Protocol):
    """Who else remembers something of each template (the hot tier, the directory of claims)."""

    def put(self, opened: OpenedTemplate) -> None:
        """A template is in the index, or was replaced."""
        ...

    def removed(self, template_id: str, payer_id: str) -> None:
        """A template is not in the index any more."""
        ...


def _now_us() -> int:
    return time.time_ns() // 1000


class GalleryReader:
    """`ports.GallerySearch` over the enrolled gallery; `start` it, and search once it is `ready`."""

    def __init__(
        self,
        kafka: Kafka,
        keyring: Keyring,
        index: ExactIndex,
        model_sha256: str,
        data_keys: DataKeys,
        *,
        listeners: Sequence[Listener] = (),
        topic: str = GALLERY,
        snapshots: Snapshots | None = None,
        snapshot_interval_s: float = 3_600,
        report_as: str | None = None,
        health: Health | None = None,
        clock: Clock = _now_us,
    ) -> None:
        """`report_as`: the name under which an erasure finds this process (`mirrors`); it must keep it over restarts.
        With `snapshots`, one is read at the start and kept up to date while this process holds its lock."""
        self.space = Transform.of(keyring, keyring.gallery_version, index.dimension)
        self._kafka = kafka
        self._keyring = keyring
        self._data_keys = data_keys
        self._index = index
        self._model_sha256 = model_sha256
        self._listeners = tuple(listeners)
        self._topic = topic
        self._refused: Counter[str] = Counter()
        self._health = health
        self._binding: Binding | None = None
        self._positions: dict[int, int] = {}
        self._starts: Mapping[int, int] = {}
        self._ends: Mapping[int, int] = {}
        self._began = self._said = time.monotonic()
        self._reports = None if report_as is None else Reports(kafka, topic, report_as, clock)
        sections = [listener for listener in self._listeners if isinstance(listener, Section)]
        self._keeper: Keeper | None = None
        if snapshots is not None:
            self._keeper = Keeper(
                snapshots,
                index,
                sections,
                clock,
                interval_s=snapshot_interval_s,
                kept=self._reports.kept if self._reports is not None else None,
            )
        self._reader = TopicReader(
            kafka,
            [topic],
            self.apply,
            name="gallery",
            on_batch=self.apply_all,
            on_turn=self._turn,
            resume=self._resume,
        )
        if health is not None:
            health.set_ready("gallery", ok=False, why="the gallery is not read yet")

    def start(self) -> None:
        """Begins to read in a thread of its own."""
        self._reader.start()
        if self._reports is not None:
            self._reports.start()

    def stop(self) -> None:
        """Ends reading; what was read stays searchable."""
        self._reader.stop()
        if self._keeper is not None:
            self._keeper.stop()
        if self._reports is not None:
            self._reports.stop()

    def wait_ready(self, timeout_s: float) -> bool:
        """Waits until the gallery was read to its end; False if that took longer."""
        return self._reader.wait_caught_up(timeout_s)

    def wait_past(self, offsets: Mapping[int, int], timeout_s: float) -> bool:
        """Waits until every record before `offsets` (by partition) was applied; False if that took longer."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if all(self.positions.get(partition, 0) >= offset for partition, offset in offsets.items()):
                return True
            time.sleep(0.005)
        return False

    @property
    def ready(self) -> bool:
        """Whether the gallery was read up to its end once."""
        return self._reader.caught_up

    @property
    def size(self) -> int:
        """Number of templates searched."""
        return self._index.size

    @property
    def share(self) -> float:
        """Which part of what was there at the start has been read, 0 to 1."""
        if self.ready:
            return 1.0
        there = sum(end - self._starts.get(p, 0) for p, end in self._ends.items())
        read = sum(self._positions.get(p, 0) - self._starts.get(p, 0) for p in self._ends)
        return min(1.0, read / there) if there else 0.0

    @property
    def starts(self) -> Mapping[int, int]:
        """By partition, where reading began: behind the snapshot, or empty."""
        return dict(self._starts)

    @property
    def positions(self) -> Mapping[int, int]:
        """By partition, the first record that was not applied yet."""
        return {partition: offset for (_, partition), offset in self._reader.positions.items()}

    @property
    def refused(self) -> Mapping[str, int]:
        """How many records were refused, by reason."""
        return dict(self._refused)

    def search(self, probes: Vector) -> Sequence[Match | None]:
        """Exact search for `probes`, float32 (n, d), as the engine made them; see `ExactIndex.search`."""
        return self._index.search(self.space.apply(probes))

    def apply(self, message: InMessage) -> None:
        """Takes over one record; raises `InvalidMessage` for one that is refused."""
        refused = self._apply([message])
        if refused:
            raise refused[0]

    def apply_all(self, messages: Sequence[InMessage]) -> None:
        """Takes over the records of one fetch. Of several of one key only the last counts, as after compaction."""
        self._apply(messages)

    def _apply(self, messages: Sequence[InMessage]) -> list[InvalidMessage]:
        newest = {message.key or b"": message for message in messages}
        values: dict[str, bytes] = {}
        removed = False
        for key, message in newest.items():
            name = key.decode("utf-8", errors="replace")
            if message.value is None:
                removed |= self._bury(name)
            else:
                values[name] = message.value
        refusals = self._take(values) if values else []
        for message in messages:
            self._positions[message.partition] = message.offset + 1
        metrics.GALLERY.set(self._index.size)
        if self._keeper is not None:
            self._keeper.changed(removed=removed)
        if self._reports is not None:
            self._reports.applied(dict(self._positions), soon=removed)
        return refusals

    def _take(self, values: Mapping[str, bytes]) -> list[InvalidMessage]:
        templates: list[GalleryTemplate] = []
        refused: list[tuple[str, InvalidMessage]] = []
        for key, value in values.items():
            try:
                templates.append(self._decoded(key, value))
            except InvalidMessage as error:
                refused.append((key, error))
        opened = open_templates(self._keyring, self._data_keys, templates, space=self.space) if templates else []
        good: list[OpenedTemplate] = []
        for template, answer in zip(templates, opened, strict=True):
            if isinstance(answer, InvalidMessage):
                refused.append((template.template_id, answer))
            else:
                good.append(answer)
        for key, why in refused:
            self._remove(key)
            metrics.REJECTS.labels("gallery", why.reason).inc()
        if refused:
            counted = Counter(why.reason for _, why in refused)
            self._refused += counted
            log.warning("gallery_refuses_templates", **counted)
        self._put(good)
        return [why for _, why in refused]

    def _decoded(self, key: str, value: bytes) -> GalleryTemplate:
        template = decode(value, GalleryTemplate)
        if template.template_id != key:
            raise InvalidMessage("wrong_key", "the record's key is not its template: no tombstone could remove it")
        if template.model_sha256 != self._model_sha256:
            raise InvalidMessage("another_model", "the template belongs to another embedding model")
        return template

    def _put(self, opened: Sequence[OpenedTemplate]) -> None:
        if not opened:
            return
        self._index.put_many(
            [each.template_id for each in opened],
            [each.payer_id for each in opened],
            np.stack([each.vector for each in opened]),
            np.array([each.lookalike for each in opened], np.bool_),
        )
        for each in opened:
            for listener in self._listeners:
                listener.put(each)

    def _bury(self, name: str) -> bool:
        """A tombstone: of a template, or of a payer."""
        if self._remove(name):
            return True
        templates = [template_id for template_id, _ in self._index.templates_of(name)]
        for template_id in templates:
            self._remove(template_id)
        return bool(templates)

    def _remove(self, template_id: str) -> bool:
        payer_id = self._index.payer_of(template_id)
        if payer_id is None:
            return False
        self._index.remove(template_id)
        for listener in self._listeners:
            listener.removed(template_id, payer_id)
        return True

    def _resume(self, ends: Mapping[Place, int]) -> Mapping[Place, int]:
        """Where to go on, each time that reading begins; the first time, that is behind the snapshot."""
        found = identity(self._kafka, [self._topic])
        binding = Binding(
            model_sha256=self._model_sha256,
            key_version=self.space.version,
            dimension=self._index.dimension,
            cluster_id=found.cluster_id,
            topic=self._topic,
            topic_id=found.topic_ids[self._topic],
        )
        by_partition = {partition: end for (_, partition), end in ends.items()}
        if self._binding is None:
            if self._keeper is not None:
                self._positions = dict(self._keeper.begin(binding, by_partition))
            self._binding, self._starts, self._ends = binding, dict(self._positions), by_partition
        elif binding != self._binding or any(self._positions.get(p, 0) > end for p, end in by_partition.items()):
            raise OutsideError(
                f"following the topic {self._topic}: it is another one than before, or has lost records; what was read "
                "of it is void, so that this process ends and reads it again"
            )
        return {(self._topic, partition): offset for partition, offset in self._positions.items()}

    def _turn(self) -> None:
        if self.ready:
            # The ends count even where no record was left to read.
            self._positions.update(self.positions)
        self._say()
        if self._reports is not None:
            self._reports.applied(dict(self._positions), soon=False)
        if self._keeper is not None and self._binding is not None and self.ready:
            self._keeper.turn(self._binding, self._positions)

    def _say(self) -> None:
        share, now = self.share, time.monotonic()
        metrics.GALLERY_READ.set(share)
        if self.ready:
            if self._said < float("inf"):
                self._said = float("inf")
                log.info("gallery_read", templates=self.size, seconds=round(now - self._began, 1))
                if self._health is not None:
                    self._health.set_ready("gallery", ok=True)
        elif now - self._said >= _SAY_S:
            self._said = now
            log.info("gallery_reading", share=round(share, 3), templates=self.size)
            if self._health is not None:
                self._health.set_ready("gallery", ok=False, why=f"{share:.0%} of the gallery was read")
