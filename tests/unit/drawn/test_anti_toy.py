"""Drawn people are no toy: a detector of real faces finds them, and comparing pixels does not recognise them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from loadtests.people.drawn import Painter, Truth, background, expose, person, random_view
from pipeline.vision.align import align
from pipeline.vision.detector import Detections, YuNet
from pipeline.vision.models import ModelStore
from pipeline.vision.sessions import Execution, open_session

PEOPLE, VIEWS, SIDE = 200, 2, 320

Sitting = tuple[int, npt.NDArray[np.uint8], Truth]


@pytest.fixture(scope="module")
def sittings() -> list[Sitting]:
    """Two hundred people in two random views each, within 25 degrees of yaw, with noise: who, pixels, truth."""
    rng = np.random.default_rng(7)
    taken = []
    for who in range(PEOPLE):
        painter = Painter(person(70_000 + who))
        for _ in range(VIEWS):
            canvas = background(rng, (SIDE, SIDE))
            view = random_view(rng, face_px=(110, 200), centre=(SIDE / 2, SIDE / 2), max_yaw_deg=25, max_pitch_deg=20)
            truth = painter.draw(view, canvas)
            taken.append((who, expose(canvas, rng), truth))
    return taken


@pytest.fixture(scope="module")
def found(shared: Path, sittings: list[Sitting]) -> list[Detections]:
    """What the real YuNet finds in each picture."""
    store = ModelStore.open(shared / "models")
    detector = YuNet(open_session(store, store.require("detector"), Execution()))
    return detector.detect([pixels for _, pixels, _ in sittings])


def nearest(detections: Detections, truth: Truth) -> int | None:
    """The detection whose middle lies in the face's box, the best one."""
    x, y, w, h = truth.box
    middles = detections.boxes[:, :2] + detections.boxes[:, 2:] / 2
    inside = ((middles > (x, y)) & (middles < (x + w, y + h))).all(axis=1)
    return int(np.argmax(np.where(inside, detections.scores, -1))) if inside.any() else None


def test_the_real_detector_finds_them(sittings: list[Sitting], found: list[Detections]) -> None:
    """YuNet, trained on photographs, finds at least 95 % at its usual threshold."""
    hits = [nearest(each, truth) is not None for each, (_, _, truth) in zip(found, sittings, strict=True)]
    assert len(hits) >= 400
    assert np.mean(hits) >= 0.95


def test_the_real_detector_agrees_about_the_landmarks(sittings: list[Sitting], found: list[Detections]) -> None:
    """Its points lie within 9 % of the distance of the eyes of the truth at the median, with no shift beyond 5 %."""
    off = []
    for each, (_, _, truth) in zip(found, sittings, strict=True):
        best = nearest(each, truth)
        if best is not None:
            eyes = float(np.linalg.norm(truth.landmarks[1] - truth.landmarks[0]))
            off.append((each.landmarks[best] - truth.landmarks) / eyes)
    errors = np.linalg.norm(off, axis=2)
    assert np.median(errors) <= 0.09
    assert np.abs(np.median(off, axis=0)).max() <= 0.05


def test_the_real_detector_agrees_about_the_box(sittings: list[Sitting], found: list[Detections]) -> None:
    """Boxes overlap by 75 % (intersection over union) at the median."""
    overlaps = []
    for each, (_, _, truth) in zip(found, sittings, strict=True):
        best = nearest(each, truth)
        if best is not None:
            overlaps.append(overlap(each.boxes[best], np.array(truth.box)))
    assert np.median(overlaps) >= 0.75


def overlap(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Intersection over union of two boxes x, y, w, h."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / float(one[2] * one[3] + other[2] * other[3] - shared)


def test_plain_pixels_do_not_recognise_them(sittings: list[Sitting]) -> None:
    """The distance of aligned grey faces, normalised, has an equal error rate of 20 % or more."""
    faces = np.array([align([pixels], truth.landmarks[None])[0].mean(axis=2).ravel() for _, pixels, truth in sittings])
    faces -= faces.mean(axis=1, keepdims=True)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    who = np.array([number for number, _, _ in sittings])
    one, other = np.triu_indices(len(who), 1)
    scores, mated = (faces @ faces.T)[one, other], who[one] == who[other]
    assert equal_error_rate(scores[mated], scores[~mated]) >= 0.20


def equal_error_rate(mated: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> float:
    """Where as many mated pairs fall below the threshold as others reach it."""
    thresholds = np.quantile(np.concatenate([mated, others]), np.linspace(0, 1, 500))
    missed = np.array([(mated < threshold).mean() for threshold in thresholds])
    taken = np.array([(others >= threshold).mean() for threshold in thresholds])
    at = int(np.argmin(np.abs(missed - taken)))
    return float((missed[at] + taken[at]) / 2)
