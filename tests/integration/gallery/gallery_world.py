"""An installation with topics of its own on the session's Kafka: enrolment, readers, erasure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from pipeline.gallery.desk import Enrolment, EnrolmentDesk
from pipeline.gallery.erasure import Erasure, HotEraser
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.journal import Journal
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gallery.reader import GalleryReader, Listener
from pipeline.gallery.snapshot import Snapshots
from pipeline.gallery.templates import TemplateFacts, seal_template
from pipeline.keys.keyring import Keyring
from pipeline.ports import Vector
from pipeline.runtime.producer import make_producer
from pipeline.settings import Kafka
from schemas.events import ConsentRecord, GalleryTemplate
from schemas.ids import derived_id
from tests.stack import create_topics, unique

MODEL = "a" * 64
DIMENSION = 64
CONSENT = ConsentRecord(text_version="2026-01", purposes=("face_payment",))
MAX_AGE_US = 3_600_000_000


def now_us() -> int:
    return time.time_ns() // 1000


def faces(count: int, seed: int = 1) -> Vector:
    raw = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    vectors: Vector = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    return vectors


class Place:
    """One installation."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.kafka = Kafka(bootstrap=bootstrap)
        self.folder = folder
        self.keyring = Keyring.create(folder / "keys")
        self.data_keys = open_data_keys(self.keyring)
        self.gallery, self.payers, self.journal_topic = unique("gallery"), unique("payers"), unique("journal")
        # Of these young topics nothing would be compacted: one call makes all three.
        create_topics(bootstrap, {self.gallery: 3, self.payers: 3, self.journal_topic: 2})
        self.producer: Producer = make_producer(self.kafka)
        self.journal = Journal(self.kafka, "ann", now_us, topic=self.journal_topic)
        self.readers: list[GalleryReader] = []

    def desk(self) -> EnrolmentDesk:
        return EnrolmentDesk(
            self.kafka, self.keyring, self.data_keys, self.journal, now_us,
            producer=self.producer, gallery_topic=self.gallery, payers_topic=self.payers,
        )  # fmt: skip

    def enrol(
        self,
        payer: str,
        vectors: Vector,
        pin: str | None = "1357",
        *,
        facts: TemplateFacts = TemplateFacts(),  # noqa: B008 - frozen
        lookalike: bool = False,
        consent: ConsentRecord = CONSENT,
    ) -> list[str]:
        return self.desk().enrol(
            Enrolment(
                payer_id=payer, vectors=list(vectors), model_sha256=MODEL, consent=consent, pin=pin, facts=facts,
                lookalike=lookalike,
            )
        )  # fmt: skip

    def erasure(self, *, hot: HotEraser | None = None, wait_s: float = 20) -> Erasure:
        return Erasure(
            self.kafka, self.data_keys, self.journal, now_us, hot=hot, snapshots=self.folder / "snapshots",
            producer=self.producer, gallery_topic=self.gallery, payers_topic=self.payers, wait_s=wait_s,
        )  # fmt: skip

    def deeds(self, payer: str) -> list[str]:
        return [noted.entry.what for noted in self.journal.chain(payer)]

    def write(self, key: str, value: bytes | None) -> None:
        self.producer.produce(self.gallery, value, key=key)
        assert self.producer.flush(10) == 0

    def snapshots(self, name: str = "shop-0", *, max_age_us: int = MAX_AGE_US) -> Snapshots:
        return Snapshots(self.folder / "snapshots", name, self.data_keys, now_us, max_age_us=max_age_us)

    def reader(
        self,
        model: str = MODEL,
        dimension: int = DIMENSION,
        *,
        listeners: Sequence[Listener] = (),
        snapshots: Snapshots | None = None,
        report_as: str | None = None,
    ) -> GalleryReader:
        reader = GalleryReader(
            self.kafka, self.keyring, ExactIndex(dimension), model, self.data_keys, topic=self.gallery,
            listeners=listeners, snapshots=snapshots, report_as=report_as,
        )  # fmt: skip
        self.readers.append(reader)
        reader.start()
        assert reader.wait_ready(20)
        return reader

    def template(self, vector: Vector, payer: str = derived_id("someone")) -> GalleryTemplate:
        return seal_template(self.keyring, self.data_keys, payer_id=payer, vector=vector, model_sha256=MODEL, now_us=7)

    def close(self) -> None:
        for reader in self.readers:
            reader.stop()
        self.journal.close()
        self.data_keys.close()
