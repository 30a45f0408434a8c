"""The engine on a GPU, against bare IOBinding of the same graphs, and against what the device can do at all.

The embedder is an IResNet-50 with random weights (`iresnet`): as much work as a large embedder's, and nobody's weights.
The detector is the one of the models folder. `gpu.engine` sees frames whose pixels lie ready; its baseline makes the
same runs again in buffers that are bound already, uploads and downloads included, on both sides. `gpu.embed.batchN` is
the embedder at each size: the time of a run, and how much of the device's arithmetic it uses (MFU): its floating-point
operations per second over those of a matrix product measured between its rounds. Decoding is a line of its own
(`embed.decode`), because a CPU does it.

Every part runs on a CPU as well, which is how it is tested where there is no GPU; the case itself refuses to.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from pipeline.bench.bare import BareModels, ModelRun, Taped, TapedEngine
from pipeline.bench.frames import Frame, camera_frames, pictures
from pipeline.bench.iresnet import SIDE_PX, random_iresnet
from pipeline.bench.rounds import Run, Sample, interleave, spread, timed
from pipeline.bench.rows import Goal, Row, speed_row
from pipeline.bootstrap import MAX_FACES
from pipeline.errors import UsageError
from pipeline.vision.bindings import Bound
from pipeline.vision.engine import OnnxEngine
from pipeline.vision.models import ModelSpec, ModelStore
from pipeline.vision.sessions import Execution, Session, bind_graph, gpu_is_there, load_session, open_session

FRAMES = 64
BATCHES = (1, 2, 4, 8, 16, 32, 64)
ENGINE_GOAL = Goal(">=", 0.95)
GEMM_SIDE = 8192
_REPEATS = 10
_PRODUCTS = 4
"""Matrix products in one run: its start costs nothing beside them."""


def run(rounds: int, models: Path, people: Path) -> list[Row]:
    """All rows; raises `UsageError` where there is no GPU."""
    if not gpu_is_there():
        raise UsageError(
            "measuring on a GPU: ONNX Runtime has no CUDA provider here; run `make gpu` on a machine with a GPU"
        )
    execution = Execution(gpu="required", max_batch=max(BATCHES))
    spec, data, flops = random_iresnet()
    return [
        engine_row(rounds, models, camera_frames(people, FRAMES), (spec, data), execution),
        *embedder_rows(rounds, load_session(spec, data, execution), flops, BATCHES, GEMM_SIDE),
    ]


def engine_row(
    rounds: int, models: Path, frames: Sequence[Frame], embedder: tuple[ModelSpec, bytes], execution: Execution
) -> Row:
    """The whole engine on frames whose pixels lie ready."""
    store = ModelStore.open(models)
    tape: list[ModelRun] = []
    detecting = Taped(open_session(store, store.require("detector"), execution), tape)
    embedding = Taped(load_session(*embedder, execution), tape)
    taped = TapedEngine(OnnxEngine(detecting, embedding, max_faces=MAX_FACES), [detecting, embedding], tape)
    images = pictures(frames)
    # Twice: a shape's second run is the first in its final form.
    taped.engine.faces(images)
    found = [len(faces) for faces in taped.engine.faces(images)]
    taped.runs()
    taped.engine.faces(images)
    runs = taped.runs()
    bare = BareModels(taped, bound=True)
    bare.prepare(runs)

    def ours() -> int:
        taped.engine.faces(images)
        return len(images)

    def baseline() -> int:
        bare.repeat(runs)
        return len(images)

    samples = interleave({"ours": partial(timed, ours), "bare": partial(timed, baseline)}, rounds)
    return speed_row(
        "gpu.engine",
        samples["ours"],
        samples["bare"],
        item="frame",
        clock="wall",
        goal=ENGINE_GOAL,
        against="bare IOBinding of the same graphs, batches and counts",
        more={"frames": len(images), "faces": sum(found), "runs": len(runs), "provider": detecting.providers[0]},
        void=[] if min(found) > 0 else ["a frame has no face"],
    )


def embedder_rows(rounds: int, session: Session, flops: int, batches: Sequence[int], side: int) -> list[Row]:
    """One row per size of batch: faces per second, time of a run, share of the device's arithmetic."""
    product = _product(side, on_gpu=session.on_gpu)
    rates: list[float] = []
    rows = []
    for size in batches:
        shape = (size, SIDE_PX, SIDE_PX, 3) if session.pixels else (size, 3, SIDE_PX, SIDE_PX)
        bound = session.bound(shape)
        bound.input[...] = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)

        def embed(size: int = size, bound: Bound = bound) -> int:
            for _ in range(_REPEATS):
                session.run_bound(bound)
            return size * _REPEATS

        def multiply() -> int:
            began = time.perf_counter()
            product.again()
            rates.append(2 * side**3 * _PRODUCTS / (time.perf_counter() - began))
            return 1

        runs: dict[str, Run] = {"ours": partial(timed, embed), "gemm": partial(timed, multiply)}
        samples = interleave(runs, rounds)
        rows.append(_embedder_row(size, samples["ours"], flops, spread(rates).median, session))
    return rows


def _embedder_row(size: int, samples: Sequence[Sample], flops: int, device_flops: float, session: Session) -> Row:
    seconds = spread([sample.wall_s / sample.items for sample in samples])
    return Row(
        case=f"gpu.embed.batch{size}",
        unit="faces_per_s",
        ours=1 / seconds.median,
        baseline=device_flops / flops,
        ratio=spread([flops * sample.items / sample.wall_s / device_flops for sample in samples]),
        against="as many operations as a matrix product does on this device: the ratio is the MFU",
        more={
            "run_ms": seconds.median * size * 1000,
            "precision": session.precision,
            "device_tflops": device_flops / 1e12,
            "provider": session.providers[0],
        },
    )


def _product(side: int, *, on_gpu: bool) -> Bound:
    """Products of square matrices in a row, run once: in float16 on a GPU, in float32 on a CPU."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if on_gpu else (TensorProto.FLOAT, np.float32)
    names = [f"m{number}" for number in range(_PRODUCTS + 1)]
    nodes = [helper.make_node("MatMul", [one, names[0]], [two]) for one, two in pairwise(names)]
    first, last = (helper.make_tensor_value_info(name, kind, [side, side]) for name in (names[0], names[-1]))
    graph = helper.make_graph(nodes, "products", [first], [last])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    bound = bind_graph(model.SerializeToString(), (names[0], names[-1]), (side, side), dtype, gpu=on_gpu)
    # Scaled so that the products neither vanish nor overflow.
    bound.input[...] = np.random.default_rng(1).normal(0, side**-0.5, (side, side))
    bound.run()
    bound.run()
    return bound
