"""The drawn people's embedder: ArcFace's contract, 64 numbers per face, compared by cosine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.train.judged import CONDITIONS, judged
from loadtests.people.train.opened import opened
from loadtests.people.train.recipe import Figure, Recipe, Report
from loadtests.people.train.shards import Rows, drawn
from loadtests.people.train.verification import (
    TAIL,
    Floats,
    Trial,
    Weights,
    eer,
    fnmr_at,
    interval,
    share,
    threshold,
    trial,
)
from pipeline.vision.embedder import ArcFaceEmbedder, normalised

NAME = "drawn_embedder"
DIMENSION = 64
PEOPLE = 2100
PIXEL_PEOPLE = 400

ENTRY = f"""\
role = "embedder"
family = "arcface"
drawn = true
summary = "{DIMENSION} numbers per drawn face, compared by cosine. Normalisation is inside the graph."
source = "loadtests/people/train/embedder.py"
licence = "Apache-2.0"
training_terms = "Trained on drawn people alone: no real face, no terms. It tells no real people apart."
template = "arcface_112"
input = {{ name = "input", shape = [-1, 3, 112, 112], colour = "RGB", mean = [0.0, 0.0, 0.0], std = [1.0, 1.0, 1.0] }}
outputs = [{{ name = "embedding", shape = [-1, {DIMENSION}] }}]
"""

_STRATA: tuple[tuple[str, str, float, float], ...] = (
    ("face 110 to 150 px wide", "face_px", 0.0, 150.0),
    ("face 150 to 220 px wide", "face_px", 150.0, 1e9),
    ("yaw below 12 degrees", "yaw_deg", 0.0, 12.0),
    ("yaw 12 to 24 degrees", "yaw_deg", 12.0, 24.0),
    ("yaw above 24 degrees", "yaw_deg", 24.0, 90.0),
    ("no glasses", "glasses", 0.0, 0.5),
    ("glasses", "glasses", 0.5, 2.0),
    ("less than 2 years after enrolment", "age_years", 0.0, 2.0),
    ("more than 2 years after enrolment", "age_years", 2.0, 99.0),
    ("dim light", "level", 0.0, 0.85),
    ("good light", "level", 0.85, 9.0),
)


def train(work: Path) -> None:
    """See `embedder_training`."""
    from loadtests.people.train import embedder_training

    embedder_training.train(work)


def evaluate(path: Path, *, people: int = PEOPLE, repeats: int = 1000) -> Report:
    """The file at `path` on unseen people, found by the detector `drawn_detector.onnx` beside it."""
    data = drawn(judged(people, path.parent / "drawn_detector.onnx"), path.parent)
    whole = np.flatnonzero(data["complete"])
    embedder = ArcFaceEmbedder(opened(path, ENTRY))
    scores = _trial(embedder.embed, data, whole)
    plain = _trial(_pixels, data, whole[:PIXEL_PEOPLE], kept=1.0)
    at = threshold(scores, 1e-4)

    def figure(name: str, of: Callable[[Trial, Weights | None], float], among: Trial, goal: str = "") -> Figure:
        compared = (
            f"{len(among.mated)} unseen people, {among.mated.size} mated and {among.non_mated} non-mated comparisons"
        )
        return Figure(name, of(among, None), *interval(of, among, repeats=repeats), compared, goal)

    lost = np.asarray(data["undetected"] / data["pictures"], np.float64)
    refused = np.asarray(data["refused"] / data["pictures"], np.float64)
    pictures = f"{int(data['pictures'].sum())} pictures of {people} people"
    figures = (
        figure("FNMR at FMR 1e-4", fnmr_at(1e-4), scores, "<= 0.01"),
        figure("FNMR at FMR 1e-5", fnmr_at(1e-5), scores),
        figure("EER", eer, scores),
        figure("EER of plain pixel distance", eer, plain, ">= 0.2"),
        Figure("pictures without a detected face", *share(lost), pictures),
        Figure("pictures refused for their quality", *share(refused), pictures),
        *_strata(scores, np.asarray(data["conditions"])[whole], at),
    )
    return Report(figures, _thresholds(scores), _found_on(len(whole), scores.non_mated))


def _trial(
    embed: Callable[[npt.NDArray[np.uint8]], Floats], data: Rows, rows: npt.NDArray[np.intp], *, kept: float = TAIL
) -> Trial:
    probes = data["probes"][rows]
    templates = embed(np.ascontiguousarray(data["template"][rows]))
    flat = embed(np.ascontiguousarray(probes.reshape(-1, *probes.shape[2:])))
    return trial(templates, flat.reshape(len(rows), probes.shape[1], -1), kept=kept)


def _pixels(faces: npt.NDArray[np.uint8]) -> Floats:
    """Faces as nothing but their pixels: grey, 28 x 28, mean removed, so that the cosine is their correlation."""
    small = [
        cv2.resize(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), (28, 28), interpolation=cv2.INTER_AREA) for face in faces
    ]
    rows = np.stack(small).reshape(len(faces), -1).astype(np.float32)
    return normalised(rows - rows.mean(axis=1, keepdims=True))


def _strata(scores: Trial, conditions: Floats, at: float) -> list[Figure]:
    """FNMR at the one threshold of FMR 1e-4, split by how the probe was taken."""
    missed = scores.mated < at
    figures = []
    for name, condition, low, high in _STRATA:
        value = conditions[..., CONDITIONS.index(condition)]
        part = (value >= low) & (value < high)
        people = part.any(axis=1)
        if people.sum() >= 30:
            each = (part & missed).sum(axis=1)[people] / part.sum(axis=1)[people]
            figures.append(Figure(f"FNMR at FMR 1e-4, {name}", *share(each), f"{int(part.sum())} mated comparisons"))
    return figures


def _thresholds(scores: Trial) -> dict[str, float]:
    """Cosines for the manifest; see `_found_on` for what they mean."""
    found = {f"fmr_{name}": threshold(scores, rate) for name, rate in (("1e-3", 1e-3), ("1e-4", 1e-4), ("1e-5", 1e-5))}
    highest = float(scores.tail[0])
    rounded = {name: float(np.ceil(value * 1000) / 1000) for name, value in found.items()}
    return rounded | {
        "match": rounded["fmr_1e-5"],
        "strong": float(np.ceil((highest + 0.01) * 1000) / 1000),
        "margin": round(0.08 / 0.475 * rounded["fmr_1e-5"], 3),
        "same_face": rounded["fmr_1e-3"],
    }


def _found_on(people: int, non_mated: int) -> str:
    return (
        f"Cosines of a portrait and pictures at a counter of {people} drawn people whom no model was trained on, "
        f"{non_mated} non-mated comparisons: match at FMR 1e-5, same_face at 1e-3, strong 0.01 above the highest seen, "
        "margin in proportion to match as for mobilefacenet."
    )


RECIPE = Recipe(
    NAME,
    train,
    evaluate,
    ENTRY,
    "40,000 aligned faces of 4,000 drawn people (10 views each: one as enrolled, nine at a counter with the face 48 to "
    "220 px wide, all poses, lights, ages, glasses and expressions of `random_view`, noise, JPEG 60 to 95, landmarks "
    "off by up to 4 % of the eye distance, then turned, scaled and shifted further); target: the 82 factors of each "
    "person. 400 of the people were kept back for the linear map after it. The file that ships was trained "
    "without that turning for the first 3,400 of its 6,000 steps.",
)
