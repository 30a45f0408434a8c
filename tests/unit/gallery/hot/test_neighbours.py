"""Who is how near to a hot template: counted over the gallery, and kept true while people come."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.gallery.hot.neighbours import Neighbours
from pipeline.gallery.hot.scan import scan
from pipeline.gallery.hot.standing import EDGES, LEVELS, Rule
from pipeline.gallery.index import Arrays, ExactIndex
from pipeline.ports import Vector

DIMENSION = 48
RULE = Rule(margin=0.1, nearest=4)


def unit(vectors: npt.NDArray[np.floating]) -> Vector:
    """Each row of (n, d) at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def filled(count: int, seed: int = 0) -> tuple[ExactIndex, Vector]:
    """Payers p0, p1, ... with two templates each, who share a direction so that many are near."""
    draw = np.random.default_rng(seed)
    vectors = unit(draw.normal(size=(2 * count, DIMENSION)) + 0.15 * np.ones(DIMENSION))
    index = ExactIndex(DIMENSION)
    index.put_many([f"t{n}" for n in range(2 * count)], [f"p{n // 2}" for n in range(2 * count)], vectors)
    return index, vectors


def counted_through(neighbours: Neighbours) -> None:
    """Does all there is to do."""
    while neighbours.work(0.0):
        pass


def test_a_scan_counts_everybody_else_and_names_the_nearest() -> None:
    """As numpy in float64 does; a payer's own templates are nobody's neighbours."""
    index, vectors = filled(300)
    found = scan(index, vectors[:6], ["p0", "p0", "p1", "p1", "p2", "p2"], 5)
    similar = vectors[:6].astype(np.float64) @ vectors.T.astype(np.float64)
    for number, counts in enumerate(found.counts):
        own = number // 2
        others = np.delete(similar[number], [2 * own, 2 * own + 1])
        names = np.delete(np.arange(600) // 2, [2 * own, 2 * own + 1])
        order = np.argsort(-others)
        assert found.nearest[number] == tuple(dict.fromkeys(f"p{name}" for name in names[order[:5]]))
        rest = others[order[5:]]
        # Own templates below the first border are counted too: they are far, and it is too careful.
        own_far = int((similar[number][[2 * own, 2 * own + 1]] < EDGES[1]).sum())
        assert counts.sum() == len(rest) + own_far
        assert (np.cumsum(counts[::-1]) >= np.cumsum(np.histogram(rest, EDGES)[0][::-1])).all()
    assert np.allclose(found.second, vectors.T @ vectors / 600, atol=1e-5)
    assert found.payers == 300


def test_a_newcomer_is_heeded_from_the_moment_it_is_told_of() -> None:
    """Nothing is settled until it was compared; a near one is compared with exactly, others raise the threshold."""
    index, vectors = filled(300)
    neighbours = Neighbours(index, RULE)
    neighbours.want(["t0", "t1"], "p0", vectors[:2])
    assert neighbours.around("t0") is None
    counted_through(neighbours)
    before = neighbours.around("t0")
    assert before is not None
    twin = unit(vectors[:1] + 0.01)[0]
    neighbours.added("twin", twin)
    assert [neighbours.settled] == [False]
    counted_through(neighbours)
    after = neighbours.around("t0")
    assert after is not None
    assert [neighbours.settled] == [True]
    assert after.nearest == (*before.nearest, "twin")
    # One more of the payer's own changes nothing.
    neighbours.added("p0", twin)
    counted_through(neighbours)
    again = neighbours.around("t0")
    assert again is not None
    assert again.nearest == after.nearest
    assert (again.least == after.least).all()
    # Beyond twice the number kept, newcomers are counted, and no answer stands beside them.
    for number in range(2 * RULE.nearest):
        neighbours.added(f"another twin {number}", twin)
    counted_through(neighbours)
    last = neighbours.around("t0")
    assert last is not None
    assert np.isinf(last.least).all()


class Slow(ExactIndex):
    """An index in which somebody is put while it is read."""

    during: tuple[str, Vector] | None = None
    told: Neighbours | None = None

    def dump_parts(self) -> Iterator[Arrays]:
        """The moment before; then the newcomer is put and told of."""
        yield from list(super().dump_parts())
        if self.during is not None and self.told is not None:
            self.put("late", *self.during)
            self.told.added(*self.during)


def test_who_comes_while_the_gallery_is_read_is_not_missed() -> None:
    """The count does not hold them, the comparison does."""
    _, vectors = filled(50)
    index = Slow(DIMENSION)
    index.put_many([f"t{n}" for n in range(100)], [f"p{n // 2}" for n in range(100)], vectors)
    neighbours = Neighbours(index, RULE)
    index.during, index.told = ("twin", unit(vectors[:1] + 0.01)[0]), neighbours
    neighbours.want(["t0"], "p0", vectors[:1])
    assert neighbours.work(0.0)
    assert [neighbours.settled] == [False]
    counted_through(neighbours)
    around = neighbours.around("t0")
    assert around is not None
    assert "twin" in around.nearest


def test_dropped_templates_leave_nothing_and_rows_are_used_again() -> None:
    """A row given to another template does not carry over what was known."""
    index, vectors = filled(300)
    neighbours = Neighbours(index, RULE)
    neighbours.want(["t0"], "p0", vectors[:1])
    counted_through(neighbours)
    neighbours.added("twin", unit(vectors[:1] + 0.01)[0])
    counted_through(neighbours)
    neighbours.forget(["t0", "never there"])
    assert neighbours.around("t0") is None
    assert neighbours.known == 0
    neighbours.want(["t4"], "p2", vectors[4:5])
    counted_through(neighbours)
    fresh = Neighbours(index, RULE)
    fresh.want(["t4"], "p2", vectors[4:5])
    counted_through(fresh)
    mine, theirs = neighbours.around("t4"), fresh.around("t4")
    assert mine is not None
    assert theirs is not None
    assert mine.nearest == theirs.nearest
    assert (mine.least == theirs.least).all()


def test_what_is_asked_for_at_a_till_is_counted_first() -> None:
    """More than one pass' worth is waiting."""
    index, vectors = filled(300)
    neighbours = Neighbours(index, RULE)
    for number in range(600):
        neighbours.want([f"t{number}"], f"p{number // 2}", vectors[number : number + 1])
    neighbours.first("t599")
    assert neighbours.work(0.0)
    assert neighbours.around("t599") is not None
    assert neighbours.around("t598") is None


def test_levels_follow_the_gallery_along_the_way_a_probe_differs() -> None:
    """Along a direction that everybody shares there are few directions, across it many; unknown is none."""
    draw = np.random.default_rng(3)
    shape = np.ones(DIMENSION)
    shape[:4] = 4.0
    vectors = unit(draw.normal(size=(4_000, DIMENSION)) * shape)
    index = ExactIndex(DIMENSION)
    index.put_many([f"t{n}" for n in range(4_000)], [f"p{n}" for n in range(4_000)], vectors)
    neighbours = Neighbours(index, RULE)
    template = np.eye(DIMENSION, dtype=np.float32)[[9, 9]]
    seen = unit(template + 0.5 * np.eye(DIMENSION)[[0, 20]])
    assert (neighbours.levels(seen, template) == LEVELS).all()
    neighbours.want(["t0"], "p0", vectors[:1])
    counted_through(neighbours)
    along, across = neighbours.levels(seen, template)
    assert along > across


@pytest.mark.parametrize("hot", [True, False])
def test_the_waiting_thread_is_woken(hot: bool) -> None:
    """By a template that is wanted, or by a newcomer."""
    index, vectors = filled(20)
    neighbours = Neighbours(index, RULE)
    if hot:
        neighbours.want(["t0"], "p0", vectors[:1])
        counted_through(neighbours)
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(neighbours.work(30.0)))
    thread.start()
    if hot:
        neighbours.added("new", vectors[5])
    else:
        neighbours.want(["t2"], "p1", vectors[2:3])
    thread.join(30)
    assert done == [True]
