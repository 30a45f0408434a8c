"""The weights that ship are those that were judged, keep their contracts, and still do roughly what their card says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from loadtests.people.train import card, detector, embedder
from loadtests.people.train.judged import judged
from loadtests.people.train.shards import drawn
from loadtests.people.train.verification import fnmr, trial
from pipeline.vision.embedder import ArcFaceEmbedder
from pipeline.vision.models import ModelSpec, ModelStore, manifest
from pipeline.vision.sessions import Execution, Session, open_session

NAMES = ("drawn_detector", "drawn_embedder", "drawn_liveness", "eye_state")
PEOPLE = 40


@pytest.fixture(scope="module")
def specs() -> dict[str, ModelSpec]:
    """What the manifest says of the shipped models."""
    return {spec.name: spec for spec in manifest() if spec.name in NAMES}


@pytest.fixture(scope="module")
def sessions(specs: dict[str, ModelSpec]) -> dict[str, Session]:
    """Each shipped model, opened through its contract."""
    store = ModelStore.open(card.MODELS, drawn=True)
    return {name: open_session(store, spec, Execution()) for name, spec in specs.items()}


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_the_one_that_was_judged(name: str, specs: dict[str, ModelSpec]) -> None:
    """Manifest, figures and card name the hash of the bytes that ship."""
    weights = card.MODELS / f"{name}.onnx"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert specs[name].sha256 == digest
    assert card.read(weights.with_suffix(".json"), weights).name == name
    assert digest in (card.MODELS / "CARD.md").read_text()


def test_only_the_eye_model_is_for_real_people(specs: dict[str, ModelSpec]) -> None:
    """What was trained on drawings alone says so, and is refused by a store that was not told otherwise."""
    assert {name for name, spec in specs.items() if not spec.drawn} == {"eye_state"}


def test_the_weights_are_small_enough_to_ship() -> None:
    """Eight megabytes in all, and nothing else lies in their folder."""
    held = sorted(path.name for path in card.MODELS.iterdir())
    assert held == sorted(["CARD.md", *(f"{name}{end}" for name in NAMES for end in (".json", ".onnx"))])
    assert sum((card.MODELS / f"{name}.onnx").stat().st_size for name in NAMES) <= card.MOST_BYTES


def test_thresholds_go_from_lenient_to_strict(specs: dict[str, ModelSpec]) -> None:
    """A frame that decides alone is surer than one that votes, and that one than two frames of one face."""
    limits = specs["drawn_embedder"].thresholds
    assert 0 < limits["same_face"] < limits["match"] < limits["strong"] < 1
    assert limits["fmr_1e-3"] < limits["fmr_1e-4"] < limits["fmr_1e-5"]


@pytest.mark.parametrize("name", NAMES)
def test_a_result_does_not_depend_on_its_batch(name: str, sessions: dict[str, Session]) -> None:
    """What a model says of a picture is the same alone and among others, within 1e-4."""
    shape = [96 if size == -1 else size for size in sessions[name].spec.input.shape[1:]]
    batch = np.random.default_rng(1).uniform(0, 255, (5, *shape)).astype(np.float32)
    together = sessions[name].run(batch)
    for row in range(5):
        for whole, alone in zip(together, sessions[name].run(batch[row : row + 1]), strict=True):
            np.testing.assert_allclose(alone[0], whole[row], atol=1e-4, rtol=1e-4)


def test_faces_of_unseen_people_are_found() -> None:
    """A small evaluation of the detector: most faces found, landmarks close, hardly a face where none is."""
    report = detector.evaluate(card.MODELS / "drawn_detector.onnx", people=12)
    figures = {figure.name: figure.value for figure in report.figures}
    assert figures["faces found (IoU >= 0.5)"] >= 0.94
    assert figures["error of landmarks, median, in eye distances"] <= 0.1
    assert figures["false faces per picture"] <= 0.1


def test_unseen_people_are_told_apart(sessions: dict[str, Session], tmp_path: Path) -> None:
    """A small evaluation of the embedder at the shipped thresholds: it holds what the card promises, loosely, because
    forty people cannot show one in a hundred.
    """
    data = drawn(judged(PEOPLE, card.MODELS / "drawn_detector.onnx"), tmp_path, workers=1)
    whole = np.flatnonzero(data["complete"])
    assert len(whole) >= 0.9 * PEOPLE
    model = ArcFaceEmbedder(sessions["drawn_embedder"])
    probes = data["probes"][whole]
    vectors = model.embed(np.ascontiguousarray(probes.reshape(-1, *probes.shape[2:])))
    scores = trial(model.embed(data["template"][whole]), vectors.reshape(len(whole), -1, embedder.DIMENSION))
    limits = sessions["drawn_embedder"].spec.thresholds
    assert fnmr(scores, limits["fmr_1e-4"]) <= 0.05
    assert fnmr(scores, limits["match"]) <= 0.08
    assert (scores.tail >= limits["match"]).sum() <= 2
    assert scores.tail[0] < limits["strong"]
