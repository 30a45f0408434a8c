"""The manifest and the store, without a single real model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.vision import models
from pipeline.vision.models import ModelStore, manifest


def test_the_manifest_says_everything_of_each_model() -> None:
    """Hash, licence, terms of the training data, thresholds with their data; names and hashes are unique."""
    specs = manifest()
    assert len({spec.sha256 for spec in specs}) == len({spec.name for spec in specs}) == len(specs) == 8
    for spec in specs:
        assert len(bytes.fromhex(spec.sha256)) == 32
        assert spec.licence
        assert spec.training_terms
        assert spec.source.startswith("https://")
        assert spec.thresholds_from
        assert spec.input.shape[1] == 3
        assert (spec.crop is not None) == (spec.role == "liveness")
        assert (spec.template is not None) == (spec.role == "embedder")
        if spec.role == "detector":
            assert set(spec.thresholds) == {"score", "nms_iou"}
            kinds = [output.name.split("_")[0] for output in spec.outputs]
            assert kinds == [kind for kind in ("cls", "obj", "bbox", "kps") for _ in range(3)]


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
