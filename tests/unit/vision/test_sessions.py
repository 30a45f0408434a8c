"""Buffers that are bound once, runs of few sizes, and pixels laid out for a network."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pipeline.errors import ModelError
from pipeline.vision import sessions
from pipeline.vision.batching import measure_batches
from pipeline.vision.bindings import KEPT
from pipeline.vision.sessions import CPU_PROVIDER, GPU_PROVIDER, Execution, Session, load_session
from pipeline.vision.tensors import Pixels
from tests.unit.vision.networks import doubled, doubling, noise


def filled(session: Session, value: float, shape: tuple[int, ...] = (1, 3, 2, 2), slot: int = 0) -> np.ndarray:
    """The output of a run whose input is `value` everywhere, in the session's own memory."""
    bound = session.bound(shape, slot)
    bound.input[...] = value
    return session.run_bound(bound)[0]


def test_a_bound_run_is_the_models_run_again_and_again() -> None:
    """The first run, which finds the sizes out, and all that follow in fixed memory."""
    session = doubled()
    seen = [filled(session, value).copy() for value in (1, 2, 3, 4)]
    assert [float(output.max()) for output in seen] == [2, 4, 6, 8]


def test_further_runs_allocate_no_outputs() -> None:
    """From the second run on outputs are written where they were."""
    session = doubled()
    filled(session, 1)
    second = filled(session, 2)
    assert np.shares_memory(second, filled(session, 3))


def test_each_slot_keeps_its_outputs() -> None:
    """What was run earlier can be read when all runs are done."""
    session = doubled()
    for value in (5, 6, 7):
        filled(session, value, slot=value - 5)
    outputs = [filled(session, value, slot=value) for value in (0, 1, 2)]
    assert [float(output.max()) for output in outputs] == [0, 2, 4]


@pytest.mark.parametrize("side", [2, 400], ids=["small, filled ahead", "large, one input"])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_runs_cover_all_items_each_with_its_own(side: int, on_gpu: bool) -> None:
    """Seven items in runs of at most three: each comes out as it went in, whether its input lies ready or is shared."""
    session = doubled()
    session.best_batch = 3
    for size in (1, 3):
        session.bound((size, 3, side, side))
    session.on_gpu = on_gpu
    run_bound = session.run_bound
    # On a GPU outputs are copied from the device.
    session.run_bound = lambda bound: [o.copy() if on_gpu else o for o in run_bound(bound)]  # type: ignore[method-assign]
    filled: list[slice] = []

    def fill(bound: Any, part: slice) -> None:
        filled.append(part)
        for row, value in enumerate(range(7)[part]):
            bound.input[row] = value

    for _ in range(2):
        found = session.runs(7, lambda size: (size, 3, side, side), fill)
        values = [float(row.max()) for part, outputs in found for row in outputs[0][: part.stop - part.start]]
        assert values == [2.0 * item for item in range(7)]
    assert filled == [part for part, _ in session.parts(7)] * 2
    inputs = {session.bound((3, 3, side, side), slot).input.ctypes.data for slot in (0, 1)}
    assert len(inputs) == (2 if side == 2 and not on_gpu else 1)


def test_run_gives_arrays_of_the_callers_own() -> None:
    """A later run does not change them."""
    session = doubled()
    ones = np.ones((1, 3, 2, 2), np.float32)
    session.run(ones)
    first = session.run(ones)[0]
    session.run(ones * 5)
    assert float(first.max()) == 2


def test_pictures_of_ever_new_sizes_do_not_fill_the_memory() -> None:
    """A thread keeps buffers for the newest shapes only, and an old one that comes back works."""
    session = doubled()
    for width in range(1, 3 * KEPT):
        filled(session, 1, (1, 3, 1, width))
    kept = session._kept.bounds._bounds
    assert len(kept) == KEPT
    assert list(kept) == [(1, 3, 1, width) for width in range(2 * KEPT, 3 * KEPT)]
    assert float(filled(session, 7, (1, 3, 1, 1)).max()) == 14


def test_threads_have_buffers_of_their_own() -> None:
    """Eight at once: nobody reads what another wrote."""
    session = doubled()

    def many(value: int) -> set[float]:
        return {float(filled(session, value).max()) for _ in range(200)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(many, range(8))) == [{2.0 * value} for value in range(8)]


def test_a_runtime_that_fails_is_one_sentence() -> None:
    """Out of memory, a lost device: `ModelError`, which ends the agent; a sound batch after it runs."""
    session = doubled()
    bound = session.bound((1, 3, 2, 2))
    working = bound.run

    def failing() -> Any:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 640000000000\nat ...")

    bound.run = failing  # type: ignore[method-assign]  # a fault put in by hand
    with pytest.raises(ModelError, match=r"^running the model doubling on 1 items: Failed to allocate [^\n]* restart"):
        filled(session, 1)
    bound.run = working  # type: ignore[method-assign]  # mended
    assert float(filled(session, 1).max()) == 2


@given(items=st.integers(0, 70), best=st.integers(1, 20))
@settings(deadline=None)
def test_parts_cover_the_items_in_sizes_of_few_kinds(items: int, best: int) -> None:
    """In order, none twice, on a CPU without a row too much, and of no more sizes than there are powers of two."""
    session = SESSION
    session.best_batch = best
    parts = session.parts(items)
    assert [row for part, _ in parts for row in range(items)[part]] == list(range(items))
    assert all(size == part.stop - part.start <= best for part, size in parts)
    assert all(size == best or size & (size - 1) == 0 for _, size in parts)


SESSION = doubled()


@pytest.mark.parametrize(
    ("items", "expected"), [(1, [1]), (2, [2]), (3, [4]), (5, [8]), (9, [8, 1]), (15, [8, 8]), (16, [8, 8])]
)
def test_on_a_gpu_a_rest_is_filled_up_to_a_size_that_has_a_graph(items: int, expected: list[int]) -> None:
    """Rows are left over instead of a further shape."""
    session = doubled()
    session.on_gpu = True
    session.best_batch = 8
    parts = session.parts(items)
    assert [size for _, size in parts] == expected
    assert [row for part, _ in parts for row in range(items)[part]] == list(range(items))


def test_a_model_of_one_size_is_always_filled_up() -> None:
    """Its file takes nothing else."""
    assert doubled(items=4).parts(5) == [(slice(0, 4), 4), (slice(4, 5), 4)]


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 10, 2: 18, 4: 30, 8: 80, 16: 80}, 4),  # eight cost as much each as... more than four: stop there
        ({1: 10, 2: 20, 4: 8, 8: 8, 16: 8}, 1),  # two are no cheaper each, so four are not tried
        ({1: 10, 2: 19.6, 4: 8, 8: 8, 16: 8}, 1),  # hardly cheaper is not cheaper
        ({1: 10, 2: 10, 4: 10, 8: 10, 16: 10}, 16),
    ],
)
def test_the_batch_is_the_largest_that_pays(
    seconds: dict[int, float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that a scripted session moves: seconds of a run by its size."""
    now = [0.0]
    session = doubled()

    def run(bound: SimpleNamespace) -> list[np.ndarray]:
        now[0] += seconds[bound.shape[0]]
        return []

    monkeypatch.setattr(session, "run_bound", run)
    monkeypatch.setattr("pipeline.vision.batching.time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert measure_batches([session]) == {"doubling": best}
    assert session.best_batch == best


def test_a_batch_that_was_set_is_not_measured() -> None:
    """And is bounded by the most that a run may hold."""
    assert load_session(*doubling(), Execution(batch=4)).best_batch == 4
    assert load_session(*doubling(), Execution(batch=64, max_batch=16)).best_batch == 16
    assert load_session(*doubling(), Execution()).best_batch == 1


@pytest.mark.parametrize("colour", ["BGR", "RGB"])
@pytest.mark.parametrize(
    ("mean", "std"), [((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))]
)
def test_pixels_are_what_the_contract_says(
    colour: Literal["BGR", "RGB"], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Colour order, normalisation and layout as the textbook does it, one picture after the other."""
    spec, data = doubling(colour=colour, mean=mean, std=std)
    session, pictures = load_session(spec, data, Execution()), noise(3, 5, 7)
    bound = session.bound((3, 3, 5, 7))
    Pixels(spec.input, inside=False).fill(bound, pictures)
    for picture, row in zip(pictures, bound.input, strict=True):
        ordered = picture if colour == "BGR" else picture[..., ::-1]
        expected = (ordered.astype(np.float64) - mean) / std
        assert row == pytest.approx(expected.transpose(2, 0, 1), abs=1e-4)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("height", "width"), [(8, 12), (5, 12), (8, 9), (5, 9)])
def test_nothing_is_left_of_the_picture_before(height: int, width: int, inside: bool) -> None:
    """A smaller picture in the same buffers has black beside it, not the edge of a larger one."""
    spec, _ = doubling()
    shape = (1, 8, 12, 3) if inside else (1, 3, 8, 12)
    dtype = np.uint8 if inside else np.float32
    bound: Any = SimpleNamespace(shape=shape, input=np.zeros(shape, dtype), planes=np.zeros(shape, np.uint8))
    pixels = Pixels(spec.input, inside=inside)
    pixels.fill(bound, [np.full((8, 12, 3), 255, np.uint8)])
    pixels.fill(bound, [np.full((height, width, 3), 7, np.uint8)])
    found = bound.input[0] if inside else bound.input[0].transpose(1, 2, 0)
    assert (found[:height, :width] == 7).all()
    assert found.sum() == 7 * 3 * height * width


@pytest.mark.parametrize(
    ("execution", "sentence"),
    [
        (Execution(precision="fp16"), "half precision is for a GPU and it got CPUExecutionProvider"),
        (Execution(precision="int8"), "doubling"),
        (Execution(gpu="required"), "a GPU is required and the session got CPUExecutionProvider"),
    ],
    ids=["fp16", "int8 without ranges", "gpu"],
)
def test_what_a_cpu_cannot_do_is_refused(execution: Execution, sentence: str) -> None:
    """One sentence that says what to set instead, and no silent other way."""
    with pytest.raises(ModelError, match=sentence):
        load_session(*doubling(), execution)


class Runtime:
    """ONNX Runtime as it would be with a CUDA provider: what a session on it does is `on_gpu`, called with its options.
    Everything else is the real one's."""

    def __init__(self, on_gpu: Callable[[dict[str, str]], Any]) -> None:
        self._on_gpu = on_gpu
        self.asked: list[dict[str, str]] = []

    def get_available_providers(self) -> list[str]:
        return [GPU_PROVIDER, CPU_PROVIDER]

    def InferenceSession(self, data: bytes, options: Any, providers: list[Any]) -> Any:  # noqa: N802 - its name there
        if providers == [CPU_PROVIDER]:
            return onnxruntime.InferenceSession(data, options, providers=providers)
        self.asked.append(providers[0][1])
        return self._on_gpu(providers[0][1])

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)


def without_libraries(_: dict[str, str]) -> Any:
    """CUDA's libraries are not there: the session quietly gets the CPU."""
    return SimpleNamespace(get_providers=lambda: [CPU_PROVIDER], disable_fallback=lambda: None)


def out_of_memory(_: dict[str, str]) -> Any:
    """The device is full."""
    raise RuntimeError("CUDA failure 2: out of memory")


def no_graphs(options: dict[str, str]) -> Any:
    """A node of the model has no form for the GPU."""
    if "enable_cuda_graph" in options:
        raise RuntimeError("This session cannot use the CUDA Graph feature as requested")
    return SimpleNamespace(get_providers=lambda: [GPU_PROVIDER, CPU_PROVIDER], disable_fallback=lambda: None)


@pytest.mark.parametrize("on_gpu", [without_libraries, out_of_memory])
def test_a_preferred_gpu_that_does_not_work_is_the_cpu_and_a_required_one_an_error(
    on_gpu: Callable[[dict[str, str]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`preferred` runs the file as it is on the CPU, and `required` never does."""
    monkeypatch.setattr(sessions, "_runtime", lambda: Runtime(on_gpu))
    session = load_session(*doubling(), Execution(gpu="preferred"))
    assert session.providers == (CPU_PROVIDER,)
    assert (session.precision, session.pixels, session.graphs) == ("fp32", False, False)
    assert float(filled(session, 2).max()) == 4
    with pytest.raises(ModelError, match=r"a GPU is required and the session got|out of memory"):
        load_session(*doubling(), Execution(gpu="required"))


def test_a_gpu_that_refuses_is_said_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it is slow now stands in the log."""
    monkeypatch.setattr(sessions, "_runtime", lambda: Runtime(out_of_memory))
    with capture_logs() as logs:
        load_session(*doubling(), Execution(gpu="preferred"))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("gpu_refused", "warning")]
    assert "out of memory" in logs[0]["why"]


def test_a_model_that_cannot_be_one_cuda_graph_runs_without() -> None:
    """Asked for with graphs first, then without; in half precision and for pixels both times."""
    runtime = Runtime(no_graphs)
    inference, graphs = sessions._on_gpu(runtime, *doubling(), Execution(gpu="required"))
    assert inference.get_providers()[0] == GPU_PROVIDER
    assert not graphs
    assert ["enable_cuda_graph" in options for options in runtime.asked] == [True, False]
