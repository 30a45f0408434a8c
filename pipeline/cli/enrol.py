"""`facepay enrol`: pictures of a payer to encrypted templates on the gallery's topic."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import KafkaUnavailable, UsageError

if TYPE_CHECKING:
    from pipeline.gallery.enrolment import Picture
    from pipeline.keys.keyring import Keyring
    from pipeline.ports import GallerySearch
    from pipeline.settings import Settings
    from pipeline.vision.engine import Engine


def enrol(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files of one person.", metavar="IMAGE...")],
    payer: Annotated[
        str | None, typer.Option(help="Id of a payer to add pictures to; default: a new payer.", metavar="UUID")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder of ONNX files; default: the setting vision.models.")
    ] = None,
    pin_file: Annotated[
        Path | None, typer.Option(help="A file of mode 0600 that holds the payer's PIN, 4 to 12 digits.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Enrol a payer: judge the pictures, seal their templates and the PIN, write them, wait for confirmation."""
    from pipeline.gallery.enrolment import EnrolmentRefused, check_not_enrolled, usable_vectors
    from pipeline.gallery.enrolment import enrol as write
    from pipeline.gateway.ids import uuid7
    from pipeline.keys.keyring import Keyring
    from pipeline.runtime.admin import identity
    from pipeline.runtime.producer import make_producer
    from pipeline.topics import GALLERY, PAYERS
    from pipeline.vision.engine import OnnxEngine
    from pipeline.vision.sessions import Execution
    from pipeline.vision.thresholds import quality_limits, thresholds

    settings = console.settings()
    payer_id = uuid7(time.time_ns() // 1000) if payer is None else _known(payer)
    pin = None if pin_file is None else _read_pin(pin_file)
    keyring = Keyring.open(settings.keys.directory)
    vision = settings.vision
    execution = Execution(gpu=vision.gpu, threads=vision.threads)
    engine = OnnxEngine.open(models or vision.models, execution, drawn=vision.drawn_models == "allowed")
    match = thresholds(vision, engine.thresholds).match
    pictures = _look(engine, images)
    try:
        vectors = usable_vectors(
            pictures, min_face_px=vision.min_face_px, min_cosine=match, limits=quality_limits(vision)
        )
        identity(settings.kafka, (GALLERY, PAYERS))
        with _gallery(settings, keyring, engine) as gallery:
            check_not_enrolled(gallery, payer_id, vectors, threshold=match)
    except EnrolmentRefused as refused:
        console.note(f"facepay: {refused}")
        console.finish({"payer_id": payer, "template_ids": [], "refused": refused.reason}, as_json=json, ok=False)
        return
    producer = make_producer(settings.kafka)
    template_ids = write(producer, keyring, payer_id, vectors, engine.embedder_sha256, pin, time.time_ns() // 1000)

    def show() -> None:
        console.out.print(f"payer {payer_id}: {len(template_ids)} template(s) enrolled", highlight=False)
        if pin is None:
            console.note("without a PIN this payer cannot confirm a payment that asks for one: see --pin-file")

    console.finish({"payer_id": payer_id, "template_ids": template_ids}, as_json=json, show=show)


def _known(payer: str) -> str:
    from schemas.events import UUID_PATTERN

    if not re.fullmatch(UUID_PATTERN, payer):
        raise UsageError(f"enrolling: {payer!r} is no payer id; pass the UUID that an earlier enrolment printed")
    return payer


def _read_pin(path: Path) -> str:
    from pipeline.keys import private_files

    return private_files.read(path, "the PIN file").decode("utf-8", errors="replace").strip()


def _look(engine: Engine, images: Sequence[Path]) -> list[Picture]:
    """The faces of each picture, as enrolment judges them."""
    from pipeline.gallery.enrolment import Picture, SeenFace
    from pipeline.vision.decode import read_image
    from pipeline.vision.thresholds import look

    silent = len(images) < 2 or not console.err.is_terminal
    pictures = []
    for path in track(images, "Looking for faces", console=console.err, disable=silent):
        faces = engine.faces([read_image(path)])[0]
        seen = [SeenFace(face.box.w, face.embedding, look(face), face.eyes_open) for face in faces]
        pictures.append(Picture(path.name, seen))
    return pictures


@contextmanager
def _gallery(settings: Settings, keyring: Keyring, engine: Engine) -> Iterator[GallerySearch]:
    """The enrolled gallery, read to its end; raises `KafkaUnavailable`."""
    from pipeline.gallery.index import ExactIndex
    from pipeline.gallery.reader import GalleryReader

    reader = GalleryReader(settings.kafka, keyring, ExactIndex(engine.dimension), engine.embedder_sha256)
    reader.start()
    try:
        timeout_s = settings.kafka.request_timeout_ms / 1000
        if not reader.wait_ready(timeout_s):
            raise KafkaUnavailable(
                f"enrolling: the topic gallery at {settings.kafka.bootstrap} could not be read to its end within "
                f"{timeout_s:.0f} s; check Kafka and try again"
            )
        yield reader
    finally:
        reader.stop()
