"""`facepay embed`: what the engine sees in still images and clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from pipeline.cli import console
from pipeline.cli.console import JsonFlag
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.vision.decode import Image
    from pipeline.vision.engine import Engine
    from pipeline.vision.faces import Face

PICTURES = (".jpeg", ".jpg", ".png")
CLIPS = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


@dataclass(frozen=True, slots=True)
class Look:
    """One picture, or one frame of a clip: its faces, or why it could not be read."""

    file: Path
    faces: Sequence[Face] = ()
    error: str = ""
    frame: int | None = None
    at_ms: float | None = None


def embed(
    images: Annotated[
        list[Path], typer.Argument(help="JPEG or PNG files, clips, or folders of them.", metavar="IMAGE...")
    ],
    models: Annotated[
        Path | None, typer.Option(help="Folder of ONNX files; default: the setting vision.models.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Name of the embedding model; default: the preferred one.")
    ] = None,
    drawn: Annotated[
        bool, typer.Option("--drawn", help="Allow the models of people who do not exist, on drawn pictures.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Find the faces of still images: boxes, landmarks, quality, liveness, eyes and embeddings, largest face first.

    Every frame of a clip is a picture of its own, with its number and time. What cannot be read has an `error` in place
    of faces, the rest goes on, and the exit status is 3."""
    from pipeline.cli.evaluate import open_engine

    files = listed(images)
    # Liveness is asked of every model that is there, whatever the agents' setting: this is for looking.
    engine = open_engine(models, "report_only", embedder=embedder, drawn=drawn)
    looks = [
        look
        for path in track(
            files, "Looking for faces", console=console.err, disable=len(files) < 2 or not console.err.is_terminal
        )
        for look in _look(engine, path)
    ]
    failed = sum(bool(look.error) for look in looks)
    result = {
        "images": [_entry(look) for look in looks],
        "failed": failed,
        "model_sha256": engine.embedder_sha256,
        "providers": engine.providers,
        "live_threshold": engine.live_threshold,
        "live_proven": engine.live_proven,
        "drawn": engine.drawn,
    }
    console.finish(result, as_json=json, show=lambda: _show(looks, engine))
    if failed:
        raise typer.Exit(3)


def listed(paths: Sequence[Path]) -> list[Path]:
    """The files to look at: those given, and of a folder its pictures and clips by name; raises `UsageError` for a path
    that is not there and for a folder without any.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in {*PICTURES, *CLIPS})
            if not inside:
                raise UsageError(f"looking into the folder {path}: it holds no JPEG, PNG or clip; pass another one")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise UsageError(f"reading the image {path}: no such file; pass a JPEG or PNG file, a clip or a folder")
    return files


def _look(engine: Engine, path: Path) -> Iterator[Look]:
    """One image at a time: a thousand decoded photographs would not fit into memory."""
    from pipeline.vision.decode import read_image

    if path.suffix.lower() in CLIPS:
        yield from _look_at_clip(engine, path)
        return
    try:
        image = read_image(path)
    except UsageError as error:
        yield Look(path, error=str(error))
        return
    yield Look(path, engine.faces([image])[0])


def _look_at_clip(engine: Engine, path: Path) -> Iterator[Look]:
    number = -1
    for number, (at_ms, image) in enumerate(_frames(path)):
        yield Look(path, engine.faces([image])[0], frame=number, at_ms=at_ms)
    if number < 0:
        yield Look(path, error=f"reading the clip {path}: no frame of it can be decoded; pass another file")


def _frames(path: Path) -> Iterator[tuple[float, Image]]:
    """The frames of a clip with their times in milliseconds, uint8 (h, w, 3) BGR; none when it is no clip."""
    import cv2
    import numpy as np

    capture = cv2.VideoCapture(str(path))
    try:
        while True:
            whole, pixels = capture.read()
            if not whole or pixels is None:
                return
            at_ms = float(capture.get(cv2.CAP_PROP_POS_MSEC))
            yield at_ms, np.ascontiguousarray(pixels, np.uint8)
    finally:
        capture.release()


def _entry(look: Look) -> dict[str, Any]:
    entry: dict[str, Any] = {"file": str(look.file), "faces": [as_json(face) for face in look.faces]}
    if look.frame is not None:
        entry |= {"frame": look.frame, "at_ms": look.at_ms}
    if look.error:
        entry["error"] = look.error
    return entry


def as_json(face: Face) -> dict[str, Any]:
    """A face as the JSON says it: pixels of the file, cosines' vector of length 1."""
    box = face.box
    return {
        "box": [box.x, box.y, box.w, box.h],
        "landmarks": face.landmarks.tolist(),
        "detection": face.detection,
        "live": None if face.live is None else dict(face.live),
        "eyes": None if face.eyes is None else {"right": face.eyes[0], "left": face.eyes[1]},
        "eyes_open": face.eyes_open,
        "quality": asdict(face.quality),
        "embedding": face.embedding.tolist(),
    }


def _show(looks: Sequence[Look], engine: Engine) -> None:
    proven = "" if engine.live_proven else " (provisional)"
    table = Table("file", "face", "box", "score", "eyes px", "sharp", f"live{proven}", "eyes open")
    said = {None: "not known", True: "yes", False: "no"}
    for look in looks:
        name = look.file.name if look.frame is None else f"{look.file.name} #{look.frame}"
        if look.error:
            table.add_row(name, "[red]unreadable[/red]")
            console.note(look.error)
        elif not look.faces:
            table.add_row(name, "none")
        for number, face in enumerate(look.faces, start=1):
            box = face.box
            live = (face.live or {}).get("fused")
            table.add_row(
                name,
                str(number),
                f"{box.x:.0f} {box.y:.0f} {box.w:.0f} {box.h:.0f}",
                f"{face.detection:.3f}",
                f"{face.quality.eye_distance_px:.0f}",
                f"{face.quality.sharpness:.0f}",
                "not measured" if live is None else f"{live:.3f}",
                said[face.eyes_open],
            )
    console.show_table(table)
