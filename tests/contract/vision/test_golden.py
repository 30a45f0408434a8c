"""The engine meets the outputs that were recorded from the models' own reference code (models/golden.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.vision.decode import read_image
from pipeline.vision.engine import OnnxEngine
from pipeline.vision.faces import Face

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def golden(shared: Path, engine: OnnxEngine) -> list[tuple[dict[str, Any], list[Face]]]:
    """Each recorded image beside what the engine says of it."""
    rows: list[dict[str, Any]] = json.loads((shared / "models" / "golden.json").read_text(encoding="utf-8"))
    found = engine.faces([read_image(shared / "faces" / row["file"]) for row in rows])
    return list(zip(rows, found, strict=True))


def test_every_recorded_image_is_compared(golden: list[tuple[dict[str, Any], list[Face]]]) -> None:
    """The file holds 21 images, and the engine finds as many faces in each as the reference did."""
    assert len(golden) == 21
    assert [len(faces) for _, faces in golden] == [row["faces"] for row, _ in golden]


def test_boxes_and_landmarks_are_within_half_a_pixel(golden: list[tuple[dict[str, Any], list[Face]]]) -> None:
    """Pixels of the file, whatever size the detector worked at."""
    for row, faces in golden:
        box = faces[0].box
        assert [box.x, box.y, box.w, box.h] == pytest.approx(row["box_xywh"], abs=0.5), row["file"]
        assert np.abs(faces[0].landmarks - np.array(row["landmarks"])).max() <= 0.5, row["file"]
        assert faces[0].detection == pytest.approx(row["score"], abs=0.005), row["file"]


def test_embeddings_point_the_same_way(golden: list[tuple[dict[str, Any], list[Face]]]) -> None:
    """Cosine of at least 0.999 with the recorded embedding, and length 1."""
    for row, faces in golden:
        recorded = np.array(row["embedding_mobilefacenet"])
        cosine = float(faces[0].embedding @ recorded) / float(np.linalg.norm(recorded))
        assert cosine >= 0.999, row["file"]
        assert np.linalg.norm(faces[0].embedding) == pytest.approx(1.0, abs=1e-5)


def test_live_scores_are_within_two_hundredths(golden: list[tuple[dict[str, Any], list[Face]]]) -> None:
    """Each of the three models, and their fusion."""
    for row, faces in golden:
        live = faces[0].live
        assert live is not None
        for name in ("minifasnet_v2", "minifasnet_v1se", "minifas_9780"):
            assert live[name] == pytest.approx(row["live"][name], abs=0.02), (row["file"], name)
        assert live["fused"] == pytest.approx(row["live"]["mean"], abs=0.02), row["file"]


def test_the_second_embedder_meets_its_recorded_numbers(
    shared: Path, golden: list[tuple[dict[str, Any], list[Face]]]
) -> None:
    """mobileface_id_v2: the first eight numbers of the 256 were recorded, normalised."""
    second = OnnxEngine.open(shared / "models", embedder="mobileface_id_v2")
    rows = [row for row, _ in golden[:6]]
    found = second.faces([read_image(shared / "faces" / row["file"]) for row in rows])
    assert second.dimension == 256
    for row, faces in zip(rows, found, strict=True):
        assert faces[0].embedding[:8] == pytest.approx(row["embedding_mobileface_v2_first8"], abs=0.002), row["file"]
