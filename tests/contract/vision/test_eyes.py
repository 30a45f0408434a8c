"""The shipped eye model keeps what docs/eyes.md says of it, on real portraits and on drawn people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import loadtests.people
from loadtests.people.drawn import Painter, person, random_view
from loadtests.people.train import eye_data, lids
from loadtests.people.train.capturing import EVALUATION, as_found, picture
from pipeline.vision.decode import Image
from pipeline.vision.eyes import Eyes, eyes_open
from pipeline.vision.models import ModelStore
from pipeline.vision.sessions import Execution, Session, open_session

PORTRAITS = 80
PEOPLE = 100


@pytest.fixture(scope="module")
def session() -> Session:
    """The eye model of the package."""
    store = ModelStore.open(Path(loadtests.people.__file__).parent / "models", drawn=True)
    return open_session(store, store.require("eyes"), Execution())


def answers(session: Session, faces: list[tuple[Image, npt.NDArray[np.float32]]]) -> list[bool | None]:
    """`eyes_open` of each face at the thresholds of the manifest."""
    found = Eyes(session).open([image for image, _ in faces], np.stack([landmarks for _, landmarks in faces]))
    return [eyes_open((right, left), session.spec.thresholds) for right, left in found.tolist()]


def strip(pair: npt.NDArray[np.uint8]) -> tuple[Image, npt.NDArray[np.float32]]:
    """Two patches of one face, (2, PATCH_PX, PATCH_PX), put side by side as they lie in it, and where its eyes are."""
    apart, middle = round(lids.SCALE), (lids.PATCH_PX - 1) / 2
    grey = np.empty((lids.PATCH_PX, lids.PATCH_PX + apart), np.uint8)
    grey[:, : lids.PATCH_PX] = pair[0]
    grey[:, -lids.PATCH_PX // 2 - apart // 2 :] = pair[1][:, ::-1][:, -lids.PATCH_PX // 2 - apart // 2 :]
    landmarks = np.zeros((5, 2), np.float32)
    landmarks[:2] = [[middle, middle], [middle + apart, middle]]
    return np.repeat(grey[..., None], 3, axis=2), landmarks


@pytest.fixture(scope="module")
def held_out(shared: Path) -> eye_data.Eyes:
    """Both eyes of portraits whose people no training saw."""
    eyes = eye_data.real_open(shared)
    eyes = eyes.where(eye_data.held_out(eyes.identity))
    return eyes.where(np.arange(len(eyes.closure)) < 2 * PORTRAITS)


@pytest.mark.shared
def test_photographed_people_are_awake(session: Session, held_out: eye_data.Eyes) -> None:
    """Of portraits nobody trained on at most 1 in 20 is not seen as awake: measured 2 to 3 in 100 (docs/eyes.md)."""
    faces = [strip(pair) for pair in held_out.patches.reshape(-1, 2, lids.PATCH_PX, lids.PATCH_PX)]
    assert sum(answer is not True for answer in answers(session, faces)) <= PORTRAITS * 0.05


@pytest.mark.shared
def test_photographed_people_with_closed_lids_are_not_awake(session: Session, held_out: eye_data.Eyes) -> None:
    """The same people with their lids closed by rendering: at most 1 in 50 passes for awake, and 9 in 10 are said to
    sleep.
    """
    shut, clear = eye_data.shut(held_out, 20)
    both = clear.reshape(-1, 2).all(axis=1)
    faces = [strip(pair) for pair in shut.patches.reshape(-1, 2, lids.PATCH_PX, lids.PATCH_PX)[both]]
    found = answers(session, faces)
    assert len(found) > PORTRAITS / 2
    assert found.count(True) <= len(found) * 0.02
    assert found.count(False) >= len(found) * 0.9


def test_drawn_people_are_awake_or_asleep(session: Session) -> None:
    """A hundred drawn people whom no training saw: closed eyes are refused and open ones are not, but for one."""
    awake: list[tuple[Image, npt.NDArray[np.float32]]] = []
    asleep: list[tuple[Image, npt.NDArray[np.float32]]] = []
    for number in range(EVALUATION + 50_000, EVALUATION + 50_000 + PEOPLE):
        rng = np.random.default_rng(number)
        painter = Painter(person(number))
        for faces, closed in ((awake, 0.0), (asleep, 1.0)):
            view = random_view(rng, face_px=(60.0, 160.0), closed=closed)
            image, truth = picture(painter, view, rng)
            faces.append((image, as_found(truth.landmarks, rng, spread=0.02)))
    assert answers(session, awake).count(True) >= PEOPLE - 2
    assert answers(session, asleep).count(True) <= 1


def test_an_eye_does_not_depend_on_its_batch_and_nothing_is_said_of_no_pair(session: Session) -> None:
    """Alone and among others the same; landmarks that coincide or are not finite give NaN, and neighbours go on."""
    rng = np.random.default_rng(21)
    image, truth = picture(Painter(person(EVALUATION)), random_view(rng, face_px=(120.0, 140.0)), rng)
    nowhere, unsound = truth.landmarks.copy(), truth.landmarks.copy()
    nowhere[1] = nowhere[0]
    unsound[0, 1] = np.nan
    eyes = Eyes(session)
    alone = eyes.open([image], truth.landmarks[None])
    among = eyes.open([image] * 4, np.stack([nowhere, truth.landmarks, unsound, truth.landmarks]))
    assert among[[1, 3]] == pytest.approx(np.repeat(alone, 2, axis=0), abs=1e-4)
    assert np.isnan(among[[0, 2]]).all()
    assert eyes.open([], np.empty((0, 5, 2), np.float32)).shape == (0, 2)
