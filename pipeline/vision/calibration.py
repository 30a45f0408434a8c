"""Measures an embedder's ranges on real faces and what integers cost and gain there: how `int8.toml` came to be.

Every `every`-th picture gives ranges, the others are judged: the cosine of each face's two embeddings, and the time of
one against the other in turns, on one thread. Error rates are those of `facepay evaluate recognition` with
vision.precision set to int8.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError
from pipeline.vision.align import align
from pipeline.vision.decode import read_image
from pipeline.vision.detector import YuNet
from pipeline.vision.embedder import ArcFaceEmbedder
from pipeline.vision.models import ModelStore
from pipeline.vision.quantise import Recipe, measured_ranges, quantised
from pipeline.vision.sessions import Execution, load_session, open_session
from pipeline.vision.tensors import Pixels

ROUNDS = 15
BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The recipe and, over `faces` faces that it never saw, the least and mean cosine with float32 and how many times
    faster a batch of `BATCH` is.
    """

    recipe: Recipe
    faces: int
    least_cosine: float
    mean_cosine: float
    speedup: float


def calibrate(
    store: ModelStore, name: str, pictures: Sequence[Path], *, every: int, float_first: int, float_last: int, said: str
) -> Calibration:
    """For the embedder `name`; `said` names the pictures in the recipe. Raises `ModelError`, `UsageError`."""
    spec = store.require("embedder", name)
    source = store.read(spec)
    images = [read_image(path) for path in pictures]
    found = YuNet(open_session(store, store.require("detector"), Execution())).detect(images)
    seen = [index for index, faces in enumerate(found) if len(faces.scores)]
    aligned = align([images[i] for i in seen], np.stack([found[i].landmarks[0] for i in seen]))
    if len(aligned) <= every:
        raise UsageError(f"measuring ranges: {len(aligned)} faces were found in {len(pictures)} pictures; give more")
    chosen = np.arange(len(aligned)) % every == 0
    session = load_session(spec, source, Execution())
    pixels = Pixels(spec.input, inside=False)
    bound = session.bound(pixels.shape(int(chosen.sum()), *aligned.shape[1:3]))
    pixels.fill(bound, list(aligned[chosen]))
    planes = bound.input
    recipe = Recipe(
        name=spec.name,
        sha256=spec.sha256,
        float_first=float_first,
        float_last=float_last,
        calibrated_on=said,
        ranges=measured_ranges(source, spec.input.name, [planes[i : i + 1] for i in range(len(planes))]),
    )
    plain, integers = (
        ArcFaceEmbedder(load_session(spec, data, Execution(batch=BATCH)))
        for data in (source, quantised(source, recipe))
    )
    rest = aligned[~chosen]
    cosines = np.einsum("ij,ij->i", plain.embed(rest), integers.embed(rest))
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for embedder, taken in zip((plain, integers), times, strict=True):
            started = time.perf_counter()
            embedder.embed(rest[:BATCH])
            taken.append(time.perf_counter() - started)
    return Calibration(
        recipe=recipe,
        faces=len(rest),
        least_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        speedup=float(np.median(times[0]) / np.median(times[1])),
    )
