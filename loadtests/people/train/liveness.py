"""The drawn people's liveness model: bona fide, or a print, a screen or a cut-out mask?

It tells drawn attacks from drawn people and nothing else. Beside the published model, one is trained without each
species and judged on it: what it says of an attack that nobody had in mind.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtests.people.train.capturing import EVALUATION, TRAINING
from loadtests.people.train.liveness_data import BONA_FIDE, SCALE, SIDE_PX, SPECIES, Shots, shots
from loadtests.people.train.opened import opened
from loadtests.people.train.recipe import Figure, Recipe, Report, say
from loadtests.people.train.verification import share

NAME = "drawn_liveness"
PEOPLE = 1400
TEST_PEOPLE = 400
STEPS = 2000
STEPS_WITHOUT = 500
THRESHOLDS = {"live": 0.5}

UNSEEN = (
    "Leaving a species out shows what the model says of an attack that it was not made for: read these rows before "
    "trusting the others."
)

ENTRY = f"""\
role = "liveness"
family = "minifas"
drawn = true
summary = "Presentation attacks on drawn people: print, screen, cut-out mask. Probabilities of attack, live."
source = "loadtests/people/train/liveness.py"
licence = "Apache-2.0"
training_terms = "Trained on drawn people alone: no real face, no terms. It says nothing about real faces."
input = {{ name = "input", shape = [-1, 3, {SIDE_PX}, {SIDE_PX}], colour = "RGB", mean = [0.0, 0.0, 0.0], \
std = [1.0, 1.0, 1.0] }}
outputs = [{{ name = "output", shape = [-1, 2] }}]
crop = {{ kind = "square", scale = {SCALE} }}
live_class = 1
softmax = false
"""


def train(work: Path) -> None:
    """Writes `work/drawn_liveness.onnx`, and `work/drawn_liveness_without_<species>.onnx` for the table."""
    import torch

    from loadtests.people.train.export import export
    from loadtests.people.train.liveness_network import fit

    data = shots(work, PEOPLE, first=TRAINING, training=True)
    example = torch.from_numpy(data.crops[:4, :SIDE_PX, :SIDE_PX].copy()).permute(0, 3, 1, 2).float().contiguous()
    for without in (None, *range(len(SPECIES))):
        name = NAME if without is None else _without(without)
        if (work / f"{name}.onnx").is_file() and without is not None:
            continue
        say(f"training {name}")
        steps = STEPS if without is None else STEPS_WITHOUT
        network = fit(data, without=without, steps=steps, checkpoint=work / f"{name}.checkpoint")
        export(network, work / f"{name}.onnx", example, ("output",))


def _without(species: int) -> str:
    return f"{NAME}_without_{SPECIES[species].value}"


def evaluate(path: Path) -> Report:
    """The file at `path` on unseen people and their unseen prints, screens and masks; beside it, the table of models
    that had not seen a species.
    """
    test = shots(path.parent, TEST_PEOPLE, first=EVALUATION, training=False)
    live = _live(path, test)
    bona = test.species == BONA_FIDE
    people = f"{TEST_PEOPLE} drawn people unseen in training"
    figures = [Figure("BPCER", *_by(test.identity[bona], live[bona] < THRESHOLDS["live"]), people, "<= 0.02")]
    unseen = []
    for index, species in enumerate(SPECIES):
        shown = test.species == index
        accepted = live[shown] >= THRESHOLDS["live"]
        figures.append(Figure(f"APCER, {species.value}", *_by(test.identity[shown], accepted), people, "<= 0.02"))
        other = path.with_name(f"{_without(index)}.onnx")
        if other.is_file():
            score = _live(other, test)
            accepted = score[shown] >= THRESHOLDS["live"]
            refused = _by(test.identity[bona], score[bona] < THRESHOLDS["live"])
            unseen.append(
                Figure(
                    f"APCER, {species.value}, by a model trained without it",
                    *_by(test.identity[shown], accepted),
                    f"{people}; BPCER of that model {refused[0]:.2%}",
                )
            )
    return Report(
        figures=(*figures, *unseen),
        thresholds=THRESHOLDS,
        thresholds_from="Set at 0.5 before judging; the card has BPCER and APCER at it.",
        notes=(UNSEEN,),
    )


def _live(path: Path, test: Shots) -> npt.NDArray[np.float32]:
    """P(live) of each shot."""
    session = opened(path, ENTRY, THRESHOLDS)
    pixels = np.ascontiguousarray(test.crops[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    return np.concatenate([session.run(pixels[k : k + 32])[0][:, 1] for k in range(0, len(pixels), 32)])


def _by(identity: npt.NDArray[np.int64], hits: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """The share of hits, each person counting once, with its interval."""
    people, index = np.unique(identity, return_inverse=True)
    return share(np.bincount(index, hits.astype(np.float64)) / np.bincount(index, minlength=len(people)))


RECIPE = Recipe(
    name=NAME,
    train=train,
    evaluate=evaluate,
    entry=ENTRY,
    trained_on=(
        f"{PEOPLE} drawn people in stores: three bona fide pictures of each and one attack of each species (print, "
        "screen replay with moire and bezel, cut-out mask), each with an instrument, a light, a pose, a sensor and a "
        "JPEG quality of its own."
    ),
)
