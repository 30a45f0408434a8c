"""Faces of people whom no model was trained on, found and aligned as the product does it: what embedders are judged on.

Per person one portrait for the template and some pictures at a counter. A picture in which the detector finds nothing,
or whose quality the agent would refuse, is counted and another one is taken, as a camera would.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtests.people.drawn import Painter, View, person, portrait, random_view
from loadtests.people.train.capturing import EVALUATION, Pixels, picture, through_jpeg
from loadtests.people.train.detector import ENTRY, THRESHOLDS
from loadtests.people.train.opened import opened
from loadtests.people.train.shards import Plan, Rows
from pipeline.settings import Vision
from pipeline.vision.align import SIDE_PX, align, qualities
from pipeline.vision.detector import YuNet
from pipeline.vision.faces import Quality

PROBES = 2
TRIES = 6
PEOPLE_PER_CHUNK = 20

CONDITIONS = ("face_px", "yaw_deg", "pitch_deg", "age_years", "glasses", "level")
"""What is kept of each probe's view, in this order."""


def judged(people: int, detector: Path) -> Plan:
    """`people` unseen persons: `template` and `probes` (BGR), `conditions` of the probes, `undetected` and `refused`
    pictures on the way to them, `complete` 1 where all probes were had in `TRIES` pictures each.
    """
    digest = hashlib.sha256(detector.read_bytes()).hexdigest()[:8]
    fields = {
        "template": ((SIDE_PX, SIDE_PX, 3), "u1"),
        "probes": ((PROBES, SIDE_PX, SIDE_PX, 3), "u1"),
        "conditions": ((PROBES, len(CONDITIONS)), "f4"),
        "pictures": ((), "i4"),
        "undetected": ((), "i4"),
        "refused": ((), "i4"),
        "complete": ((), "i1"),
    }
    draw = functools.partial(chunk, detector=detector)
    return Plan(f"judged-{digest}", 1, people // PEOPLE_PER_CHUNK, PEOPLE_PER_CHUNK, fields, draw)


def chunk(number: int, *, detector: Path) -> Rows:
    """Twenty people, seen through the detector in that file."""
    finder = YuNet(opened(detector, ENTRY, THRESHOLDS))
    rows = [_one(EVALUATION + number * PEOPLE_PER_CHUNK + index, finder) for index in range(PEOPLE_PER_CHUNK)]
    return {field: np.stack([row[field] for row in rows]) for field in rows[0]}


def _one(seed: int, finder: YuNet) -> dict[str, npt.NDArray[np.generic]]:
    painter, rng = Painter(person(seed)), np.random.default_rng([7, seed])
    counts = {"pictures": 0, "undetected": 0, "refused": 0}
    enrolled = _face(finder, through_jpeg(portrait(painter.who, seed), 92), counts)
    taken: list[tuple[Pixels, View]] = []
    for _ in range(PROBES * TRIES):
        if len(taken) == PROBES:
            break
        view = random_view(rng)
        seen = _face(finder, picture(painter, view, rng)[0], counts)
        if seen is not None:
            taken.append((seen, view))
    complete = enrolled is not None and len(taken) == PROBES
    nothing = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    faces = [face for face, _ in taken] + [nothing] * (PROBES - len(taken))
    views = [_conditions(view) for _, view in taken] + [[0.0] * len(CONDITIONS)] * (PROBES - len(taken))
    return {
        "template": nothing if enrolled is None else enrolled,
        "probes": np.stack(faces),
        "conditions": np.array(views, np.float32),
        "complete": np.array(complete, np.int8),
        **{name: np.array(count, np.int32) for name, count in counts.items()},
    }


def _face(finder: YuNet, pixels: Pixels, counts: dict[str, int]) -> Pixels | None:
    """The largest face of a picture, aligned; None where there is none or its quality is refused."""
    counts["pictures"] += 1
    (seen,) = finder.detect([pixels])
    if not len(seen.boxes):
        counts["undetected"] += 1
        return None
    aligned = align([pixels], seen.landmarks[:1])
    if not passes(qualities(seen.landmarks[:1], aligned)[0], Vision()):
        counts["refused"] += 1
        return None
    face: Pixels = aligned[0]
    return face


def passes(quality: Quality, limits: Vision) -> bool:
    """Whether a frame of this quality votes under these settings."""
    return (
        quality.eye_distance_px >= limits.min_eye_distance_px
        and quality.sharpness >= limits.min_sharpness
        and limits.min_brightness <= quality.brightness <= limits.max_brightness
        and quality.exposure <= limits.max_clipped
        and abs(quality.yaw) <= limits.max_yaw
        and abs(quality.pitch) <= limits.max_pitch
        and abs(quality.roll) <= limits.max_roll_deg
    )


def _conditions(view: View) -> list[float]:
    glasses = 0.0 if view.glasses is None else 1.0
    return [view.face_px, abs(view.yaw_deg), abs(view.pitch_deg), view.age, glasses, view.light.level]
