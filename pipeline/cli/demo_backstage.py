"""What the demo may not touch itself: topics, pictures to embeddings, enrolment, history and audit.

Pictures are looked at by `facepay embed` in a child process, so that the demo's own process needs no model and its
terminals and cameras are not held up.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import orjson

from loadtests.demo.backstage import Candidate, SeenBox
from loadtests.people.cast import Payer
from pipeline.audit.findings import Finding
from pipeline.audit.history import History
from pipeline.audit.invariants import examine
from pipeline.audit.loading import load
from pipeline.domain.fmr import Trials
from pipeline.errors import OutsideError, UsageError
from pipeline.gallery.desk import Enrolment, EnrolmentDesk
from pipeline.gallery.enrolment import EnrolmentRefused, Picture, SeenFace, usable_vectors
from pipeline.gallery.journal import Journal
from pipeline.gallery.protect.data_keys import open_data_keys
from pipeline.gallery.templates import TemplateFacts
from pipeline.gateway.ids import uuid7
from pipeline.keys.claims import last_four_tag, phone_tag
from pipeline.keys.keyring import Keyring
from pipeline.local import Supervised
from pipeline.runtime import admin
from pipeline.runtime.producer import make_producer
from pipeline.settings import Settings, Vision
from pipeline.vision.models import ModelStore
from pipeline.vision.thresholds import known_fmr, known_thresholds, thresholds
from schemas.events import ConsentRecord

_LOOKING_S = 120.0
_CONSENT = ConsentRecord(text_version="demo", purposes=("face_payment",))
"""The demo's people do not exist, and agree to everything."""


def now_us() -> int:
    """Microseconds UTC by this machine's clock."""
    return time.time_ns() // 1000


def fpir_for(models: Path, templates: int, *, drawn: bool) -> float:
    """The rate of false identifications (`vision.max_fpir`) at which what is known of the embedder in that folder
    supports so many templates, and hardly more. Raises `ModelError`, `UsageError`."""
    embedder = ModelStore.open(models, drawn=drawn).require("embedder")
    model = known_fmr(embedder.sha256)
    if model is None:
        raise UsageError(
            f"starting the demo with --digits: of the false matches of {embedder.name} nothing is known; leave it out"
        )
    vision = Vision()
    # A thousandth more: the rate per comparison must not fall below the least that is known by rounding.
    return model.least * Trials(frames=vision.patience, attempts=vision.max_attempts).comparisons(templates) * 1.001


@dataclass(frozen=True, slots=True)
class _Face:
    """A face in the answer of `facepay embed --json`, as far as it is needed here."""

    box: tuple[float, float, float, float]
    detection: float
    embedding: list[float]


@dataclass(frozen=True, slots=True)
class _Image:
    """A picture in that answer."""

    faces: list[_Face]


@dataclass(frozen=True, slots=True)
class _Looked:
    """That answer."""

    images: list[_Image]
    model_sha256: str


class CommandLineBackstage:
    """`loadtests.demo.backstage.Backstage` on this installation."""

    def __init__(self, models: Path, folder: Path, *, drawn: bool) -> None:
        """`folder` takes logs and pictures for a while; `drawn`: the models may be those of drawn people."""
        self._models = models
        self._drawn = drawn
        self._folder = folder
        self._looking: Supervised | None = None
        self._candidates: Sequence[Candidate] = ()

    def new_ids(self, count: int) -> list[str]:
        """See `Backstage`."""
        start_us = now_us()
        return [uuid7(start_us + number) for number in range(count)]

    def look_at(self, candidates: Sequence[Candidate]) -> None:
        """See `Backstage`."""
        self._candidates = candidates
        self._looking = self._embed("enrolment", [candidate.photograph for candidate in candidates])

    def apply_topics(self, settings: Settings) -> None:
        """See `Backstage`."""
        admin.apply(settings.kafka)

    def enrol(self, settings: Settings, payers: Sequence[Payer]) -> Generator[Payer]:
        """See `Backstage`."""
        if self._looking is None:
            raise OutsideError("enrolling the demo's payers: nobody has looked at their photographs")
        # The picture is judged by what the agents' own engine saw in it.
        looked = self._looked(self._looking)
        ids = (candidate.payer_id for candidate in self._candidates)
        faces = {payer_id: _seen(image) for payer_id, image in zip(ids, looked.images, strict=True)}
        keyring = Keyring.open(settings.keys.directory)
        data_keys = open_data_keys(keyring, settings.gallery.data_keys_url)
        journal = Journal(settings.kafka, "demo", now_us)
        producer = make_producer(settings.kafka, linger_ms=0, log_level=3)
        desk = EnrolmentDesk(settings.kafka, keyring, data_keys, journal, now_us, producer=producer)
        vision = settings.vision
        match = thresholds(vision, known_thresholds(looked.model_sha256)).match

        def one(payer: Payer) -> Payer | None:
            picture = Picture(payer.label, faces[payer.payer_id])
            try:
                vectors = usable_vectors([picture], min_face_px=vision.min_face_px, min_cosine=match)
            except EnrolmentRefused:
                return None
            desk.enrol(
                Enrolment(
                    payer_id=payer.payer_id,
                    vectors=vectors,
                    model_sha256=looked.model_sha256,
                    consent=_CONSENT,
                    pin=payer.pin,
                    facts=TemplateFacts(phone_tag(keyring, payer.phone), last_four_tag(keyring, payer.phone)),
                )
            )
            return payer

        # Stretching a PIN takes a tenth of a second and releases the interpreter: all cores help.
        pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 2)
        try:
            yield from (payer for payer in pool.map(one, payers) if payer is not None)
        finally:
            pool.shutdown(cancel_futures=True)
            journal.close()
            data_keys.close()

    def history(self, settings: Settings, outages_us: Sequence[tuple[int, int]]) -> History:
        """See `Backstage`."""
        return load(settings, now_us, outages_us=tuple(outages_us))

    def examine(self, history: History) -> Mapping[str, Finding]:
        """See `Backstage`."""
        return examine(history)

    def boxes(self, pictures: Sequence[bytes]) -> list[list[SeenBox]]:
        """See `Backstage`."""
        if not pictures:
            return []
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            paths = [Path(folder) / f"{number:04d}.jpg" for number in range(len(pictures))]
            for path, picture in zip(paths, pictures, strict=True):
                path.write_bytes(picture)
            images = self._looked(self._embed("report", paths)).images
        return [[SeenBox(*face.box, detection=face.detection) for face in image.faces] for image in images]

    def close(self) -> None:
        """See `Backstage`."""
        if self._looking is not None:
            self._looking.stop()

    def _embed(self, name: str, pictures: Sequence[Path]) -> Supervised:
        log = self._folder / f"embed-{name}.log"
        argv = [sys.executable, "-m", "pipeline.cli", "embed", *map(str, pictures), "--json"]
        env = {**os.environ, "FACEPAY_VISION__MODELS": str(self._models.absolute())}
        drawn = ["--drawn"] if self._drawn else []
        process = Supervised(f"embed ({name})", [*argv, "--models", str(self._models.absolute()), *drawn], env, log)
        process.start()
        return process

    def _looked(self, process: Supervised) -> _Looked:
        code = process.wait(_LOOKING_S)
        if code != 0:
            said = (process.log_lines() or ["nothing"])[-1]
            process.stop()
            raise OutsideError(f"looking at the portraits: `facepay embed` ended with {code} and said: {said[:400]}")
        return msgspec.convert(orjson.loads(process.log_path.read_bytes().splitlines()[-1]), _Looked)


def _seen(image: _Image) -> list[SeenFace]:
    return [SeenFace(face.box[2], np.asarray(face.embedding, np.float32)) for face in image.faces]
