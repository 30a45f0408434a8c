"""The parts of `bench gpu` on a CPU: they run, count and compare; where there is no GPU the case itself refuses."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.bench.frames import camera_frames
from pipeline.bench.gpu import embedder_rows, engine_row, run
from pipeline.bench.iresnet import random_iresnet
from pipeline.errors import UsageError
from pipeline.vision.sessions import Execution, gpu_is_there, load_session

SMALL = partial(random_iresnet, blocks=(1, 1), channels=(4, 8))


def test_an_iresnet_50_costs_what_it_is_known_to_cost() -> None:
    """6.3 billion multiplications per face, counted while it is built (Deng et al., 2019, give 6.3 GFLOPs of them)."""
    assert random_iresnet()[2] == pytest.approx(2 * 6.3e9, rel=0.01)


def test_random_weights_give_finite_embeddings_that_differ() -> None:
    """Neither vanishing nor exploding through the layers; the same seed makes the same bytes."""
    spec, data, _ = SMALL()
    assert SMALL()[1] == data
    session = load_session(spec, data, Execution())
    faces = np.random.default_rng(1).normal(size=(2, 3, 112, 112)).astype(np.float32)
    embeddings = session.run(faces)[0]
    assert embeddings.shape == (2, 512)
    assert np.isfinite(embeddings).all()
    assert 1e-3 < np.abs(embeddings[0] - embeddings[1]).max() < 1e3


def test_each_size_of_batch_has_its_share_of_the_devices_arithmetic() -> None:
    """Faces per second, the time of a run, and a ratio that is a share."""
    spec, data, flops = SMALL()
    rows = embedder_rows(2, load_session(spec, data, Execution()), flops, (1, 2), 256)
    assert [row.case for row in rows] == ["gpu.embed.batch1", "gpu.embed.batch2"]
    for row in rows:
        assert row.ratio is not None
        assert 0 < row.ratio.median < 1
        assert row.more["provider"] == "CPUExecutionProvider"


@pytest.mark.shared
def test_the_engine_is_compared_with_bare_iobinding(shared: Path) -> None:
    """The same runs of the same graphs on both sides."""
    frames = camera_frames(shared / "faces" / "congress", 2)
    row = engine_row(2, shared / "models", frames, SMALL()[:2], Execution())
    assert not row.void
    assert row.more["runs"] == 4
    assert row.ratio is not None


@pytest.mark.shared
def test_without_a_gpu_the_case_refuses(shared: Path) -> None:
    """One sentence instead of figures of another device."""
    if gpu_is_there():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match="no CUDA provider here"):
        run(7, shared / "models", shared / "faces" / "congress")
