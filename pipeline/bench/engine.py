"""From Kafka to recognitions, against the models alone; and transport, against confluent-kafka alone.

A topic is filled with sealed frames, one per payment intent, each of an enrolled person: every frame is opened,
decoded, seen, searched, decided and answered by a recognition that is sent and confirmed, by the real agent in the real
`BatchLoop` (`embedding_process`). The baseline makes the model runs that this very round made, and decodes the same
JPEGs. `engine.predecoded` leaves unsealing and decoding out on both sides. `engine.transport` takes 50 KB records the
way the loop does, against one `consume(500)` after the other. All of it in client CPU: the broker is not counted.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import simplejpeg
from confluent_kafka import Consumer, TopicPartition

from pipeline.bench.bare import BareModels, open_taped
from pipeline.bench.embed import Stage
from pipeline.bench.embedding_process import EmbeddingPlan, EmbeddingRound, run_round
from pipeline.bench.frames import Frame, camera_frames, pictures
from pipeline.bench.own_process import in_own_process
from pipeline.bench.rounds import Run, Sample, interleave, spread, timed
from pipeline.bench.rows import Goal, Row, cost_row, speed_row
from pipeline.bench.topic import fill, new_topics
from pipeline.bootstrap import MAX_FACES, now_us
from pipeline.errors import KafkaUnavailable
from pipeline.keys.credentials import provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.frames import FrameSealer
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from pipeline.ports import Emit
from pipeline.runtime.taking import take
from pipeline.settings import Kafka
from schemas.events import PaymentTerms
from schemas.ids import derived_id

FRAMES, PERSONS, RECORDS = 192, 16, 2_000
RECORD_BYTES = 50_000
PARTITIONS = 8
PREDECODED_GOAL = Goal(">=", 0.95)
WHOLE_GOAL = Goal(">=", 0.9)
TRANSPORT_GOAL = Goal("<=", 60.0, of="ours")
_TERMINAL = "t-1"
_TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
_MINUTE_US = 60_000_000
_STALLED_S = 60.0


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
        self.broken += self.last.rejected > 0 or self.last.emitted != expected
        return self.last.sample

    @property
    def void(self) -> list[str]:
        """What was wrong."""
        return [f"in {self.broken} rounds a frame was rejected or not recognised exactly once"] if self.broken else []


CASES = {"engine": False, "engine.predecoded": True}
"""By case, whether the pixels lie ready."""


def run(
    rounds: int, models: Path, people: Path, kafka: Kafka, folder: Path, *, frames: int = FRAMES, records: int = RECORDS
) -> tuple[list[Row], list[Stage]]:
    """All rows and the agent's stages; `kafka` and `folder` (for keys) belong to this benchmark. Raises `ModelError`,
    `UsageError`, `KafkaUnavailable`."""
    rows, stages = agent(rounds, models, people, kafka, folder, frames=frames)
    return [*rows, transport(rounds, kafka, records=records)], stages


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
    taped = open_taped(models, liveness=False, max_faces=MAX_FACES)
    taped.engine.faces(pictures(seen))
    bare = BareModels(taped)
    rows, stages = [], []
    for case in cases:
        ours = _Agent(replace(plan, predecoded=CASES[case]))
        jpegs = [] if CASES[case] else [seen[number % PERSONS].jpeg for number in range(frames)]
        samples = interleave({"ours": ours, "bare": _baseline(ours, bare, jpegs)}, rounds, warm=warm)
        rows.append(_agent_row(case, ours, samples["ours"], samples["bare"]))
        stages += _stages(case, samples["ours"], samples["bare"])
    return rows, stages


def _prepared(models: Path, kafka: Kafka, folder: Path, seen: Sequence[Frame], frames: int) -> EmbeddingPlan:
    """A topic filled with sealed frames, and the plan of a round over it."""
    at_us = now_us()
    names = new_topics(kafka, {"frames": PARTITIONS, "recognitions": PARTITIONS, "hints": PARTITIONS})
    fill(kafka, _sealed(folder / "keys", seen, frames, at_us, names["frames"]))
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
    models = "session.run of the same models, batches and counts"
    return speed_row(
        case,
        ours,
        bare,
        item="frame",
        clock="cpu",
        goal=PREDECODED_GOAL if CASES[case] else WHOLE_GOAL,
        against=models if CASES[case] else f"{models}, and simplejpeg of the same frames",
        more={
            "frames": agent.plan.count,
            "model_runs": len(agent.last.runs) if agent.last else 0,
            "batches": agent.last.batches if agent.last else 0,
            "beyond_baseline_cpu_us_per_frame": beyond.median,
        },
        void=agent.void,
    )


def _baseline(agent: _Agent, bare: BareModels, jpegs: Sequence[bytes]) -> Run:
    """The model runs of the agent's newest round, after decoding as many JPEGs."""

    def run_again() -> Sample:
        assert agent.last is not None, "ours runs first in each turn"  # noqa: S101 - the order of `interleave`
        runs = agent.last.runs
        bare.prepare(runs)
        parts: dict[str, float] = {}

        def work() -> int:
            for jpeg in jpegs:
                simplejpeg.decode_jpeg(jpeg, colorspace="BGR")
            parts.update(bare.repeat(runs))
            return agent.plan.count

        sample = timed(work)
        return replace(sample, parts=parts)

    return run_again


def _stages(case: str, ours: Sequence[Sample], bare: Sequence[Sample]) -> list[Stage]:
    def per_frame(samples: Sequence[Sample], name: str) -> float:
        return round(spread([sample.parts[name] / sample.items * 1e6 for sample in samples]).median, 1)

    names = [name for name in ours[0].parts if ours[0].parts[name] > 0]
    return [Stage(case, n, per_frame(ours, n), per_frame(bare, n) if n in bare[0].parts else None) for n in names]


def transport(rounds: int, kafka: Kafka, *, records: int = RECORDS) -> Row:
    """Client CPU to take a 50 KB record, as the loop takes it and as confluent-kafka gives it."""
    topic = new_topics(kafka, {"transport": 1})["transport"]
    data = os.urandom(RECORD_BYTES)
    fill(kafka, (Emit(topic, b"key", data, partition=0) for _ in range(records)))

    def ours() -> Sample:
        return _consumed(kafka, topic, records, lambda c: len(take(c, 16, first_s=0.05, fill_s=0.002)))

    def bare() -> Sample:
        return _consumed(kafka, topic, records, lambda c: sum(m.error() is None for m in c.consume(500, 0.05)))

    samples = interleave({"ours": ours, "bare": bare}, rounds)
    return cost_row(
        "engine.transport",
        samples["ours"],
        samples["bare"],
        item="frame",
        goal=TRANSPORT_GOAL,
        against="confluent-kafka consume(500)",
        more={"records": records, "record_bytes": RECORD_BYTES},
    )


def _consumed(kafka: Kafka, topic: str, records: int, some: Callable[[Consumer], int]) -> Sample:
    """All records of the topic's only partition, by a consumer that is new and does nothing before it is measured."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": 20,
        }
    )

    def all_of_them() -> int:
        consumer.assign([TopicPartition(topic, 0, 0)])
        left, quiet_s = records, 0.0
        while left > 0:
            taken = some(consumer)
            left -= taken
            quiet_s = 0.0 if taken else quiet_s + 0.05
            if quiet_s > _STALLED_S:
                raise KafkaUnavailable(
                    f"reading {topic} at {kafka.bootstrap}: {left} of {records} records did not come"
                )
        return records

    try:
        return timed(all_of_them)
    finally:
        consumer.close()


def _sealed(keys: Path, frames: Sequence[Frame], count: int, at_us: int, topic: str) -> Iterator[Emit]:
    """`count` sealed frames, each of an intent of its own, on one lane's key."""
    keyring = Keyring.create(keys)
    epoch = keyring.new_frame_epoch()
    TerminalRegistry(keys).add(Terminal(_TERMINAL, "shop", "payee-1", "CNY"))
    sealer = FrameSealer(provision_camera(keyring, DeviceRegistry(keys).add(Camera("c-1", _TERMINAL)), [epoch]))
    for number in range(count):
        terms = PaymentTerms(
            intent_id=derived_id("bench", "intent", str(number)),
            terminal_id=_TERMINAL,
            merchant_id="shop",
            payee_id="payee-1",
            amount_minor=100,
            currency="CNY",
            opened_at_us=at_us - _MINUTE_US,
            expires_at_us=at_us + _MINUTE_US,
            key_epoch=epoch,
        )
        emit = sealer.seal(
            frames[number % len(frames)].jpeg, terms, sequence=number, captured_at_us=at_us, trace=_TRACE
        )
        yield replace(emit, topic=topic)
