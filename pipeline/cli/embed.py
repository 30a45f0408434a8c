"""`facepay embed`: what the engine sees in still images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from pipeline.cli import console
from pipeline.cli.console import JsonFlag

if TYPE_CHECKING:
    from pipeline.vision.faces import Face


def embed(
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files.", metavar="IMAGE...")],
    models: Annotated[
        Path | None, typer.Option(help="Folder of ONNX files; default: the setting vision.models.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Name of the embedding model; default: the preferred one.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Find the faces of still images: boxes, landmarks, quality, liveness and embeddings, largest face first."""
    from pipeline.vision.decode import read_image
    from pipeline.vision.engine import OnnxEngine
    from pipeline.vision.sessions import Execution

    vision = console.settings().vision
    engine = OnnxEngine.open(
        models or vision.models,
        Execution(gpu=vision.gpu, threads=vision.threads),
        # Here liveness is asked of every model that is there, whatever the agents' setting: this is for looking.
        pad="report_only",
        embedder=embedder,
    )
    # One image at a time: a thousand decoded photographs would not fit into memory.
    found = [
        (path, engine.faces([read_image(path)])[0])
        for path in track(
            images, "Looking for faces", console=console.err, disable=len(images) < 2 or not console.err.is_terminal
        )
    ]
    result = {
        "images": [{"file": str(path), "faces": [as_json(face) for face in faces]} for path, faces in found],
        "model_sha256": engine.embedder_sha256,
        "providers": engine.providers,
    }
    console.finish(result, as_json=json, show=lambda: _show(found))


def as_json(face: Face) -> dict[str, Any]:
    """A face as the JSON says it: pixels of the file, cosines' vector of length 1."""
    box, quality = face.box, face.quality
    return {
        "box": [box.x, box.y, box.w, box.h],
        "landmarks": face.landmarks.tolist(),
        "detection": face.detection,
        "live": None if face.live is None else dict(face.live),
        "eyes_open": face.eyes_open,
        "quality": {
            "eye_distance_px": quality.eye_distance_px,
            "sharpness": quality.sharpness,
            "brightness": quality.brightness,
            "yaw": quality.yaw,
        },
        "embedding": face.embedding.tolist(),
    }


def _show(found: Sequence[tuple[Path, Sequence[Face]]]) -> None:
    table = Table("file", "face", "box", "score", "eyes px", "sharp", "live (provisional)")
    for path, faces in found:
        if not faces:
            table.add_row(path.name, "none", "", "", "", "", "")
        for number, face in enumerate(faces, start=1):
            box = face.box
            live = (face.live or {}).get("fused")
            table.add_row(
                path.name,
                str(number),
                f"{box.x:.0f} {box.y:.0f} {box.w:.0f} {box.h:.0f}",
                f"{face.detection:.3f}",
                f"{face.quality.eye_distance_px:.0f}",
                f"{face.quality.sharpness:.0f}",
                "not measured" if live is None else f"{live:.3f}",
            )
    console.show_table(table)
