"""The shipped liveness model of the drawn people, through the adapter and the fusion that the engine uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import loadtests.people
from loadtests.people.drawn import Painter, person
from loadtests.people.train.capturing import EVALUATION
from loadtests.people.train.liveness_data import BONA_FIDE, SPECIES, found_box, shot
from pipeline.vision.liveness import FUSED, Liveness
from pipeline.vision.models import ModelStore, fusions
from pipeline.vision.sessions import Execution, open_session

PEOPLE = 24


@pytest.fixture(scope="module")
def liveness() -> Liveness:
    """The model of the package under the fusion `drawn`."""
    store = ModelStore.open(Path(loadtests.people.__file__).parent / "models", drawn=True)
    fusion = next(fusion for fusion in fusions() if fusion.name == "drawn")
    sessions = [open_session(store, store.require("liveness", name), Execution()) for name in fusion.weights]
    return Liveness(sessions, fusion)


@pytest.mark.parametrize("species", [BONA_FIDE, *range(len(SPECIES))])
def test_drawn_people_are_live_and_their_pictures_are_not(liveness: Liveness, species: int) -> None:
    """Of people and instruments that no training saw one in 24 at most is taken for the other (the card has rates)."""
    threshold = next(fusion.threshold for fusion in fusions() if fusion.name == "drawn")
    live = 0
    for number in range(EVALUATION + 60_000, EVALUATION + 60_000 + PEOPLE):
        rng = np.random.default_rng([species + 1, number])
        pixels, truth = shot(Painter(person(number)), species, rng)
        (scores,) = liveness.score([pixels], [found_box(truth, rng)])
        live += scores[FUSED] >= threshold
    assert live >= PEOPLE - 1 if species == BONA_FIDE else live <= 1
