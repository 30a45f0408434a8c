"""A crowd of drawn people: each drawn once, kept, and like themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.people.train import crowd as crowds
from loadtests.people.train.crowd import ENROLLED, PROBES, STRANGERS, chunk, crowd


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    """Chunks of four people instead of fifty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowds, "CHUNK", 4)
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight enrolled people, four of them and four strangers at the counter, drawn."""
    folder = tmp_path_factory.mktemp("crowd")
    crowd(folder, 8, 4)
    return folder


def test_people_are_like_themselves_and_nobody_else(work: Path) -> None:
    """The way of the product: JPEG, detector, alignment, quality, embedder; the thresholds of the manifest."""
    seen = crowd(work, 8, 4, workers=0)
    assert (seen.enrolled.shape, seen.mated.shape, seen.strangers.shape) == ((8, 64), (4, PROBES, 64), (4, PROBES, 64))
    assert seen.lost == 0
    assert seen.owner.tolist() == [0, 1, 2, 3]
    assert np.linalg.norm(seen.enrolled, axis=1) == pytest.approx(1)
    like = np.einsum("mpd,nd->mpn", seen.mated, seen.enrolled)
    own = like[np.arange(4), :, seen.owner]
    like[np.arange(4), :, seen.owner] = -1
    assert own.min() > 0.6 > like.max()
    assert np.einsum("mpd,nd->mpn", seen.strangers, seen.enrolled).max() < 0.6


def test_a_person_depends_on_their_number_alone(work: Path) -> None:
    """The same embedding whichever chunk they are drawn in."""
    kept = crowd(work, 8, 4, workers=0)
    anew = chunk(0, first=ENROLLED + 2, enrolled=True)["embedding"][:, 0]
    assert anew[:2] == pytest.approx(kept.enrolled[2:4], abs=1e-5)


def test_with_no_workers_nothing_is_drawn(tmp_path: Path) -> None:
    """Who is not there is counted as lost."""
    nobody = crowd(tmp_path, 8, 4, workers=0)
    assert (len(nobody.enrolled), len(nobody.owner), len(nobody.strangers), nobody.lost) == (0, 0, 0, 16)


def test_what_is_drawn_is_not_drawn_again(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is cut off goes on: only chunks that are not there yet are drawn."""
    drawn = []

    def counted(number: int, *, first: int, enrolled: bool) -> dict[str, Any]:
        drawn.append(number)
        pictures = 1 if enrolled else PROBES
        assert first in {ENROLLED, STRANGERS}
        return {"embedding": np.zeros((4, pictures, 64), np.float32), "complete": np.zeros(4, np.float32)}

    monkeypatch.setattr(crowds, "chunk", counted)
    crowd(work, 8, 4)
    assert drawn == []
    (work / next(p.name for p in work.iterdir() if "enrolled" in p.name) / "00001.done").unlink()
    again = crowd(work, 8, 4)
    assert drawn == [1]
    assert (len(again.enrolled), again.lost) == (4, 4)
