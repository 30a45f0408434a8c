"""A city of people who do not exist, as embeddings: one enrolled picture each, and pictures at a counter of some.

A person costs some thirty milliseconds, so that a hundred thousand take the better part of an hour of one core. What is
drawn stays: chunks lie under a folder, named by the models that made them, and a run that is cut off goes on where it
stopped. A person's embedding depends on their number and the models alone.

Everybody is numbered from `ENROLLED` or `STRANGERS` on, far from the people whom models were trained or judged on. A
picture goes the way of the product: JPEG, the shipped detector, alignment, the quality that the agents ask for, the
shipped embedder. Enrolled pictures are 360 x 450 and are searched for a face at 320 pixels, which saves half of the
time and costs a little accuracy.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtests.people.drawn import Painter, person, portrait, random_view
from loadtests.people.train.capturing import Pixels, picture, through_jpeg
from loadtests.people.train.judged import passes
from loadtests.people.train.shards import Plan, drawn
from pipeline.settings import Vision
from pipeline.vision.align import align, qualities
from pipeline.vision.detector import YuNet
from pipeline.vision.embedder import ArcFaceEmbedder
from pipeline.vision.models import SHIPPED, ModelStore
from pipeline.vision.sessions import Execution, open_session

ENROLLED = 10_000_000
"""Number of the first enrolled person."""
STRANGERS = 20_000_000
"""Number of the first person who is not enrolled."""

PROBES = 2
"""Pictures at a counter of each person who has any."""
TRIES = 6
CHUNK = 50
SIZE = (360, 450)
_SEARCHED_PX = 320

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Embeddings of length 1. `enrolled` (n, d); `mated` (m, PROBES, d) are further pictures of the persons
    `enrolled[owner]`, `strangers` (k, PROBES, d) those of people who are not enrolled. `lost` people have no picture
    that was good enough, or are not drawn yet.
    """

    enrolled: Floats = field(repr=False)
    owner: npt.NDArray[np.intp] = field(repr=False)
    mated: Floats = field(repr=False)
    strangers: Floats = field(repr=False)
    lost: int
    embedder: str


def crowd(work: Path, people: int, probes: int, *, workers: int = 1) -> Crowd:
    """`people` enrolled persons, the first `probes` of whom come to a counter, as do as many strangers; numbers are
    rounded up to chunks. What is not in `work` yet is drawn, the pictures at the counter first; with no `workers` what
    is there is all.
    """
    mated = drawn(_plan("mated", ENROLLED, min(people, probes)), work, workers=workers)
    strangers = drawn(_plan("strangers", STRANGERS, probes), work, workers=workers)
    enrolled = drawn(_plan("enrolled", ENROLLED, people), work, workers=workers)
    held, came, sound = (np.asarray(rows["complete"]) == 1 for rows in (enrolled, mated, strangers))
    both = np.flatnonzero(came & held[: len(came)])
    return Crowd(
        enrolled=np.asarray(enrolled["embedding"][:, 0])[held],
        owner=(np.cumsum(held) - 1)[both],
        mated=np.asarray(mated["embedding"])[both],
        strangers=np.asarray(strangers["embedding"])[sound],
        lost=int((~held).sum() + (~came).sum() + (~sound).sum()),
        embedder=_store().require("embedder").sha256,
    )


def _plan(kind: str, first: int, people: int) -> Plan:
    pictures = 1 if kind == "enrolled" else PROBES
    dimension = _embedder().dimension
    return Plan(
        f"crowd-{kind}-{_models()}",
        1,
        -(-people // CHUNK),
        CHUNK,
        {"embedding": ((pictures, dimension), "f4"), "complete": ((), "i1")},
        functools.partial(chunk, first=first, enrolled=kind == "enrolled"),
    )


def chunk(number: int, *, first: int, enrolled: bool) -> dict[str, npt.NDArray[Any]]:
    """Fifty people from the number `first` + 50 * `number` on: `embedding` (50, pictures, d), `complete` (50,)."""
    pictures = 1 if enrolled else PROBES
    take = _enrolment if enrolled else _visit
    faces = [take(first + number * CHUNK + index) for index in range(CHUNK)]
    complete = np.array([len(taken) == pictures for taken in faces], np.int8)
    every = [face for taken in faces for face in taken]
    vectors = iter(_embedder().embed(np.stack(every)) if every else ())
    embedding = np.zeros((CHUNK, pictures, _embedder().dimension), np.float32)
    for row, taken in enumerate(faces):
        for column in range(len(taken)):
            embedding[row, column] = next(vectors)
    return {"embedding": embedding, "complete": complete}


def _enrolment(number: int) -> list[Pixels]:
    """The aligned face of one good portrait; nothing where two tries give none."""
    painter = Painter(person(number))
    for attempt in range(2):
        sent = through_jpeg(portrait(painter, number + attempt, size=SIZE), 92)
        face = _face(_detector(_SEARCHED_PX), sent)
        if face is not None:
            return [face]
    return []


def _visit(number: int) -> list[Pixels]:
    """`PROBES` aligned faces at a counter, in views drawn anew; fewer where too many pictures were refused."""
    painter, rng = Painter(person(number)), np.random.default_rng([13, number])
    taken: list[Pixels] = []
    for _ in range(PROBES * TRIES):
        if len(taken) == PROBES:
            break
        face = _face(_detector(None), picture(painter, random_view(rng), rng)[0])
        if face is not None:
            taken.append(face)
    return taken


def _face(finder: YuNet, pixels: Pixels) -> Pixels | None:
    """The largest face of a picture, aligned; None where there is none or the agents would refuse it."""
    (seen,) = finder.detect([pixels])
    if not len(seen.boxes):
        return None
    aligned = align([pixels], seen.landmarks[:1])
    face: Pixels = aligned[0]
    return face if passes(qualities(seen.landmarks[:1], aligned)[0], Vision()) else None


@functools.cache
def _store() -> ModelStore:
    return ModelStore.open(SHIPPED, drawn=True)


@functools.cache
def _detector(max_side_px: int | None) -> YuNet:
    """The shipped detector, as it is or with pictures scaled to this size first."""
    spec = _store().require("detector")
    limited = spec if max_side_px is None else replace(spec, max_side_px=max_side_px)
    return YuNet(open_session(_store(), limited, Execution()))


@functools.cache
def _embedder() -> ArcFaceEmbedder:
    return ArcFaceEmbedder(open_session(_store(), _store().require("embedder"), Execution()))


def _models() -> str:
    return "-".join(_store().require(role).sha256[:8] for role in ("detector", "embedder"))
