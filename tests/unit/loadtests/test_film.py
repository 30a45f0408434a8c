"""Drawn people before the demo's cameras, and who they are: nobody that a model was trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from loadtests.demo.casting import CASTS, FIRST_DRAWN
from loadtests.film import PASSERS_BY, DrawnFilm, filmed
from loadtests.motion import HEIGHT, WIDTH, Scene
from loadtests.people.appearance import Act, Drawn, draw_people
from loadtests.people.cast import Payer, Stranger, cast
from loadtests.people.train.capturing import EVALUATION, TRAINING
from loadtests.people.visits import THEFTS, Crowd, Kind, Limits
from pipeline.errors import UsageError

LIMITS = Limits(step_up_minor=20_000, decline_minor=500_000)


def test_no_model_was_trained_or_judged_on_the_demos_people() -> None:
    """Else the demo would show what was learnt by heart."""
    assert PASSERS_BY + 8 <= FIRST_DRAWN
    assert FIRST_DRAWN + CASTS * 1_000 <= EVALUATION <= TRAINING


def test_equal_visits_look_equal_and_each_frame_has_its_own_noise() -> None:
    """Determinism by seed; a camera never shows a picture twice."""
    first, again = (filmed(Drawn(11), seed=3) for _ in range(2))
    frame = first.frame(0, 0.0)
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(frame, again.frame(0, 0.0))
    assert not np.array_equal(frame, first.frame(1, 0.0))
    assert not np.array_equal(frame, filmed(Drawn(11), seed=4).frame(0, 0.0))


@pytest.mark.parametrize("act", [act for act in Act if act is not Act.AWAKE])
def test_what_a_thief_shows_is_not_what_the_payer_looks_like(act: Act) -> None:
    """The same person, visit and moment; another face before the camera."""
    awake, other = (filmed(Drawn(11, each), seed=3).frame(0, 0.7) for each in (Act.AWAKE, act))
    assert int((np.abs(awake.astype(np.int16) - other) > 25).sum()) > 150
    assert (Drawn(11, act).act.species is None) == (act is Act.ASLEEP)


def test_a_companion_is_seen_only_where_two_stand() -> None:
    """Beside the payer, and not when one of them has gone."""
    alone, pair = filmed(Drawn(11), seed=3), filmed(Drawn(11), seed=3, companion=Drawn(12))
    assert isinstance(pair, DrawnFilm)
    right = np.s_[100:400, 400:560]
    near, two = pair.frame(0, 0.0), pair.frame(0, 0.0, Scene.TWO)
    assert np.abs(two[right].astype(np.int16) - near[right]).mean() > 10
    assert np.abs(alone.frame(0, 0.0)[right].astype(np.int16) - near[right]).mean() < 10


def test_drawn_people_and_photographs_do_not_mix(tmp_path: Path) -> None:
    """In one sentence, whichever comes first."""
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((40, 30, 3), 128, np.uint8))
    with pytest.raises(UsageError, match="do not mix"):
        filmed(Drawn(11), seed=1, companion=path)
    with pytest.raises(UsageError, match="do not mix"):
        filmed(path, seed=1, companion=Drawn(11))


def test_thieves_use_payers_and_are_nobody(tmp_path: Path) -> None:
    """A theft shows a payer's face and may charge nobody."""
    people = list(draw_people(tmp_path, 6, first_seed=20))
    players = cast(people, ["a", "b", "c"], strangers=2, seed=1)
    crowd = Crowd(players.strangers, seed=1, limits=LIMITS)
    for payer in players.payers:
        crowd.join(payer)
    seeds = {payer.seen_with.seed for payer in players.payers if isinstance(payer.seen_with, Drawn)}
    kinds = set()
    for _ in range(400):
        visit = crowd.next()
        kinds.add(visit.kind)
        if visit.kind in THEFTS:
            assert isinstance(visit.who, Stranger)
            assert visit.payer_id is None
            assert isinstance(visit.who.seen_with, Drawn)
            assert visit.who.seen_with.seed in seeds
            assert visit.who.seen_with.act is THEFTS[visit.kind]
        crowd.leave(visit)
    assert kinds >= set(THEFTS)


def test_portraits_play_no_thieves(tmp_path: Path) -> None:
    """A photograph can neither sleep nor be told from its own print."""
    crowd = Crowd([], seed=1, limits=LIMITS)
    crowd.join(Payer("a", "a", tmp_path, tmp_path, "1234"))
    for _ in range(300):
        visit = crowd.next()
        assert visit.kind not in THEFTS
        assert visit.kind is not Kind.STRANGER
        crowd.leave(visit)
