"""Indices are read or refused in one sentence, and each picture ends in one of four ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.domain.fmr import FmrModel
from pipeline.errors import UsageError
from pipeline.evaluate.sightings import counted, look, placed, read_index, read_table
from pipeline.vision.decode import Image
from pipeline.vision.faces import Box, Face
from tests.unit.evaluate.people import seen


class ByWidth:
    """An engine that finds as many faces as the picture is wide in hundreds of pixels, the first 60 pixels wide."""

    embedder_sha256 = "a" * 64
    dimension = 2
    providers: Mapping[str, tuple[str, ...]] = {}
    thresholds: Mapping[str, float] = {}
    fmr: FmrModel | None = None
    live_threshold: float | None = None
    live_proven = False
    drawn = False

    def __init__(self, face: Face) -> None:
        self._face = face

    def faces(self, images: Sequence[Image]) -> list[list[Face]]:
        """See `Engine.faces`."""
        return [[self._face] * (image.shape[1] // 100) for image in images]


def write(folder: Path, name: str, width: int) -> None:
    """A grey picture so wide."""
    cv2.imwrite(str(folder / name), np.full((50, width, 3), 128, np.uint8))


def test_each_picture_ends_in_one_way(tmp_path: Path) -> None:
    """Unreadable and absent files are sightings like others, and the rest goes on."""
    for name, width in (("none.png", 50), ("one.jpg", 150), ("two.jpg", 250)):
        write(tmp_path, name, width)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "two.jpg").read_bytes()[:-40])
    face = seen("x", (1, 0)).face
    assert face is not None
    engine = ByWidth(replace(face, box=Box(0, 0, 60, 60)))
    rows = [{"file": name} for name in ("none.png", "broken.jpg", "absent.jpg", "one.jpg", "two.jpg")]
    files = placed(rows, tmp_path, tmp_path / "index.csv")
    sightings = list(look(engine, files, rows))
    assert [s.outcome for s in sightings] == ["not_detected", "unreadable", "unreadable", "seen", "seen"]
    assert "jpeg_truncated" in sightings[1].why
    assert counted(sightings) == {
        "unreadable": 2,
        "not_detected": 1,
        "not_acquired": 0,
        "seen": 2,
        "with_several_faces": 1,
    }
    (gated,) = look(engine, files, rows[3:4], lambda face: f"{face.box.w:.0f} is too narrow")
    assert (gated.outcome, gated.why) == ("not_acquired", "60 is too narrow")
    (broken,) = look(ByWidth(replace(face, embedding=np.zeros(2, np.float32))), files, rows[3:4])
    assert (broken.outcome, broken.face is None) == ("not_acquired", False)


def test_files_lie_under_the_folder_or_beside_the_index(tmp_path: Path) -> None:
    """An index that names subfolders fits the folder above and the subfolder alike; the folder comes first."""
    (tmp_path / "dev").mkdir()
    for name in ("dev/a.jpg", "dev/b.jpg", "b.jpg"):
        (tmp_path / name).touch()
    index = tmp_path / "index.csv"
    assert placed([{"file": "dev/a.jpg"}], tmp_path, index) == {"dev/a.jpg": tmp_path / "dev" / "a.jpg"}
    assert placed([{"file": "dev/a.jpg"}], tmp_path / "dev", index) == {"dev/a.jpg": tmp_path / "dev" / "a.jpg"}
    assert placed([{"file": "b.jpg"}], tmp_path / "dev", index) == {"b.jpg": tmp_path / "dev" / "b.jpg"}
    assert placed([{"file": "no.jpg"}], tmp_path / "dev", index) == {"no.jpg": tmp_path / "dev" / "no.jpg"}


def test_a_table_is_read_as_people_write_it(tmp_path: Path) -> None:
    """A byte order mark, blanks after commas and columns more than asked for are no fault."""
    path = tmp_path / "index.csv"
    path.write_text("\ufefffile, identity ,source\na.jpg , ann,x\nb.jpg,bob,\n", encoding="utf-8")
    assert read_table(path, ("file", "identity")) == [
        {"file": "a.jpg", "identity": "ann", "source": "x"},
        {"file": "b.jpg", "identity": "bob", "source": ""},
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file,who\na.jpg,ann\n", "lacks identity"),
        ("", "lacks file, identity"),
        ("file,identity\n", "no row"),
        ("file,identity\na.jpg,\n", "line 2 has no identity"),
        ("file,identity\na.jpg,ann\na.jpg,ann\n", "lists a.jpg twice"),
        (b"file,identity\n\xff\xfe,x\n", "no CSV file in UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(text: str | bytes | None, why: str, tmp_path: Path) -> None:
    """One sentence that names the file."""
    path = tmp_path / "index.csv"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError, match=why) as refused:
        read_index(path, "identity")
    assert "index.csv" in str(refused.value)
