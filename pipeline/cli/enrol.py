"""`facepay enrol`: pictures of a payer who consented, to sealed templates on the gallery's topic."""

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
    from pipeline.gallery.index import ExactIndex
    from pipeline.gallery.reader import GalleryReader
    from pipeline.gallery.templates import TemplateFacts
    from pipeline.keys.keyring import Keyring
    from pipeline.ports import DataKeys
    from pipeline.settings import Settings
    from pipeline.vision.engine import Engine
    from schemas.events import ConsentRecord

MAX_CONSENT_BYTES = 1024 * 1024
OperatorOption = Annotated[
    str | None, typer.Option(help="Who does this, for the journal; default: the setting gallery.operator.")
]


def enrol(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files of one person.", metavar="IMAGE...")],
    consent: Annotated[
        str | None,
        typer.Option(help="The text that the payer agreed to: its file, or the name of its version.", metavar="TEXT"),
    ] = None,
    purpose: Annotated[
        list[str] | None, typer.Option(help="What the payer agreed to; default: face_payment. May be repeated.")
    ] = None,
    payer: Annotated[
        str | None, typer.Option(help="Id of a payer to add pictures to; default: a new payer.", metavar="UUID")
    ] = None,
    twin_of: Annotated[
        list[str] | None,
        typer.Option(help="Id of a payer who is known to look the same. May be repeated.", metavar="UUID"),
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder of ONNX files; default: the setting vision.models.")
    ] = None,
    pin_file: Annotated[
        Path | None, typer.Option(help="A file of mode 0600 that holds the payer's PIN, 4 to 12 digits.")
    ] = None,
    phone_file: Annotated[
        Path | None, typer.Option(help="A file of mode 0600 that holds the payer's telephone number, +COUNTRY...")
    ] = None,
    operator: OperatorOption = None,
    json: JsonFlag = False,
) -> None:
    """Enrol a payer: judge the pictures, look for the same face, seal the templates, write them with the consent."""
    import numpy as np

    from pipeline.gallery.desk import Enrolment, EnrolmentDesk
    from pipeline.gallery.enrolment import EnrolmentRefused, lookalikes, similar, usable_vectors
    from pipeline.gallery.journal import Journal
    from pipeline.gateway.ids import uuid7
    from pipeline.keys.keyring import Keyring
    from pipeline.runtime.reader import ends_of
    from pipeline.topics import GALLERY
    from pipeline.vision.engine import OnnxEngine
    from pipeline.vision.sessions import Execution
    from pipeline.vision.thresholds import quality_limits, thresholds

    settings = console.settings()
    warnings_only(settings, "enrol")
    agreed = _consent(consent, purpose or ["face_payment"])
    payer_id = uuid7(_now_us()) if payer is None else known_payer(payer, "enrolling")
    twins = [known_payer(twin, "enrolling") for twin in twin_of or ()]
    pin = None if pin_file is None else _read_private(pin_file, "the PIN file")
    keyring = Keyring.open(settings.keys.directory)
    facts = _facts(keyring, phone_file)
    vision = settings.vision
    execution = Execution(gpu=vision.gpu, threads=vision.threads)
    engine = OnnxEngine.open(models or vision.models, execution, pad=vision.pad, drawn=vision.drawn_models == "allowed")
    match = thresholds(vision, engine.thresholds).match
    least = match - settings.gallery.lookalike_distance
    pictures = _look(engine, images)
    if vision.pad == "report_only":
        _report_liveness(pictures, engine.live_threshold)
    who = operator_named(settings, operator)
    with (
        Journal(settings.kafka, who, _now_us) as journal,
        _gallery(settings, keyring, engine) as (reader, index, data_keys),
    ):
        desk = EnrolmentDesk(settings.kafka, keyring, data_keys, journal, _now_us)
        try:
            vectors = usable_vectors(
                pictures,
                min_face_px=vision.min_face_px,
                min_cosine=match,
                limits=quality_limits(vision),
                min_live=_least_live(engine) if vision.pad == "required" else None,
            )
            missing = [twin for twin in twins if not index.templates_of(twin)]
            if missing:
                raise EnrolmentRefused("no_such_twin", f"enrolling: no payer {missing[0]} is enrolled; check --twin-of")
            probes = reader.space.apply(np.stack(vectors))
            found = similar(index, payer_id, probes, least=least)
            alike = lookalikes(found, match=match, twins=twins)
            desk.flag(alike | {payer_id} if alike else ())
            ids = desk.enrol(
                Enrolment(
                    payer_id=payer_id,
                    vectors=vectors,
                    model_sha256=engine.embedder_sha256,
                    consent=agreed,
                    pin=pin,
                    facts=facts,
                    lookalike=bool(alike) or found.flagged,
                )
            )
        except EnrolmentRefused as refused:
            console.note(f"facepay: {refused}")
            console.finish({"payer_id": payer, "template_ids": [], "refused": refused.reason}, as_json=json, ok=False)
            return
        # Whoever was enrolled at the same moment did not see this payer either: one of the two looks last.
        if reader.wait_past(ends_of(settings.kafka, GALLERY), _timeout_s(settings)):
            late = similar(index, payer_id, probes, least=least).others.keys() - alike
            desk.flag(late | {payer_id} if late else ())
            alike |= late

    def show() -> None:
        console.out.print(f"payer {payer_id}: {len(ids)} template(s) enrolled", highlight=False)
        if alike:
            console.note("this payer looks like another one: both will be asked for their PIN")
        if pin is None:
            console.note("without a PIN this payer cannot confirm a payment that asks for one: see --pin-file")

    console.finish({"payer_id": payer_id, "template_ids": ids, "lookalikes": len(alike)}, as_json=json, show=show)


def warnings_only(settings: Settings, command: str) -> None:
    """The command's parts speak up only when something is wrong, on standard error; standard output is the answer's."""
    from pipeline.runtime import logs

    logs.configure(settings.log.model_copy(update={"level": "warning"}), command)


def known_payer(payer: str, attempt: str) -> str:
    """`payer` if it is a payer's id; raises `UsageError`."""
    from schemas.events import UUID_PATTERN

    if not re.fullmatch(UUID_PATTERN, payer):
        raise UsageError(f"{attempt}: {payer!r} is no payer id; pass the UUID that an enrolment printed")
    return payer


def operator_named(settings: Settings, operator: str | None) -> str:
    """Who does it, for the journal; raises `UsageError` for what is no name."""
    who = operator or settings.gallery.operator
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", who):
        raise UsageError(f"naming the operator: {who!r} is no name; use letters, digits and . _ : - (at most 64)")
    return who


def _consent(text: str | None, purposes: Sequence[str]) -> ConsentRecord:
    """What the payer agreed to; raises `UsageError`."""
    from schemas.codec import sha256_hex
    from schemas.events import ConsentRecord

    if text is None:
        raise UsageError(
            "enrolling: nobody is enrolled without having agreed to it; pass --consent with the file of the text that "
            "the payer agreed to, or the name of its version"
        )
    for purpose in purposes:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", purpose):
            raise UsageError(f"enrolling: {purpose!r} is no purpose; use small letters, digits and _")
    path = Path(text)
    data = None
    if path.is_file():
        if path.stat().st_size > MAX_CONSENT_BYTES:
            raise UsageError(f"enrolling: {path} is larger than a text that a person agrees to; pass the right file")
        data, text = path.read_bytes(), path.stem
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", text):
        raise UsageError(
            f"enrolling: {text!r} is neither a file nor the name of a text's version (letters, digits and . _ : -, at "
            "most 64); check --consent"
        )
    return ConsentRecord(
        text_version=text, text_sha256=None if data is None else sha256_hex(data), purposes=tuple(purposes)
    )


def _facts(keyring: Keyring, phone_file: Path | None) -> TemplateFacts:
    from pipeline.gallery.templates import TemplateFacts
    from pipeline.keys.claims import last_four_tag, phone_tag

    if phone_file is None:
        return TemplateFacts()
    number = _read_private(phone_file, "the file of the telephone number")
    return TemplateFacts(phone_tag(keyring, number), last_four_tag(keyring, number))


def _read_private(path: Path, what: str) -> str:
    from pipeline.keys import private_files

    return private_files.read(path, what).decode("utf-8", errors="replace").strip()


def _look(engine: Engine, images: Sequence[Path]) -> list[Picture]:
    """The faces of each picture, as enrolment judges them."""
    from pipeline.gallery.enrolment import Picture, SeenFace
    from pipeline.vision.decode import read_image
    from pipeline.vision.liveness import FUSED
    from pipeline.vision.thresholds import look

    silent = len(images) < 2 or not console.err.is_terminal
    pictures = []
    for path in track(images, "Looking for faces", console=console.err, disable=silent):
        faces = engine.faces([read_image(path)])[0]
        seen = [
            SeenFace(face.box.w, face.embedding, look(face), face.eyes_open, (face.live or {}).get(FUSED))
            for face in faces
        ]
        pictures.append(Picture(path.name, seen))
    return pictures


def _least_live(engine: Engine) -> float:
    if engine.live_threshold is None:
        raise UsageError(
            "enrolling: vision.pad is required, but the models have no threshold for liveness; use models that have one"
        )
    return engine.live_threshold


def _report_liveness(pictures: Sequence[Picture], threshold: float | None) -> None:
    for picture in pictures:
        for face in picture.faces:
            if face.live is not None and threshold is not None and face.live < threshold:
                console.note(f"{picture.name} looks like a picture of a picture; vision.pad only reports it")


@contextmanager
def _gallery(
    settings: Settings, keyring: Keyring, engine: Engine
) -> Iterator[tuple[GalleryReader, ExactIndex, DataKeys]]:
    """The enrolled gallery, read to its end and followed; raises `KafkaUnavailable`."""
    from pipeline.gallery.index import ExactIndex
    from pipeline.gallery.mirrors import mirror_name
    from pipeline.gallery.protect.data_keys import open_data_keys
    from pipeline.gallery.reader import GalleryReader
    from pipeline.gallery.snapshot import Snapshots
    from pipeline.runtime.admin import identity
    from pipeline.topics import GALLERY, JOURNAL, PAYERS

    identity(settings.kafka, (GALLERY, PAYERS, JOURNAL))
    data_keys = open_data_keys(keyring, settings.gallery.data_keys_url)
    index = ExactIndex(engine.dimension)
    # An agent of this host may have read most of it already.
    name = mirror_name(settings.agent.instance)
    snapshots = Snapshots.of(settings.gallery, name, data_keys, _now_us, read_only=True)
    reader = GalleryReader(settings.kafka, keyring, index, engine.embedder_sha256, data_keys, snapshots=snapshots)
    reader.start()
    try:
        _read_to_its_end(reader, settings)
        yield reader, index, data_keys
    finally:
        reader.stop()
        data_keys.close()


def _read_to_its_end(reader: GalleryReader, settings: Settings) -> None:
    """Waits for as long as the reading goes on."""
    share = -1.0
    while not reader.wait_ready(_timeout_s(settings)):
        if reader.share <= share or not reader.share:
            raise KafkaUnavailable(
                f"enrolling: the topic gallery at {settings.kafka.bootstrap} could not be read to its end: no record "
                f"came for {_timeout_s(settings):.0f} s; check Kafka and try again"
            )
        share = reader.share


def _timeout_s(settings: Settings) -> float:
    return settings.kafka.request_timeout_ms / 1000


def _now_us() -> int:
    return time.time_ns() // 1000
