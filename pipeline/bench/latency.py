"""How long a frame takes to be recognised while the agent is busy for 70 % of the time.

What the agent can do is measured first, over a topic that was filled before. Then frames come at 70 % of that rate, at
random times (independent lanes: exponential gaps, drawn by seed), and each one's time runs from its capture to the
timestamp of the recognition that it led to. The baseline is the time of the models alone for the largest batch that the
agent takes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.bench.bare import BareModels, open_taped
from pipeline.bench.embedding_process import EmbeddingPlan, run_round
from pipeline.bench.frames import Frame, pictures
from pipeline.bench.lane import Lane
from pipeline.bench.own_process import in_own_process
from pipeline.bench.rounds import Spread
from pipeline.bench.rows import Goal, Row
from pipeline.bench.topic import fill, new_topics
from pipeline.bootstrap import MAX_FACES, now_us
from pipeline.runtime.producer import make_producer, produce
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka, Vision
from schemas.codec import decode
from schemas.events import Recognition

FRAMES, WARM = 600, 96
LOAD = 0.7
LATENCY_GOAL = Goal("<=", 2.5)
LIMIT_MS = 500.0
_PARTITIONS = 8
_STARTED_S = 60.0


def latency(
    models: Path, kafka: Kafka, folder: Path, seen: Sequence[Frame], *, frames: int = FRAMES, warm: int = WARM
) -> Row:
    """The row `engine.latency`; `seen` are the pictures, `folder` gets a keyring. Raises as `engine.run`."""
    lane = Lane(folder / "latency-keys", seen)
    plan = _plan(models, kafka, folder / "latency-keys", seen)
    at_us = now_us()
    fill(kafka, (lane.frame(number, at_us, plan.source) for number in range(warm)))
    full = in_own_process(run_round, replace(plan, count=warm, clock_us=at_us + 1_000_000))
    rate = LOAD * full.sample.items / full.sample.wall_s
    paced = _plan(models, kafka, folder / "latency-keys", seen)
    millis = _paced(kafka, replace(paced, count=frames), lane, rate)
    batch_ms = _largest_batch_ms(models, seen)
    p99 = float(np.quantile(millis, 0.99)) if millis else 0.0
    return Row(
        case="engine.latency",
        unit="ms_p99",
        ours=p99,
        baseline=batch_ms,
        ratio=Spread(p99 / batch_ms, p99 / batch_ms, p99 / batch_ms),
        goal=LATENCY_GOAL,
        against=f"the models alone on a batch of {Vision().max_batch}",
        more={
            "frames": frames,
            "rate_per_s": rate,
            "load": LOAD,
            "p50_ms": float(np.quantile(millis, 0.5)) if millis else 0.0,
            "max_ms": max(millis, default=0.0),
            "limit_ms": LIMIT_MS,
            "below_limit": int(p99 <= LIMIT_MS),
        },
        void=[] if len(millis) == frames else [f"{len(millis)} of {frames} frames led to a recognition"],
    )


def _plan(models: Path, kafka: Kafka, keys: Path, seen: Sequence[Frame]) -> EmbeddingPlan:
    names = new_topics(kafka, {"frames": _PARTITIONS, "recognitions": _PARTITIONS, "hints": _PARTITIONS})
    return EmbeddingPlan(
        bootstrap=kafka.bootstrap,
        source=names["frames"],
        recognitions=names["recognitions"],
        hints=names["hints"],
        group=f"bench-{uuid.uuid4().hex[:8]}",
        count=0,
        clock_us=None,
        keys=keys,
        models=models,
        faces=[frame.jpeg for frame in seen],
        predecoded=False,
        liveness=False,
    )


def _paced(kafka: Kafka, plan: EmbeddingPlan, lane: Lane, rate: float) -> list[float]:
    """Milliseconds from capture to recognition of each frame, frames coming at `rate` a second."""
    gaps = np.random.default_rng(1).exponential(1 / rate, plan.count)
    producer = make_producer(kafka)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as beside:
        ready = Path(name) / "ready"
        done = beside.submit(in_own_process, run_round, replace(plan, ready=ready))
        waited_until = time.monotonic() + _STARTED_S
        while not ready.exists() and not done.done() and time.monotonic() < waited_until:
            time.sleep(0.02)
        due = time.perf_counter()
        for number, gap in enumerate(gaps.tolist()):
            due += gap
            time.sleep(max(0.0, due - time.perf_counter()))
            produce(producer, lane.frame(number, now_us(), plan.source), lambda *_: None)
            producer.poll(0)
        producer.flush(_STARTED_S)
        done.result()
    millis = []
    for message in read_topic(kafka, plan.recognitions, read_committed=False):
        event = decode(message.value, Recognition)
        millis.append((message.timestamp_us - event.captured_at_us) / 1000)
    return millis


def _largest_batch_ms(models: Path, seen: Sequence[Frame]) -> float:
    """Milliseconds of the models alone for as many frames as the agent takes at once, the median of five."""
    taped = open_taped(models, liveness=False, max_faces=MAX_FACES)
    images = pictures(seen)
    taped.engine.faces([images[number % len(images)] for number in range(Vision().max_batch)])
    runs = taped.runs()
    bare = BareModels(taped)
    bare.prepare(runs)
    bare.repeat(runs)
    return statistics.median(sum(bare.repeat(runs).values()) for _ in range(5)) * 1000
