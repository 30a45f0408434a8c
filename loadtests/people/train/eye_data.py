"""Eye patches to learn from: real open eyes, the same with lids closed by `lids`, and drawn eyes.

Real eyes come from the portraits beside a checkout (../shared/faces/congress); a fifth of the identities, chosen by
their number, is held out of training. Of every real eye there are copies as photographed, copies in disguise (traces of
the lid operation without a closed lid), and copies closed by some share; the target falls from 1 (open) at a closure
of `OPEN` to 0 at `SHUT`, and what lies between weighs less, because nobody can say what it is. Drawn eyes carry their
truth.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.drawn import Painter, View, person, random_view
from loadtests.people.train import lids, shards
from loadtests.people.train.capturing import as_found, picture
from loadtests.people.train.shards import Plan
from pipeline.errors import UsageError
from pipeline.vision.decode import Image, read_image
from pipeline.vision.detector import YuNet
from pipeline.vision.models import ModelStore
from pipeline.vision.sessions import Execution, open_session

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
"""Where portraits and the real detector lie, beside the checkout."""

OPEN, SHUT = 0.35, 0.8
"""Up to this closure an eye is open, from this one on it is closed."""

PAINTING = "020107"
"""The identity that is an oil painting."""

LEAST_CLARITY = 1.2
"""Eyes whose lids' edges stand out less are not closed by rendering: the lid would come down beside the eye."""

PER_PERSON = 4
PEOPLE_PER_CHUNK = 10


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """Patches uint8 (n, PATCH_PX, PATCH_PX), the closure of each (0 open .. 1 closed) and the identity it shows."""

    patches: npt.NDArray[np.uint8]
    closure: npt.NDArray[np.float32]
    identity: npt.NDArray[np.int64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> Eyes:
        """Those eyes alone."""
        return Eyes(self.patches[chosen], self.closure[chosen], self.identity[chosen])

    def target(self) -> npt.NDArray[np.float32]:
        """Probability of "open" to learn."""
        return np.asarray(np.clip((SHUT - self.closure) / (SHUT - OPEN), 0, 1), np.float32)

    def weight(self) -> npt.NDArray[np.float32]:
        """1 for eyes that are open or closed, less between."""
        target = self.target()
        return np.asarray(np.where((target > 0) & (target < 1), 0.2, 1.0), np.float32)


def patches(image: Image, landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Both eyes of a face with `landmarks` (5, 2), as `lids` wants them: uint8 (2, PATCH_PX, PATCH_PX), right eye
    first, the left one mirrored.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    across = landmarks[1].astype(np.float64) - landmarks[0]
    out = np.empty((2, lids.PATCH_PX, lids.PATCH_PX), np.uint8)
    for target, centre, mirror in zip(out, landmarks[:2].astype(np.float64), (1.0, -1.0), strict=True):
        step, first = across / lids.SCALE, -(lids.PATCH_PX - 1) / 2
        right, down = step * mirror, np.array([-step[1], step[0]])
        origin = centre + first * right + first * down
        fewer = np.hypot(*step)
        source = cv2.GaussianBlur(grey, (0, 0), 0.5 * fewer) if fewer > 1.3 else grey
        cv2.warpAffine(
            source,
            np.array([[right[0], down[0], origin[0]], [right[1], down[1], origin[1]]]),
            (lids.PATCH_PX, lids.PATCH_PX),
            dst=target,
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return out


def held_out(identity: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which identities no training sees: about a fifth, by a hash of their numbers, so that it stays the same fifth."""
    return np.array([hashlib.sha256(str(number).encode()).digest()[0] < 64 for number in identity.tolist()], np.bool_)


def portraits(shared: Path = SHARED) -> Iterator[tuple[int, Image, npt.NDArray[np.float32]]]:
    """Identity, picture and landmarks of the face of every portrait but the painting."""
    folder = shared / "faces" / "congress"
    if not (folder / "index.csv").is_file():
        raise UsageError(f"looking for portraits: {folder} has no index.csv; put the shared folder beside the checkout")
    store = ModelStore.open(shared / "models")
    detector = YuNet(open_session(store, store.require("detector"), Execution()))
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["identity"] != PAINTING]
    for row in rows:
        image = read_image(folder / row["file"])
        found = detector.detect([image])[0]
        if len(found.scores):
            yield int(row["identity"]), image, found.landmarks[0]


def real_open(shared: Path = SHARED) -> Eyes:
    """The portraits' eyes as they are."""
    pairs = [(identity, patches(image, landmarks)) for identity, image, landmarks in portraits(shared)]
    identity = np.repeat(np.array([number for number, _ in pairs], np.int64), 2)
    return Eyes(np.concatenate([both for _, both in pairs]), np.zeros(len(identity), np.float32), identity)


def with_lids(eyes: Eyes, seed: int, *, plain: int, disguised: int, closed: int, between: int, little: int) -> Eyes:
    """So many copies of each open eye: as it is, in disguise, closed, in between, and a little closed (still open)."""
    rng = np.random.default_rng(seed)
    out: list[npt.NDArray[np.uint8]] = []
    closures: list[float] = []
    rows: list[int] = []

    def add(row: int, patch: lids.Patch, closure: float) -> None:
        out.append(np.clip(patch, 0, 255).astype(np.uint8))
        closures.append(closure)
        rows.append(row)

    for row, pixels in enumerate(eyes.patches):
        patch = pixels.astype(np.float32)
        opening = lids.find(patch)
        for _ in range(plain):
            add(row, patch, 0.0)
        for _ in range(disguised):
            add(row, lids.disguise(patch, opening, rng), 0.0)
        if opening.clarity < LEAST_CLARITY:
            continue
        # Of narrow eyes, a third less is not open any more.
        narrow = OPEN * min(opening.height / 11.0, 1.0) ** 2
        for low, high, count in ((0.85, 1.1, closed), (narrow, 0.85, between), (0.05, narrow, little)):
            for _ in range(count):
                closure = min(float(rng.uniform(low, high)), 1.0)
                add(row, lids.close(patch, opening, closure, rng), 0.0 if high == narrow else closure)
    return Eyes(np.stack(out), np.array(closures, np.float32), eyes.identity[rows])


def shut(eyes: Eyes, seed: int) -> tuple[Eyes, npt.NDArray[np.bool_]]:
    """Every eye with its lids shut by rendering, and for which of them their edges were clear enough to do so."""
    rng = np.random.default_rng(seed)
    out, clear = np.empty_like(eyes.patches), np.empty(len(eyes.patches), np.bool_)
    for row, pixels in enumerate(eyes.patches):
        patch = pixels.astype(np.float32)
        opening = lids.find(patch)
        clear[row] = opening.clarity >= LEAST_CLARITY
        out[row] = np.clip(lids.close(patch, opening, 1.0, rng), 0, 255)
    return Eyes(out, np.ones(len(out), np.float32), eyes.identity), clear


def drawn(work: Path, people: int, *, first: int, per_person: int = PER_PERSON, test: bool = False) -> Eyes:
    """Both eyes of drawn people from number `first` on, `per_person` pictures of each, with lids anywhere between open
    and closed; for a `test` both eyes are open in one picture and both closed in the next. Drawn once into `work`.
    """
    plan = Plan(
        name="test_eyes" if test else "training_eyes",
        version=2,
        chunks=people // PEOPLE_PER_CHUNK,
        rows=PEOPLE_PER_CHUNK * per_person * 2,
        fields={
            "patches": ((lids.PATCH_PX, lids.PATCH_PX), "uint8"),
            "closure": ((), "float32"),
            "identity": ((), "int64"),
        },
        draw=partial(_chunk, first, per_person, test),
    )
    rows = shards.drawn(plan, work)
    return Eyes(np.asarray(rows["patches"]), np.asarray(rows["closure"]), np.asarray(rows["identity"]))


def _chunk(first: int, per_person: int, test: bool, chunk: int) -> dict[str, npt.NDArray[Any]]:  # noqa: FBT001 - bound by `partial`
    out: list[npt.NDArray[np.uint8]] = []
    closures: list[float] = []
    identity: list[int] = []
    for number in range(first + chunk * PEOPLE_PER_CHUNK, first + (chunk + 1) * PEOPLE_PER_CHUNK):
        rng = np.random.default_rng([6, number])
        painter = Painter(person(number))
        for index in range(per_person):
            image, truth = picture(painter, _view(rng, (index + 1) % 2 if test else None), rng)
            out.append(patches(image, as_found(truth.landmarks, rng, spread=0.02 if test else 0.04)))
            closures += [1.0 - value for value in truth.eyes_open]
            identity += [number, number]
    return {"patches": np.concatenate(out), "closure": np.array(closures), "identity": np.array(identity)}


def first_yaw_deg(number: int) -> float:
    """How far a test person's head is turned in the first picture, the one with open eyes: its view is the first thing
    that the person's random numbers decide.
    """
    return _view(np.random.default_rng([6, number]), 1).yaw_deg


def _view(rng: np.random.Generator, opened: int | None) -> View:
    """Lids open (`opened` 1), closed (0), or either or anywhere (None); of the last some wink, so that a brow or a
    smile says nothing about an eye.
    """
    view = random_view(rng, face_px=(60.0, 240.0), max_yaw_deg=40.0, max_pitch_deg=25.0, glasses=0.3)

    def lid(kind: float) -> float:
        return float(rng.uniform(0.65, 1.0) if kind < 0.4 else rng.uniform(0.0, 0.05) if kind < 0.8 else rng.random())

    if opened is not None:
        both = lid(0.0 if opened else 0.5)
        return replace(view, eyes_open=(both, both))
    both = lid(rng.random())
    return replace(view, eyes_open=(both, lid(rng.random()) if rng.random() < 0.3 else both))
