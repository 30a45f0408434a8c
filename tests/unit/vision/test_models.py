"""The manifest and the store, without a single real model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.vision import models
from pipeline.vision.models import FusionSpec, ModelSpec, ModelStore, fusions, known, manifest, unmixed

THRESHOLDS = {
    "detector": {"score", "nms_iou"},
    "embedder": {"match", "strong", "margin", "same_face"},
    "liveness": set(),
    "eyes": {"open", "closed"},
}
COLOURS = {"BGR": 3, "RGB": 3, "GREY": 1}


def test_names_and_hashes_are_unique() -> None:
    """A name or a hash means one model; eight of them are for real people."""
    specs = manifest()
    assert len({spec.sha256 for spec in specs}) == len({spec.name for spec in specs}) == len(specs)
    assert len([spec for spec in specs if not spec.drawn and spec.role != "eyes"]) == 8


@pytest.mark.parametrize("spec", manifest(), ids=lambda spec: spec.name)
def test_the_manifest_says_everything_of_each_model(spec: ModelSpec) -> None:
    """Hash, source, licence, terms of the training data, every threshold of its role and the data behind them."""
    assert len(bytes.fromhex(spec.sha256)) == 32
    assert spec.file.endswith(".onnx")
    assert all([spec.summary, spec.source, spec.licence, spec.training_terms, spec.thresholds_from])
    assert spec.drawn or spec.role == "eyes" or spec.source.startswith("https://")
    assert set(spec.thresholds) >= THRESHOLDS[spec.role]
    assert len(spec.input.mean) == len(spec.input.std) == spec.input.shape[1] == COLOURS[spec.input.colour]
    assert (spec.crop is not None) == (spec.role == "liveness")
    assert (spec.template is not None) == (spec.role == "embedder")
    if spec.family == "yunet":
        kinds = [output.name.split("_")[0] for output in spec.outputs]
        assert kinds == [kind for kind in ("cls", "obj", "bbox", "kps") for _ in range(3)]
    if spec.role == "embedder":
        assert spec.thresholds["same_face"] <= spec.thresholds["match"] < spec.thresholds["strong"]
        assert spec.thresholds["margin"] > 0


def test_models_for_real_people_stand_before_those_for_drawn_ones() -> None:
    """The preferred model of a role is never a drawn one where a real one is there."""
    kinds = [spec.drawn for spec in manifest() if spec.role != "eyes"]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("fusion", fusions(), ids=lambda fusion: fusion.name)
def test_a_fusion_weighs_known_liveness_models_of_one_kind(fusion: FusionSpec) -> None:
    """The weights add up to 1, the threshold is a probability, and it says where it comes from."""
    specs = {spec.name: spec for spec in manifest() if spec.role == "liveness"}
    assert set(fusion.weights) <= set(specs)
    unmixed(specs[name] for name in fusion.weights)
    assert sum(fusion.weights.values()) == pytest.approx(1.0)
    assert 0 < fusion.threshold < 1
    assert fusion.threshold_from


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Bytes that the manifest knows as the preferred embedder."""
    data = b"not really a network"
    spec = replace(next(s for s in manifest() if s.role == "embedder"), sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(models, "manifest", lambda: (spec,))
    return data


def test_a_file_is_found_by_its_hash_whatever_its_name(tmp_path: Path, pinned: bytes) -> None:
    """Among strangers and under a strange name."""
    (tmp_path / "a.onnx").write_bytes(b"another")
    (tmp_path / "whatever.onnx").write_bytes(pinned)
    store = ModelStore.open(tmp_path)
    assert store.read(store.require("embedder")) == pinned
    assert [file.spec is not None for file in store.files] == [False, True]
    assert store.find("detector") is None


def test_another_hash_is_refused_in_one_sentence(tmp_path: Path, pinned: bytes) -> None:
    """The right name does not help; the sentence says which hash was wanted and which files were found."""
    (tmp_path / "mobilefacenet_foamliu.onnx").write_bytes(pinned + b"!")
    with pytest.raises(ModelError) as refused:
        ModelStore.open(tmp_path).require("embedder")
    assert hashlib.sha256(pinned).hexdigest() in str(refused.value)
    assert "mobilefacenet_foamliu.onnx" in str(refused.value)


def test_a_file_swapped_after_the_check_is_refused(tmp_path: Path, pinned: bytes) -> None:
    """What is loaded is what was pinned."""
    path = tmp_path / "model.onnx"
    path.write_bytes(pinned)
    store = ModelStore.open(tmp_path)
    spec = store.require("embedder")
    path.write_bytes(b"swapped")
    with pytest.raises(ModelError, match="not the pinned"):
        store.read(spec)
    path.unlink()
    with pytest.raises(ModelError, match="No such file"):
        store.read(spec)


def test_a_folder_that_is_none_and_an_empty_one_say_what_to_do(tmp_path: Path) -> None:
    """One sentence each."""
    with pytest.raises(ModelError, match="--models"):
        ModelStore.open(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"put the file .*\.onnx from https://"):
        ModelStore.open(tmp_path).require("detector")
    with pytest.raises(ModelError, match="choose one of: yunet_n"):
        ModelStore.open(tmp_path).require("detector", "nonsense")


REAL = {"detector": b"real detector", "embedder": b"real embedder", "liveness": b"real liveness"}
DRAWN = {"detector": b"drawn detector", "embedder": b"drawn embedder", "liveness": b"drawn liveness"}
EYES = b"eyes of everybody"


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folders `real`, `drawn` and `both` with models of three roles, an eye model in each, and two fusions."""
    first = {role: next(s for s in manifest() if s.role == role) for role in REAL}
    specs = []
    for prefix, contents in (("real", REAL), ("drawn", DRAWN)):
        for role, data in contents.items():
            digest = hashlib.sha256(data).hexdigest()
            specs.append(replace(first[role], name=f"{prefix}_{role}", sha256=digest, drawn=prefix == "drawn"))
            for folder in (prefix, "both"):
                (tmp_path / folder).mkdir(exist_ok=True)
                (tmp_path / folder / f"{prefix}_{role}.onnx").write_bytes(data)
                (tmp_path / folder / "eyes.onnx").write_bytes(EYES)
    digest = hashlib.sha256(EYES).hexdigest()
    specs.append(replace(first["liveness"], name="eyes", role="eyes", sha256=digest, crop=None))
    fused = [
        FusionSpec(name=kind, weights={f"{kind}_liveness": 1.0}, threshold=0.5, proven=False, threshold_from="here")
        for kind in ("real", "drawn")
    ]
    monkeypatch.setattr(models, "manifest", lambda: tuple(specs))
    monkeypatch.setattr(models, "fusions", lambda: tuple(fused))
    return tmp_path


def test_models_for_drawn_people_are_refused_unless_asked_for(kinds: Path) -> None:
    """In one sentence, by role, by name and when their bytes are asked for; optional ones are as if absent."""
    store = ModelStore.open(kinds / "drawn")
    for name in (None, "drawn_embedder"):
        with pytest.raises(
            ModelError, match=r"choosing the model drawn_embedder: it was trained on drawn people.*; use"
        ):
            store.require("embedder", name)
    spec = known(hashlib.sha256(DRAWN["embedder"]).hexdigest())
    assert spec is not None
    with pytest.raises(ModelError, match="trained on drawn people"):
        store.read(spec)
    assert store.find("liveness") is None
    assert store.fusion() is None
    allowed = ModelStore.open(kinds / "drawn", drawn=True)
    assert allowed.read(allowed.require("embedder")) == DRAWN["embedder"]
    assert getattr(allowed.fusion(), "name", None) == "drawn"


def test_an_eye_model_serves_both_kinds(kinds: Path) -> None:
    """It is found beside real models and beside drawn ones."""
    assert ModelStore.open(kinds / "real").require("eyes").name == "eyes"
    assert ModelStore.open(kinds / "drawn").require("eyes").name == "eyes"


@pytest.mark.parametrize("drawn", [False, True])
def test_where_both_kinds_lie_the_real_ones_are_used(kinds: Path, drawn: bool) -> None:
    """Also in a store that may use drawn ones; its fusion is of the same kind."""
    store = ModelStore.open(kinds / "both", drawn=drawn)
    assert [store.require(role).name for role in ("detector", "embedder", "liveness")] == [
        "real_detector",
        "real_embedder",
        "real_liveness",
    ]
    assert getattr(store.fusion(), "name", None) == "real"


def test_the_two_kinds_are_never_mixed(kinds: Path) -> None:
    """One sentence names one of each; the eye model mixes with both."""
    store = ModelStore.open(kinds / "both", drawn=True)
    eyes = store.require("eyes")
    unmixed([store.require("detector"), store.require("embedder"), eyes])
    unmixed([store.require("detector", "drawn_detector"), store.require("embedder", "drawn_embedder"), eyes])
    with pytest.raises(ModelError, match="drawn_embedder is for drawn people only and real_detector is for real ones"):
        unmixed([store.require("detector"), store.require("embedder", "drawn_embedder"), eyes])


def test_a_model_is_known_by_its_hash_alone() -> None:
    """The lookup that galleries and thresholds use."""
    spec = manifest()[0]
    assert known(spec.sha256) is spec
    assert known("0" * 64) is None
