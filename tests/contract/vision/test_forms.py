"""Other forms of the real models' graphs, and batches: results stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.errors import ModelError
from pipeline.vision.align import align
from pipeline.vision.decode import read_image
from pipeline.vision.detector import YuNet
from pipeline.vision.graphs import to_fp16, with_interleaved_input, with_uint8_input
from pipeline.vision.models import ModelSpec, ModelStore, manifest
from pipeline.vision.quantise import recipes, to_int8
from pipeline.vision.sessions import Execution, open_session

pytestmark = pytest.mark.shared

REAL = [pytest.param(spec, id=spec.name) for spec in manifest() if not spec.drawn and spec.role != "eyes"]
DETECTORS = [param for param in REAL if str(param.id).startswith("yunet")]

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def store(shared: Path) -> ModelStore:
    return ModelStore.open(shared / "models")


@pytest.fixture(scope="module")
def faces(shared: Path, store: ModelStore) -> npt.NDArray[np.uint8]:
    """Aligned faces of 40 portraits, uint8 (40, 112, 112, 3)."""
    images = [read_image(path) for path in sorted((shared / "faces" / "congress" / "dev").glob("*.jpg"))[::16][:40]]
    detector = YuNet(open_session(store, store.require("detector"), Execution()))
    return align(images, np.stack([found.landmarks[0] for found in detector.detect(images)]))


def pixels(spec: ModelSpec, faces: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """Pictures of the size that the model takes (160 pixels where it takes any), made of faces."""
    sides = [160 if size == -1 else size for size in spec.input.shape[2:]]
    tiles = -(-max(sides) // faces.shape[1])
    return np.ascontiguousarray(np.tile(faces[:count], (1, tiles, tiles, 1))[:, : sides[0], : sides[1]])


def numbers(spec: ModelSpec, images: npt.NDArray[np.uint8]) -> Floats:
    """The network's input by the textbook."""
    ordered = images[..., ::-1] if spec.input.colour == "RGB" else images
    mean, std = (np.array(values, np.float32) for values in (spec.input.mean, spec.input.std))
    return np.ascontiguousarray(((ordered.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2), np.float32)


def run(data: bytes, batch: npt.NDArray[np.generic]) -> list[Floats]:
    """All outputs, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    outputs: list[Floats] = session.run(None, {session.get_inputs()[0].name: batch})
    return outputs


def comparable(spec: ModelSpec, outputs: list[Floats]) -> list[Floats]:
    """Embeddings by their direction, all else as it is."""
    if spec.role != "embedder":
        return outputs
    return [output / np.linalg.norm(output, axis=1, keepdims=True) for output in outputs]


def least_cosine(left: list[Floats], right: list[Floats]) -> float:
    """Of the flattened outputs of each item."""
    pairs = [(a.reshape(len(a), -1), b.reshape(len(b), -1)) for a, b in zip(left, right, strict=True)]
    return min(float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()) for a, b in pairs)


@pytest.mark.parametrize("spec", REAL)
def test_pixels_inside_the_graph_and_half_precision(
    store: ModelStore, faces: npt.NDArray[np.uint8], spec: ModelSpec
) -> None:
    """Bytes in: within 1e-4 of normalised numbers in. Half precision, and both at once: cosine of 0.999 or more."""
    source = store.read(spec)
    images = pixels(spec, faces, 1 if spec.input.shape[0] == 1 else 3)
    batch = numbers(spec, images)
    expected = run(source, batch)
    inside = run(with_uint8_input(source, spec), images)
    differences = [np.abs(a - b).max() for a, b in zip(*(comparable(spec, o) for o in (expected, inside)), strict=True)]
    assert max(differences) <= 1e-4
    half = to_fp16(source)
    assert least_cosine(expected, run(half, batch)) >= 0.999
    assert least_cosine(expected, run(with_uint8_input(half, spec), images)) >= 0.999


@pytest.mark.parametrize("spec", DETECTORS)
def test_colours_that_take_turns(store: ModelStore, faces: npt.NDArray[np.uint8], spec: ModelSpec) -> None:
    """The detectors' first convolution reads pixels where they lie, and what comes out is the same within 1e-4."""
    images = pixels(spec, faces, 1 if spec.input.shape[0] == 1 else 3)
    derived = with_interleaved_input(store.read(spec), spec)
    assert derived is not None
    expected = run(store.read(spec), numbers(spec, images))
    found = run(derived, images.astype(np.float32))
    assert max(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True)) <= 1e-4
    assert open_session(store, spec, Execution()).pixels


@pytest.mark.parametrize("spec", REAL)
def test_what_a_model_says_of_a_picture_does_not_depend_on_its_batch(
    store: ModelStore, faces: npt.NDArray[np.uint8], spec: ModelSpec
) -> None:
    """One by one and all at once, through the product's sessions: within 1e-4 in float32, cosine 0.99 in integers."""
    images = pixels(spec, faces, 7)
    for precision in ("fp32", "int8") if spec.sha256 in recipes() else ("fp32",):
        session = open_session(store, spec, Execution(precision=precision))
        assert session.precision == precision
        batch = images.astype(np.float32) if session.pixels else numbers(spec, images)
        size = session.max_batch if spec.input.shape[0] == 1 else len(batch)
        together = [
            np.concatenate(parts)
            for parts in zip(*(session.run(batch[i : i + size]) for i in range(0, len(batch), size)), strict=True)
        ]
        alone = [np.concatenate(parts) for parts in zip(*(session.run(one[None]) for one in batch), strict=True)]
        left, right = comparable(spec, together), comparable(spec, alone)
        if precision == "fp32":
            assert max(float(np.abs(a - b).max()) for a, b in zip(left, right, strict=True)) <= 1e-4
        else:
            assert least_cosine(left, right) >= 0.99


def test_the_embedder_in_integers_points_where_it_did(store: ModelStore, faces: npt.NDArray[np.uint8]) -> None:
    """Cosine of 0.99 or more with the float32 embedding of each of 40 portraits, and a smaller file."""
    spec = store.require("embedder")
    source = store.read(spec)
    derived = to_int8(source, spec)
    batch = numbers(spec, faces)
    assert least_cosine(run(source, batch), run(derived, batch)) >= 0.99
    assert len(derived) < len(source) / 2


def test_a_model_without_ranges_is_refused_in_integers(store: ModelStore) -> None:
    """The second embedder has none."""
    with pytest.raises(ModelError, match="turning the model mobileface_id_v2 into 8-bit integers: no ranges"):
        open_session(store, store.require("embedder", "mobileface_id_v2"), Execution(precision="int8"))
