"""From Kafka to recognitions, against the models alone.

A topic is filled with sealed frames, one per payment intent, each of an enrolled person: every frame is opened,
decoded, seen, searched, decided and answered by a recognition that is sent and confirmed, by the real agent in the real
`BatchLoop` (`embedding_process`). The baseline makes the model runs that this very round made, by bare `session.run`,
while a second thread decodes the same JPEGs: cores that work side by side slow each other, and both sides use as many.
`engine.predecoded` leaves unsealing and decoding out on both sides, `engine.liveness` has the liveness models in the
path. All of it in client CPU: the broker is not counted. `engine.transport` is in `transport`, `engine.latency` in
`latency`.

The stages of an agent are told in wall time per frame: what computed (with the model alone beside it), and apart from
it how long frames waited for the models, and the models for frames.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import simplejpeg

from pipeline.bench.bare import BareModels, open_taped
from pipeline.bench.embed import Stage
from pipeline.bench.embedding_process import EmbeddingPlan, EmbeddingRound, run_round
from pipeline.bench.frames import Frame, camera_frames, pictures
from pipeline.bench.lane import Lane
from pipeline.bench.latency import latency
from pipeline.bench.own_process import in_own_process
from pipeline.bench.rounds import Run, Sample, interleave, spread, timed
from pipeline.bench.rows import Goal, Row, speed_row
from pipeline.bench.topic import fill, new_topics
from pipeline.bench.transport import RECORDS, transport
from pipeline.bootstrap import MAX_FACES, now_us
from pipeline.settings import Kafka

FRAMES, PERSONS = 480, 16
"""The agent's process is new in each round and the baseline's is not: over this many frames what the agent's threads
touch for the first time (some 0.1 s) is a fiftieth."""
PARTITIONS = 8
PREDECODED_GOAL = Goal(">=", 0.95)
WHOLE_GOAL = Goal(">=", 0.9)


@dataclass(slots=True)
class _Agent:
    """Our side: a round of the agent in a new process each time; the newest is kept for the baseline."""

    plan: EmbeddingPlan
    last: EmbeddingRound | None = None
    broken: int = 0

    def __call__(self) -> Sample:
        group = f"bench-{uuid.uuid4().hex[:8]}"
        self.last = in_own_process(run_round, replace(self.plan, group=group))
        expected = 0 if self.plan.predecoded else self.plan.count
        self.broken += self.last.rejected > 0 or self.last.recognised != expected
        return self.last.sample

    @property
    def void(self) -> list[str]:
        """What was wrong."""
        return [f"in {self.broken} rounds a frame was rejected or not recognised exactly once"] if self.broken else []


@dataclass(frozen=True, slots=True)
class Variant:
    """What is in the path."""

    predecoded: bool = False
    liveness: bool = False


CASES: Mapping[str, Variant] = {
    "engine": Variant(),
    "engine.predecoded": Variant(predecoded=True),
    "engine.liveness": Variant(liveness=True),
}


def run(
    rounds: int, models: Path, people: Path, kafka: Kafka, folder: Path, *, frames: int = FRAMES, records: int = RECORDS
) -> tuple[list[Row], list[Stage]]:
    """All rows and the agent's stages; `kafka` and `folder` (for keys) belong to this benchmark. Raises `ModelError`,
    `UsageError`, `KafkaUnavailable`."""
    rows, stages = agent(rounds, models, people, kafka, folder, frames=frames)
    seen = camera_frames(people, PERSONS)
    return [*rows, transport(rounds, kafka, records=records), latency(models, kafka, folder, seen)], stages


def agent(
    rounds: int,
    models: Path,
    people: Path,
    kafka: Kafka,
    folder: Path,
    *,
    frames: int = FRAMES,
    cases: Sequence[str] = tuple(CASES),
    warm: bool = True,
) -> tuple[list[Row], list[Stage]]:
    """The rows of `CASES`: the agent against its models."""
    seen = camera_frames(people, PERSONS)
    plan = _prepared(models, kafka, folder, seen, frames)
    rows, stages = [], []
    for case in cases:
        variant = CASES[case]
        taped = open_taped(models, liveness=variant.liveness, max_faces=MAX_FACES)
        taped.engine.faces(pictures(seen))
        ours = _Agent(replace(plan, predecoded=variant.predecoded, liveness=variant.liveness))
        jpegs = [] if variant.predecoded else [seen[number % PERSONS].jpeg for number in range(frames)]
        bare = _baseline(ours, BareModels(taped), jpegs)
        samples = interleave({"ours": ours, "bare": bare}, rounds, warm=warm)
        rows.append(_agent_row(case, ours, samples["ours"], samples["bare"]))
        stages += _stages(case, samples["ours"], samples["bare"])
    return rows, stages


def _prepared(models: Path, kafka: Kafka, folder: Path, seen: Sequence[Frame], frames: int) -> EmbeddingPlan:
    """A topic filled with sealed frames, and the plan of a round over it."""
    at_us = now_us()
    names = new_topics(kafka, {"frames": PARTITIONS, "recognitions": PARTITIONS, "hints": PARTITIONS})
    lane = Lane(folder / "keys", seen)
    fill(kafka, (lane.frame(number, at_us, names["frames"]) for number in range(frames)))
    return EmbeddingPlan(
        bootstrap=kafka.bootstrap,
        source=names["frames"],
        recognitions=names["recognitions"],
        hints=names["hints"],
        group="",
        count=frames,
        clock_us=at_us + 1_000_000,
        keys=folder / "keys",
        models=models,
        faces=[frame.jpeg for frame in seen],
        predecoded=False,
        liveness=False,
    )


def _agent_row(case: str, agent: _Agent, ours: Sequence[Sample], bare: Sequence[Sample]) -> Row:
    beyond = spread([a.us_per_item("cpu") - b.us_per_item("cpu") for a, b in zip(ours, bare, strict=True)])
    idle = spread([sample.parts["idle"] / sample.wall_s for sample in ours])
    models = "session.run of the same models, batches and counts"
    return speed_row(
        case,
        ours,
        bare,
        item="frame",
        clock="cpu",
        goal=PREDECODED_GOAL if CASES[case].predecoded else WHOLE_GOAL,
        against=models if CASES[case].predecoded else f"{models}, and simplejpeg of the same frames",
        more={
            "frames": agent.plan.count,
            "model_runs": len(agent.last.runs) if agent.last else 0,
            "batches": agent.last.batches if agent.last else 0,
            "beyond_baseline_cpu_us_per_frame": beyond.median,
            "models_waited_share": idle.median,
        },
        void=agent.void,
    )


def _baseline(agent: _Agent, bare: BareModels, jpegs: Sequence[bytes]) -> Run:
    """The model runs of the agent's newest round, and beside them, in a thread of its own, as many JPEGs decoded."""

    def run_again() -> Sample:
        assert agent.last is not None, "ours runs first in each turn"  # noqa: S101 - the order of `interleave`
        runs = agent.last.runs
        bare.prepare(runs)
        parts: dict[str, float] = {}

        def decode() -> None:
            deque((simplejpeg.decode_jpeg(jpeg, colorspace="BGR") for jpeg in jpegs), maxlen=0)

        def work() -> int:
            with ThreadPoolExecutor(1) as beside:
                decoding = beside.submit(decode)
                parts.update(bare.repeat(runs))
                decoding.result()
            return agent.plan.count

        sample = timed(work)
        return replace(sample, parts=parts)

    return run_again


def _stages(case: str, ours: Sequence[Sample], bare: Sequence[Sample]) -> list[Stage]:
    def per_frame(samples: Sequence[Sample], name: str) -> float:
        return round(spread([sample.parts[name] / sample.items * 1e6 for sample in samples]).median, 1)

    names = [name for name in ours[0].parts if ours[0].parts[name] > 0]
    return [Stage(case, n, per_frame(ours, n), per_frame(bare, n) if n in bare[0].parts else None) for n in names]
