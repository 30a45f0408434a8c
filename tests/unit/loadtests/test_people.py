"""Portraits in folders become persons, persons become a cast, and a cast comes in visits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from loadtests.motion import Scene
from loadtests.people.cast import Cast, Payer, cast
from loadtests.people.portraits import Person, load_people
from loadtests.people.visits import SHARES, THEFTS, Crowd, Kind, Limits
from pipeline.errors import UsageError

LIMITS = Limits(step_up_minor=20_000, decline_minor=500_000)


def picture(path: Path) -> Path:
    """A small picture file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 30, 3), 128, np.uint8))
    return path


def people(two: int, one: int) -> list[Person]:
    """Persons with two photographs, and with one."""
    return [
        *(Person(f"two-{n:02d}", (Path(f"{n}a.jpg"), Path(f"{n}b.jpg"))) for n in range(two)),
        *(Person(f"one-{n:02d}", (Path(f"{n}.jpg"),)) for n in range(one)),
    ]


def crowd_of(players: Cast, seed: int = 1) -> Crowd:
    """A crowd that everybody has joined."""
    crowd = Crowd(players.strangers, seed=seed, limits=LIMITS)
    for payer in players.payers:
        crowd.join(payer)
    return crowd


def test_an_index_names_persons_and_true_pairs(tmp_path: Path) -> None:
    """Only photographs that the pairs name count as different; other files of an identity are near-copies."""
    for name in ("a1.jpg", "a2.jpg", "a3.jpg", "b1.jpg", "b2.jpg"):
        picture(tmp_path / "dev" / name)
    (tmp_path / "index.csv").write_text(
        "file,identity,source\ndev/a1.jpg,A,x\ndev/a2.jpg,A,x\ndev/a3.jpg,A,x\ndev/b1.jpg,B,x\ndev/b2.jpg,B,x\n"
    )
    (tmp_path / "same_pairs.csv").write_text("file_x,file_y,identity\ndev/a1.jpg,dev/a3.jpg,A\n")
    a, b = load_people(tmp_path)
    assert [path.name for path in a.photographs] == ["a1.jpg", "a3.jpg"]
    assert b.label == "B"
    assert not b.has_two


def test_folders_and_files_are_persons(tmp_path: Path) -> None:
    """One folder per person or one file per person; what is no picture is passed by."""
    picture(tmp_path / "anna" / "2.png")
    picture(tmp_path / "anna" / "1.jpg")
    picture(tmp_path / "berta.jpeg")
    (tmp_path / "readme.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    anna, berta = load_people(tmp_path)
    assert [path.name for path in anna.photographs] == ["1.jpg", "2.png"]
    assert berta.label == "berta"


@pytest.mark.parametrize(
    ("index", "said"), [("file\nx.jpg\n", "the column identity is missing"), (None, "there are none")]
)
def test_a_folder_without_people_is_refused(index: str | None, said: str, tmp_path: Path) -> None:
    """In one sentence that says what to do."""
    if index is not None:
        (tmp_path / "index.csv").write_text(index)
    with pytest.raises(UsageError, match=said):
        load_people(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        load_people(tmp_path / "absent")


def test_payers_with_two_photographs_come_first() -> None:
    """They are enrolled with one and seen with the other; those with a single one are counted aloud."""
    players = cast(people(5, 10), [f"id-{n}" for n in range(8)], strangers=4, seed=3)
    assert len(players.payers) == 8
    assert len(players.strangers) == 4
    assert players.same_picture == 3
    assert {payer.label for payer in players.payers if not payer.same_picture} == {f"two-{n:02d}" for n in range(5)}
    assert not {payer.label for payer in players.payers} & {stranger.label for stranger in players.strangers}


def test_a_small_folder_keeps_strangers() -> None:
    """Even three people leave one whom nobody has enrolled."""
    players = cast(people(0, 3), ["a", "b", "c", "d"], strangers=24, seed=1)
    assert (len(players.payers), len(players.strangers)) == (2, 1)
    with pytest.raises(UsageError, match="too few"):
        cast(people(1, 1), ["a"], strangers=1, seed=1)


def test_a_cast_is_drawn_by_its_seed() -> None:
    """Equal seeds, equal casts and PINs."""
    ids = [f"id-{n}" for n in range(6)]
    first, again, other = (cast(people(9, 9), ids, strangers=3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_nobody_stands_before_two_terminals() -> None:
    """A person comes again only after they have left."""
    crowd = crowd_of(cast(people(12, 12), [f"id-{n}" for n in range(12)], strangers=4, seed=1))
    here = [crowd.next() for _ in range(8)]
    assert len({visit.who.label for visit in here}) == 8
    for visit in here:
        crowd.leave(visit)
    assert crowd.next().who.label not in {visit.who.label for visit in here if isinstance(visit.who, Payer)}


def test_visits_are_what_their_kind_says() -> None:
    """Amounts, scenes, refunds and ground truth follow from the kind; every kind comes but thefts (`test_film`)."""
    crowd = crowd_of(cast(people(20, 20), [f"id-{n}" for n in range(20)], strangers=6, seed=1))
    kinds: Counter[Kind] = Counter()
    for _ in range(1500):
        visit = crowd.next()
        crowd.leave(visit)
        kinds[visit.kind] += 1
        stranger = visit.kind in {Kind.STRANGER, Kind.WAITS_IN_VAIN}
        assert (visit.payer_id is None) is stranger
        assert (visit.amount_minor > LIMITS.step_up_minor) is (
            visit.kind in {Kind.LARGE, Kind.LARGE_MISTYPED, Kind.TOO_LARGE}
        )
        assert (visit.amount_minor > LIMITS.decline_minor) is (visit.kind is Kind.TOO_LARGE)
        assert (visit.first_scene is Scene.TWO) is (visit.companion is not None)
        refund = visit.refund_minor()
        if visit.kind is Kind.REFUND_TOO_MUCH:
            assert refund is not None
            assert refund > visit.amount_minor
        assert (refund is not None) is (visit.kind in {Kind.REFUND, Kind.REFUND_TOO_MUCH})
    assert set(kinds) == set(Kind) - set(THEFTS)
    assert abs(sum(SHARES.values()) - 1) < 1e-9


def test_without_strangers_only_payers_come() -> None:
    """A cast that has no strangers still fills the terminals, and a companion is never a payer."""
    crowd = crowd_of(Cast(cast(people(9, 0), ["a", "b", "c"], strangers=0, seed=1).payers, ()))
    for _ in range(300):
        visit = crowd.next()
        crowd.leave(visit)
        assert visit.payer_id is not None
        assert visit.companion is None


def test_more_terminals_than_people_is_refused() -> None:
    """With a sentence instead of an index error."""
    crowd = Crowd((), seed=1, limits=LIMITS)
    with pytest.raises(UsageError, match="fewer --terminals"):
        crowd.next()
