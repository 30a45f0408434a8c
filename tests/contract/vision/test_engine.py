"""What the engine promises on any device, and what it refuses."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from pipeline import metrics
from pipeline.errors import ModelError
from pipeline.vision.decode import Image, read_image
from pipeline.vision.detector import YuNet
from pipeline.vision.engine import OnnxEngine
from pipeline.vision.faces import Face
from pipeline.vision.models import InputContract, ModelStore, OutputContract
from pipeline.vision.sessions import Execution, open_session

pytestmark = pytest.mark.shared


def same(left: Face, right: Face) -> bool:
    """Equal within the tolerance that FP32 batches are promised."""
    return (
        bool(np.allclose(left.landmarks, right.landmarks, atol=1e-3))
        and bool(np.allclose(left.embedding, right.embedding, atol=1e-4))
        and all(abs(left.live[name] - right.live[name]) < 1e-4 for name in left.live or {} if left.live and right.live)
    )


@pytest.fixture(scope="module")
def portraits(shared: Path) -> list[Image]:
    """Six portraits of several sizes."""
    return [read_image(path) for path in sorted((shared / "faces" / "congress" / "dev").glob("*.jpg"))[:6]]


def test_a_faces_result_does_not_depend_on_its_batch(engine: OnnxEngine, portraits: list[Image]) -> None:
    """One by one, all together and in reverse order give the same faces."""
    alone = [engine.faces([image])[0] for image in portraits]
    together = engine.faces(portraits)
    reverse = engine.faces(portraits[::-1])[::-1]
    for one, two, three in zip(alone, together, reverse, strict=True):
        assert len(one) == len(two) == len(three) == 1
        assert same(one[0], two[0])
        assert same(one[0], three[0])


def test_batches_of_one_padded_size_share_a_run_on_a_gpu_and_agree(
    engine: OnnxEngine, portraits: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batched path of the detector, which a CPU does not take by default, finds the same."""
    alone = [engine.faces([image])[0][0] for image in portraits]
    detector = engine._detector
    assert isinstance(detector, YuNet)
    monkeypatch.setattr(detector._session, "_sizes", (1, 2, 4))
    for one, many in zip(alone, engine.faces(portraits), strict=True):
        assert same(one, many[0])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_any_number_of_pictures_of_one_size_fits_into_runs_of_several_sizes(
    shared: Path, engine: OnnxEngine, portraits: list[Image], count: int
) -> None:
    """Five pictures in runs of two, two and one: each run of a size has room of its own, and all find the same."""
    paired = OnnxEngine.open(shared / "models", Execution(batch=2))
    alone = engine.faces([portraits[0]])[0][0]
    for found in paired.faces([portraits[0]] * count):
        assert np.allclose(found[0].landmarks, alone.landmarks, atol=1e-3)


def test_two_people_come_out_largest_first(engine: OnnxEngine, portraits: list[Image]) -> None:
    """A portrait beside a smaller copy of another: two faces, the larger one first, each with its own embedding."""
    small = np.asarray(cv2.resize(portraits[1], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), np.uint8)
    height = portraits[0].shape[0]
    canvas = np.zeros((height, small.shape[1] + portraits[0].shape[1], 3), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    canvas[:, small.shape[1] :] = portraits[0]
    faces = engine.faces([canvas])[0]
    assert len(faces) == 2
    assert faces[0].box.area > faces[1].box.area
    lone = engine.faces([portraits[0]])[0][0]
    assert float(faces[0].embedding @ lone.embedding) > 0.9
    assert float(faces[1].embedding @ lone.embedding) < 0.5


def test_pictures_without_a_face_have_none(engine: OnnxEngine, portraits: list[Image]) -> None:
    """Black, noise and a very small picture are no error, and do not disturb a neighbour."""
    noise = np.random.default_rng(7).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    found = engine.faces([np.zeros((480, 640, 3), np.uint8), portraits[0], noise, np.zeros((32, 33, 3), np.uint8)])
    assert [len(faces) for faces in found] == [0, 1, 0, 0]
    assert engine.faces([]) == []


def test_max_faces_keeps_the_largest(shared: Path, portraits: list[Image]) -> None:
    """A crowd cannot make the later stages expensive."""
    image = np.hstack([portraits[0], portraits[0], portraits[0]])
    every = OnnxEngine.open(shared / "models").faces([image])[0]
    bounded = OnnxEngine.open(shared / "models", max_faces=2).faces([image])[0]
    assert len(every) == 3
    assert [face.box for face in bounded] == [face.box for face in every[:2]]


def test_threads_may_share_an_engine(engine: OnnxEngine, portraits: list[Image]) -> None:
    """Four threads at once see what one sees."""
    alone = [engine.faces([image])[0][0] for image in portraits]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for one, many in zip(alone, pool.map(lambda image: engine.faces([image])[0][0], portraits), strict=True):
                assert same(one, many)


def test_the_engine_says_what_it_runs_on(engine: OnnxEngine, shared: Path) -> None:
    """Providers as the sessions got them, and the hash that galleries are bound to."""
    liveness = {"minifasnet_v2", "minifasnet_v1se", "minifas_9780"}
    assert set(engine.providers) == {"yunet_n", "mobilefacenet", "eye_state", *liveness}
    assert all(providers[-1] == "CPUExecutionProvider" for providers in engine.providers.values())
    embedder = ModelStore.open(shared / "models").require("embedder")
    assert engine.embedder_sha256 == embedder.sha256


def test_a_folder_without_an_eye_model_gets_the_shipped_one(engine: OnnxEngine, portraits: list[Image]) -> None:
    """Else eyes would be unknown for every real face, and every payer asked for the PIN."""
    assert [engine.faces([image])[0][0].eyes_open for image in portraits].count(True) >= len(portraits) - 1


def test_a_gpu_that_is_required_and_absent_is_refused(shared: Path) -> None:
    """`required` never runs on a CPU; `preferred` does and says so."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has the CUDA provider")
    with pytest.raises(ModelError, match="a GPU is required and the session got CPUExecutionProvider"):
        OnnxEngine.open(shared / "models", Execution(gpu="required"))
    with capture_logs() as logs:
        engine = OnnxEngine.open(shared / "models", Execution(gpu="preferred"))
    assert engine.providers["mobilefacenet"] == ("CPUExecutionProvider",)
    # Aloud: in the log, and on a metric.
    assert [entry["model"] for entry in logs if entry["event"] == "no_gpu"] == [
        "yunet_n",
        "mobilefacenet",
        "eye_state",
    ]
    where = metrics.ENGINE_PROVIDER.labels("mobilefacenet", "CPUExecutionProvider")
    assert where._value.get() == 1


def test_models_are_found_by_hash_and_other_files_are_refused(shared: Path, tmp_path: Path) -> None:
    """Names mean nothing: a renamed detector is found, a changed embedder under its right name is not."""
    models = shared / "models"
    shutil.copyfile(models / "yunet_n_dynamic.onnx", tmp_path / "renamed.onnx")
    changed = bytearray((models / "mobilefacenet_foamliu.onnx").read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "mobilefacenet_foamliu.onnx").write_bytes(changed)
    store = ModelStore.open(tmp_path)
    assert store.require("detector").name == "yunet_n"
    with pytest.raises(ModelError, match=r"no file has the SHA-256 3da1.*another hash.*mobilefacenet_foamliu\.onnx"):
        OnnxEngine.open(tmp_path)


def test_required_liveness_needs_every_model(shared: Path, tmp_path: Path) -> None:
    """`required` refuses to start without one of three; `report_only` scores with what is there, without a fusion."""
    for name in ("yunet_n_dynamic", "mobilefacenet_foamliu", "2.7_80x80_MiniFASNetV2_softmax"):
        shutil.copyfile(shared / "models" / f"{name}.onnx", tmp_path / f"{name}.onnx")
    with pytest.raises(ModelError, match="liveness"):
        OnnxEngine.open(tmp_path, pad="required")
    portrait = read_image(next((shared / "faces" / "congress" / "dev").glob("*.jpg")))
    live = OnnxEngine.open(tmp_path, pad="report_only").faces([portrait])[0][0].live
    assert live is not None
    assert set(live) == {"minifasnet_v2"}
    assert OnnxEngine.open(tmp_path).faces([portrait])[0][0].live is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"input": InputContract("x", (-1, 3, 112, 112), "RGB", (0, 0, 0), (1, 1, 1))}, "its inputs are"),
        ({"input": InputContract("input", (-1, 3, 96, 96), "RGB", (0, 0, 0), (1, 1, 1))}, "input has the shape"),
        ({"outputs": (OutputContract("embedding", (-1, 128)),)}, "it has no output embedding"),
        ({"outputs": (OutputContract("output", (-1, 512)),)}, "output has the shape"),
    ],
    ids=["input name", "input size", "output name", "output width"],
)
def test_a_model_that_breaks_its_contract_is_refused(shared: Path, changes: dict[str, Any], sentence: str) -> None:
    """The right bytes under a wrong promise do not load."""
    store = ModelStore.open(shared / "models")
    spec = replace(store.require("embedder"), **changes)
    with pytest.raises(ModelError, match=sentence):
        open_session(store, spec, Execution())


def test_every_model_of_the_folder_keeps_its_contract(shared: Path) -> None:
    """All eight known files load, run and give the promised sizes."""
    store = ModelStore.open(shared / "models")
    specs = [file.spec for file in store.files if file.spec is not None]
    assert len(specs) == 8
    for spec in specs:
        assert open_session(store, spec, Execution()).providers


def test_the_detector_agrees_with_opencvs_own_decoder(shared: Path) -> None:
    """The same file through cv2.FaceDetectorYN: an independent decoder finds the same boxes and points."""
    store = ModelStore.open(shared / "models")
    spec = store.require("detector", "yunet_s_640")
    ours = YuNet(open_session(store, spec, Execution()))
    file = next(file.path for file in store.files if file.spec is spec)
    theirs = cv2.FaceDetectorYN.create(str(file), "", (640, 640), 0.6, 0.3)
    names = sorted((shared / "faces" / "pad_apache9").glob("*_image_*.jpg"))
    names += sorted((shared / "faces" / "congress" / "dev").glob("*.jpg"))[:5]
    for name in names:
        image = read_image(name)
        padded = np.zeros((640, 640, 3), np.uint8)
        padded[: image.shape[0], : image.shape[1]] = image
        expected = theirs.detect(padded)[1]
        assert expected is not None
        found = ours.detect([image])[0]
        assert len(found.scores) == len(expected)
        assert found.boxes[0] == pytest.approx(expected[0, :4], abs=0.05), name
        assert found.landmarks[0].ravel() == pytest.approx(expected[0, 4:14], abs=0.05), name
        assert found.scores[0] == pytest.approx(expected[0, 14], abs=1e-4), name


def test_a_detector_of_fixed_size_scales_larger_pictures_and_its_answer_back(shared: Path, engine: OnnxEngine) -> None:
    """1440 x 1080 into 640 x 640: the eyes are found where the other detector finds them."""
    store = ModelStore.open(shared / "models")
    fixed = YuNet(open_session(store, store.require("detector", "yunet_s_640"), Execution()))
    image = read_image(shared / "faces" / "pad_apache9" / "live_true_001.jpg")
    face = engine.faces([image])[0][0]
    assert fixed.detect([image])[0].landmarks[0][:2] == pytest.approx(face.landmarks[:2], abs=0.05 * face.box.w)


def test_telemetry_is_off(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime reports home unless told not to: opening a session tells it, whatever the environment said."""
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    store = ModelStore.open(shared / "models")
    open_session(store, store.require("embedder"), Execution())
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
