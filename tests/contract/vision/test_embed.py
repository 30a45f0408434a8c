"""`facepay embed`: keys, exit codes and sentences, on real models and on files as they come."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
import typer
from typer.testing import CliRunner, Result

from pipeline.cli import embed
from pipeline.errors import ModelError, UsageError
from pipeline.vision.decode import Image, read_image

pytestmark = pytest.mark.shared

app = typer.Typer()
app.command("embed")(embed.embed)

# A TIFF header and one tag: orientation 6, to be turned a quarter clockwise (EXIF 2.32, 4.6.2 and 4.6.5).
EXIF = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def run(*arguments: str | Path) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def seen(result: Result) -> list[dict[str, Any]]:
    """The images of the one JSON object, which is all that standard output holds."""
    (line,) = result.stdout.splitlines()
    images: list[dict[str, Any]] = json.loads(line)["images"]
    return images


@pytest.fixture(scope="module")
def portrait(shared: Path) -> Image:
    """A bona fide face, 480 pixels wide."""
    image = read_image(shared / "faces" / "pad_apache9" / "live_true_001.jpg")
    return np.asarray(cv2.resize(image, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(image: Image, colour: str = "BGR") -> bytes:
    """The picture as JPEG."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95, colorspace=colour)
    return data


def test_embed_prints_each_face_with_every_key(shared: Path) -> None:
    """Largest face first, pixels of the file, live scores by model and fused, an embedding of length 1."""
    files = [shared / "faces" / "pad_apache9" / name for name in ("live_true_001.jpg", "live_true_003.png")]
    result = run(*files, "--models", shared / "models", "--json")
    assert result.exit_code == 0
    images = seen(result)
    assert [image["file"] for image in images] == [str(file) for file in files]
    face = images[0]["faces"][0]
    assert set(face) == {"box", "landmarks", "detection", "live", "eyes", "eyes_open", "quality", "embedding"}
    assert face["box"] == pytest.approx([645.44, 408.18, 343.44, 455.27], abs=0.5)
    assert len(face["landmarks"]) == 5
    assert set(face["live"]) == {"minifasnet_v2", "minifasnet_v1se", "minifas_9780", "fused"}
    assert set(face["quality"]) == {"eye_distance_px", "sharpness", "brightness", "exposure", "yaw", "pitch", "roll"}
    assert face["quality"]["eye_distance_px"] == pytest.approx(155.5, abs=0.5)
    assert sum(number**2 for number in face["embedding"]) == pytest.approx(1.0, abs=1e-4)
    told = json.loads(result.stdout)
    assert (told["live_threshold"], told["live_proven"], told["drawn"], told["failed"]) == (0.85, False, False, 0)


def test_embed_shows_a_table_to_a_person(shared: Path) -> None:
    """Without --json: no embedding on the screen, and what is provisional says so."""
    result = run(shared / "faces" / "pad_apache9" / "live_true_001.jpg", "--models", shared / "models")
    assert result.exit_code == 0
    assert "0.948" in result.stdout
    assert "provisional" in result.stdout


def test_what_cannot_be_read_is_an_entry_and_the_rest_goes_on(shared: Path, portrait: Image, tmp_path: Path) -> None:
    """Exit 3 after all others were looked at; each failure names its reason."""
    whole = jpeg(portrait)
    broken = {
        "cut.jpg": (whole[: len(whole) // 2], "jpeg_truncated"),
        "empty.jpg": (b"", "not_jpeg"),
        "huge.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff" + bytes(20), "image_too_large"),
        "text.png": (b"hello", "not_jpeg"),
        "tiny.jpg": (jpeg(portrait[:20, :20]), "image_too_small"),
        "words.mp4": (b"hello", "no frame of it can be decoded"),
    }
    for name, (data, _) in broken.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "whole.jpg").write_bytes(whole)
    result = run(tmp_path, "--models", shared / "models", "--json")
    assert result.exit_code == 3
    entries = {Path(image["file"]).name: image for image in seen(result)}
    for name, (_, why) in broken.items():
        assert why in entries[name]["error"]
        assert entries[name]["faces"] == []
    assert len(entries["whole.jpg"]["faces"]) == 1
    assert "error" not in entries["whole.jpg"]


def test_a_picture_is_seen_alike_however_it_is_stored(shared: Path, portrait: Image, tmp_path: Path) -> None:
    """PNG, PNG with alpha, grey of 8 and 16 bits, and turned by EXIF: the same upright face, in pixels as shown."""
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(tmp_path / "a.png"), portrait)
    cv2.imwrite(str(tmp_path / "b_alpha.png"), cv2.cvtColor(portrait, cv2.COLOR_BGR2BGRA))
    cv2.imwrite(str(tmp_path / "c_grey.jpg"), grey)
    cv2.imwrite(str(tmp_path / "d_grey16.png"), grey.astype(np.uint16) * 257)
    turned = jpeg(np.rot90(portrait))
    (tmp_path / "e_turned.jpg").write_bytes(turned[:2] + EXIF + turned[2:])
    images = seen(run(tmp_path, "--models", shared / "models", "--json"))
    faces = [image["faces"][0] for image in images]
    assert len(faces) == 5
    for face in faces[1:]:
        assert face["box"] == pytest.approx(faces[0]["box"], abs=8)
        assert np.dot(face["embedding"], faces[0]["embedding"]) > 0.8


def test_a_clip_is_its_frames_with_their_times(shared: Path, portrait: Image, tmp_path: Path) -> None:
    """Each frame has its number and its milliseconds."""
    size = (portrait.shape[1], portrait.shape[0])
    clip = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, size)
    for _ in range(3):
        clip.write(portrait)
    clip.release()
    images = seen(run(tmp_path / "clip.avi", "--models", shared / "models", "--json"))
    assert [(image["frame"], len(image["faces"])) for image in images] == [(0, 1), (1, 1), (2, 1)]
    assert [b["at_ms"] - a["at_ms"] for a, b in itertools.pairwise(images)] == pytest.approx([100, 100])


def test_embed_refuses_what_is_not_there(shared: Path, tmp_path: Path) -> None:
    """A path or a folder without pictures is wrong use, a folder without models a failed outside."""
    for path, why in ((tmp_path / "absent.jpg", "no such file"), (tmp_path, "holds no JPEG")):
        refused = run(path, "--models", shared / "models").exception
        assert isinstance(refused, UsageError)
        assert why in str(refused)
    picture = shared / "faces" / "pad_apache9" / "live_true_001.jpg"
    assert isinstance(run(picture, "--models", tmp_path / "absent").exception, ModelError)
