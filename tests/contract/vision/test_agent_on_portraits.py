"""The embedding agent with the real engine: sealed photographs of real people in, recognitions and hints out."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from pipeline.gallery.index import ExactIndex
from pipeline.settings import Vision
from pipeline.vision.decode import decode_jpeg
from pipeline.vision.engine import OnnxEngine
from schemas.ids import derived_id
from tests.unit.vision.agent_world import (
    TERMS,
    make_world,
    told,
)

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def real_engine(shared: Path) -> OnnxEngine:
    return OnnxEngine.open(shared / "models", max_faces=8)


@pytest.fixture(scope="module")
def people(shared: Path) -> list[tuple[str, Path, Path]]:
    """Payer, enrolment picture and another photograph of the same person."""
    with (shared / "faces" / "congress" / "same_pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    folder = shared / "faces" / "congress"
    people = {row["identity"]: (folder / row["file_x"], folder / row["file_y"]) for row in rows}
    return [(derived_id("payer", name), *files) for name, files in sorted(people.items()) if name != "020107"]


def test_enrolled_people_are_recognised_by_another_photograph_and_strangers_are_not(
    tmp_path: Path, real_engine: OnnxEngine, people: list[tuple[str, Path, Path]]
) -> None:
    """Sealed portraits in, recognitions out: nobody is taken for another, no stranger for a payer."""
    enrolled, strangers = people[:30], people[30:45]
    gallery = ExactIndex(real_engine.dimension)
    pictures = [decode_jpeg(first.read_bytes()) for _, first, _ in enrolled]
    for (payer, *_), faces in zip(enrolled, real_engine.faces(pictures), strict=True):
        gallery.put(derived_id("template", payer), payer, faces[0].embedding)
    # Some portraits are smaller than a face before a terminal, and there is one of each person.
    settings = Vision(min_face_px=24, min_eye_distance_px=10, repeated_frames="off")
    world = make_world(tmp_path, real_engine, gallery, settings)
    messages, expected = [], []
    for number, (payer, _, second) in enumerate([*enrolled, *strangers]):
        terms = replace(TERMS, intent_id=derived_id("intent", "real", str(number)))
        messages += [world.frame(second.read_bytes(), terms) for _ in range(6)]
        expected.append(f"{payer}" if number < len(enrolled) else "not_recognised!")
    words = told(world.handler.process(messages))
    outcomes = [
        next((word for word in words[start : start + 6] if word not in {"-", "hold_still"}), "-")
        for start in range(0, len(words), 6)
    ]
    assert outcomes[30:] == expected[30:]
    wrong = [(o, e) for o, e in zip(outcomes[:30], expected[:30], strict=True) if o not in {e, "not_recognised!"}]
    assert wrong == []
    assert sum(o == e for o, e in zip(outcomes[:30], expected[:30], strict=True)) >= 29


def test_two_real_people_before_one_terminal_are_asked_to_step_apart(
    tmp_path: Path, real_engine: OnnxEngine, people: list[tuple[str, Path, Path]]
) -> None:
    """Two portraits side by side, both enrolled."""
    gallery = ExactIndex(real_engine.dimension)
    left, right = (decode_jpeg(first.read_bytes()) for _, first, _ in people[:2])
    for (payer, *_), faces in zip(people[:2], real_engine.faces([left, right]), strict=True):
        gallery.put(derived_id("template", payer), payer, faces[0].embedding)
    height = min(left.shape[0], right.shape[0])
    both = np.ascontiguousarray(np.hstack([left[:height], right[:height]]))
    jpeg: bytes = simplejpeg.encode_jpeg(both, quality=90, colorspace="BGR")
    world = make_world(tmp_path, real_engine, gallery)
    assert told(world.handler.process([world.frame(jpeg) for _ in range(3)])) == ["one_person_please", "-", "-"]
