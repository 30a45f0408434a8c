"""Sightings of people who are directions in space: what an engine would have seen, without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.comparisons import Comparisons
from pipeline.evaluate.sightings import Outcome, Sighting
from pipeline.vision.faces import Box, Face, Quality

GOOD = Quality(eye_distance_px=50, sharpness=300, brightness=0.5, exposure=0.0, yaw=0.0, pitch=0.0, roll=0.0)


def seen(
    file: str,
    embedding: Sequence[float] | npt.NDArray[np.float64] = (1.0,),
    *,
    outcome: Outcome = "seen",
    quality: Quality = GOOD,
    live: float | None = None,
    eye: float | None = None,
    **labels: str,
) -> Sighting:
    """A picture whose face has this embedding, made of length 1; `live` is its fused score, `eye` the
    probability that its eyes are open, which is sure from 0.6 and up to 0.4."""
    vector = np.asarray(embedding, np.float64)
    face = Face(
        box=Box(0, 0, 90, 100),
        landmarks=np.zeros((5, 2), np.float32),
        detection=0.9,
        quality=quality,
        embedding=(vector / np.linalg.norm(vector)).astype(np.float32),
        live=None if live is None else {"fused": live},
        eyes=None if eye is None else (eye, eye),
        eyes_open=None if eye is None or 0.4 < eye < 0.6 else eye >= 0.6,
    )
    missing = outcome in {"unreadable", "not_detected"}
    return Sighting({"file": file, **labels}, outcome, None if missing else face, 0 if missing else 1)


def crowd(people: int, pictures: int, *, noise: float, seed: int, dimension: int = 8) -> list[Sighting]:
    """So many people with so many pictures each, alike up to `noise`."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(people, dimension))
    return [
        seen(f"{who}-{k}.jpg", centres[who] + noise * draw.normal(size=dimension), identity=f"p{who}")
        for who in range(people)
        for k in range(pictures)
    ]


def of_scores(mated: Sequence[float], non_mated: Sequence[float]) -> Comparisons:
    """Comparisons with exactly these scores: mated pair i is of person i, the others are of pairs of different people,
    in the order (0, 1), (0, 2), (1, 2), (0, 3), ..., one picture of each person there, two in the mated pairs.
    """
    people = max(len(mated), next(n for n in range(2, 10_000) if n * (n - 1) // 2 >= len(non_mated)))
    pairs = [(a, b) for b in range(people) for a in range(b)][: len(non_mated)]
    order = np.argsort(-np.asarray(non_mated, np.float64), kind="stable")
    return Comparisons(
        people=people,
        person=np.arange(people, dtype=np.int32),
        embeddings=np.zeros((people, 1), np.float32),
        mated=np.asarray(mated, np.float64),
        mated_pictures=np.array([(k, k) for k in range(len(mated))], np.int32).reshape(-1, 2),
        non_mated=np.asarray(non_mated, np.float64)[order],
        non_mated_pictures=np.array(pairs, np.int32).reshape(-1, 2)[order],
    )
