"""What the engine promises on a GPU: the same faces, the device that was asked for, and a closed door when it fails."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.bench.gpu import run
from pipeline.bench.iresnet import random_iresnet
from pipeline.errors import ModelError
from pipeline.vision.decode import Image, read_image
from pipeline.vision.engine import OnnxEngine
from pipeline.vision.models import ModelStore
from pipeline.vision.sessions import GPU_PROVIDER, Execution, load_session, open_session

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def portraits(shared: Path) -> Sequence[Image]:
    """Twelve portraits of several sizes."""
    folder = shared / "faces" / "congress"
    with (folder / "same_pairs.csv").open(encoding="utf-8", newline="") as file:
        names = [row["file_x"] for row in csv.DictReader(file)][:12]
    return [read_image(folder / name) for name in names]


def test_every_model_runs_on_the_gpu(on_gpu: OnnxEngine) -> None:
    """As the sessions themselves say; nothing fell back."""
    assert all(providers[0] == GPU_PROVIDER for providers in on_gpu.providers.values())
    assert set(on_gpu.precisions.values()) == {"fp16"}


def test_faces_are_those_of_the_cpu(on_gpu: OnnxEngine, on_cpu: OnnxEngine, portraits: Sequence[Image]) -> None:
    """Half precision: landmarks within half a pixel, embeddings at a cosine of 0.999, live scores within 0.02."""
    for ours, theirs in zip(on_gpu.faces(portraits), on_cpu.faces(portraits), strict=True):
        assert len(ours) == len(theirs)
        assert np.abs(ours[0].landmarks - theirs[0].landmarks).max() <= 0.5
        assert float(ours[0].embedding @ theirs[0].embedding) >= 0.999
        assert ours[0].live == pytest.approx(theirs[0].live, abs=0.02)


def test_a_faces_result_does_not_depend_on_its_batch(on_gpu: OnnxEngine, portraits: Sequence[Image]) -> None:
    """Also where batches are filled up to a size that has a CUDA graph."""
    together = on_gpu.faces(portraits)
    for image, many in zip(portraits, together, strict=True):
        assert float(on_gpu.faces([image])[0][0].embedding @ many[0].embedding) >= 0.999


def test_threads_capture_graphs_of_their_own(on_gpu: OnnxEngine, portraits: Sequence[Image]) -> None:
    """CUDA graphs belong to a thread: four at once see what one sees, again and again."""
    alone = [on_gpu.faces([image])[0][0] for image in portraits[:4]]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            seen = pool.map(lambda image: on_gpu.faces([image])[0][0], portraits[:4])
            for one, many in zip(alone, seen, strict=True):
                assert float(one.embedding @ many.embedding) >= 0.999


def test_out_of_memory_is_a_model_error_and_the_next_batch_runs(gpu: Execution) -> None:
    """A batch that cannot fit ends in `ModelError`, upon which an agent ends; the session is not broken by it."""
    spec, data, _ = random_iresnet()
    session = load_session(spec, data, replace(gpu, max_batch=16))
    with pytest.raises(ModelError, match=r"running the model iresnet_random .* restart the process"):
        # 100,000 faces: what the first layer gives alone would need 160 GB.
        session.run_bound(session.bound((100_000, 112, 112, 3)))
    embedding = session.run_bound(session.bound((1, 112, 112, 3)))[0]
    assert np.isfinite(embedding).all()


def test_an_unfit_precision_is_refused(shared: Path, gpu: Execution) -> None:
    """8-bit integers are for a CPU."""
    store = ModelStore.open(shared / "models")
    with pytest.raises(ModelError, match="8-bit integers are for a CPU"):
        open_session(store, store.require("embedder"), replace(gpu, precision="int8"))


def test_the_benchmark_says_latency_and_mfu_of_each_batch(gpu: Execution, shared: Path) -> None:
    """A short run: the engine beside bare IOBinding, and each size beside a matrix product of the same run."""
    rows = {row.case: row for row in run(2, shared / "models", shared / "faces" / "congress")}
    assert not rows["gpu.engine"].void
    sizes = [row for case, row in rows.items() if case.startswith("gpu.embed.batch")]
    assert len(sizes) == 7
    assert all(row.ratio is not None and 0 < row.ratio.median < 1.1 for row in sizes)
