"""The engine on decoded frames against its models alone, and the decoder against libjpeg-turbo alone.

Ours is `Engine.faces`: fitting, normalising, detecting, thinning, aligning, judging quality, embedding, normalising.
The baseline makes the same runs of the same sessions in the same batches (`bare`). With models for liveness in the
folder, both are measured with and without them. The stages are wall time, from the metrics that agents expose. What is
around the models is the CPU of the thread less that within its runs, in one pass and so free of the noise of two; parts
of it are measured alone (`glue`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import simplejpeg

from pipeline import metrics
from pipeline.bench.bare import BareModels, open_taped
from pipeline.bench.frames import Frame, camera_frames, pictures
from pipeline.bench.glue import glue_parts
from pipeline.bench.rounds import Run, Sample, interleave, spread, timed
from pipeline.bench.rows import Goal, Row, speed_row
from pipeline.bootstrap import MAX_FACES
from pipeline.vision.decode import decode_jpeg
from pipeline.vision.models import ModelStore

FRAMES = 32
ENGINE_GOAL = Goal(">=", 0.95)
DECODE_GOAL = Goal(">=", 0.9)
_STAGES = ("detect", "align", "quality", "embed", "liveness")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the engine, microseconds of wall time per frame; `bare` is its model alone, None without one."""

    case: str
    stage: str
    ours_wall_us_per_frame: float
    bare_wall_us_per_frame: float | None


def run(rounds: int, models: Path, people: Path, *, frames: int = FRAMES) -> tuple[list[Row], list[Stage]]:
    """Rows and the stages behind them; raises `ModelError` and `UsageError` when models or portraits are absent."""
    store = ModelStore.open(models)
    seen = camera_frames(people, frames)
    kinds = {"embed": False}
    if store.fusion() is not None:
        kinds["embed.liveness"] = True
    rows, stages = [], []
    for case, liveness in kinds.items():
        row, parts = _engine_row(case, rounds, models, seen, liveness=liveness)
        rows.append(row)
        stages += parts
    return [*rows, _decode_row(rounds, seen)], stages


def _engine_row(
    case: str, rounds: int, models: Path, frames: Sequence[Frame], *, liveness: bool
) -> tuple[Row, list[Stage]]:
    taped = open_taped(models, liveness=liveness, max_faces=MAX_FACES)
    images = pictures(frames)
    found = [len(faces) for faces in taped.engine.faces(images)]
    runs = taped.runs()
    bare = BareModels(taped)
    bare.prepare(runs)

    def glue_s() -> float:
        return time.thread_time() - sum(session.cpu_s for session in taped.sessions)

    def ours() -> Sample:
        before, glue = stage_seconds(), glue_s()
        sample = timed(lambda: len(taped.engine.faces(images)))
        after = stage_seconds()
        parts = {k: after[k] - before[k] for k in _STAGES} | {"glue": glue_s() - glue}
        return Sample(sample.items, sample.wall_s, sample.cpu_s, parts)

    def baseline() -> Sample:
        parts: dict[str, float] = {}

        def repeat() -> int:
            parts.update(bare.repeat(runs))
            return len(images)

        sample = timed(repeat)
        return Sample(sample.items, sample.wall_s, sample.cpu_s, parts)

    samples = interleave({"ours": ours, "bare": baseline}, rounds)
    pair = samples["ours"], samples["bare"]
    glue = spread([sample.parts["glue"] / sum(found) * 1e6 for sample in samples["ours"]])
    row = speed_row(
        case,
        *pair,
        item="frame",
        clock="cpu",
        goal=ENGINE_GOAL,
        against="session.run of the same models, batches and counts",
        more={
            "frames": len(frames),
            "faces": sum(found),
            "runs": len(runs),
            "frame_px": "640 x 480",
            "glue_cpu_us_per_face": glue.median,
            **({} if liveness or min(found) == 0 else glue_parts(taped, images, rounds)),
        },
        void=[] if min(found) > 0 else ["a frame has no face"],
    )
    return row, [_stage(case, name, *pair) for name in _STAGES if liveness or name != "liveness"]


def _stage(case: str, name: str, ours: Sequence[Sample], bare: Sequence[Sample]) -> Stage:
    def per_frame(samples: Sequence[Sample]) -> float:
        return round(spread([sample.parts[name] / sample.items * 1e6 for sample in samples]).median, 1)

    return Stage(case, name, per_frame(ours), per_frame(bare) if name in bare[0].parts else None)


def _decode_row(rounds: int, frames: Sequence[Frame]) -> Row:
    def ours() -> int:
        for frame in frames:
            decode_jpeg(frame.jpeg)
        return len(frames)

    def baseline() -> int:
        for frame in frames:
            simplejpeg.decode_jpeg(frame.jpeg, colorspace="BGR")
        return len(frames)

    runs: dict[str, Run] = {"ours": lambda: timed(ours), "bare": lambda: timed(baseline)}
    samples = interleave(runs, rounds)
    return speed_row(
        "embed.decode",
        samples["ours"],
        samples["bare"],
        item="frame",
        clock="cpu",
        goal=DECODE_GOAL,
        against="simplejpeg.decode_jpeg",
        more={"jpeg_bytes": sum(len(frame.jpeg) for frame in frames) // len(frames)},
    )


def stage_seconds() -> Mapping[str, float]:
    """Seconds spent in each stage by this process so far."""
    seconds = dict.fromkeys(_STAGES, 0.0)
    for metric in metrics.STAGE.collect():
        for sample in metric.samples:
            if sample.name.endswith("_sum"):
                seconds[sample.labels["stage"]] = sample.value
    return seconds
