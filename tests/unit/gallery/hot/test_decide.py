"""What stands for the exact answer, and what never does: each reason, over a small gallery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import REGISTRY

from pipeline.gallery.hot.decide import HotSearch, agrees
from pipeline.gallery.hot.layout import Entry, EntrySeal, Space
from pipeline.gallery.hot.mirror import Lead, Mirror
from pipeline.gallery.hot.neighbours import Neighbours
from pipeline.gallery.hot.standing import Rule
from pipeline.gallery.hot.store import HotStore
from pipeline.gallery.hot.tier import HotTier
from pipeline.gallery.index import ExactIndex
from pipeline.keys.keyring import Keyring
from pipeline.ports import Match, Vector

DIMENSION = 64
RULE = Rule(margin=0.1, nearest=2)
FACES = np.random.default_rng(8).normal(size=(60, DIMENSION))


def unit(vectors: npt.NDArray[np.floating]) -> Vector:
    """Each row of (n, d) at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


TEMPLATES = unit(FACES)


def seen(number: int, noise: float = 0.05) -> Vector:
    """A picture of a payer, float32 (1, d)."""
    away = np.random.default_rng(1_000 + number).normal(size=(1, DIMENSION)) * noise
    return unit(TEMPLATES[number : number + 1] + away)


class World:
    """Sixty payers in the gallery, the first ten hot and counted."""

    def __init__(self, rule: Rule = RULE) -> None:
        self.index = ExactIndex(DIMENSION)
        self.index.put_many([f"t{n}" for n in range(60)], [f"p{n}" for n in range(60)], TEMPLATES)
        self.neighbours = Neighbours(self.index, rule)
        self.mirror = Mirror(DIMENSION)
        for number in range(10):
            self.mirror.put(f"tag{number}", Entry(f"p{number}", (f"t{number}",), TEMPLATES[number : number + 1]))
            self.neighbours.want([f"t{number}"], f"p{number}", TEMPLATES[number : number + 1])
        while self.neighbours.work(0.0):
            pass
        self.search = HotSearch(self.index, self.mirror, self.neighbours)

    def why(self, probe: Vector) -> str:
        """The one reason that a search counts."""
        before = counts()
        answer = self.search.search(probe)[0]
        (why,) = [reason for reason, count in counts().items() if count != before.get(reason, 0.0)]
        assert (why == "hit") == (answer is not None)
        return why


def counts() -> dict[str, float]:
    """The metric by result."""
    return {
        sample.labels["result"]: sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "facepay_hot_searches_total"
    }


def test_a_regular_is_answered_and_everybody_else_is_not() -> None:
    """A stranger to the hot set, a face between two of it, one too unlike."""
    world = World()
    assert world.why(seen(3)) == "hit"
    assert world.why(seen(30)) in {"thin_margin", "below_least"}
    assert world.why(unit(TEMPLATES[3:4] + TEMPLATES[4:5])) == "thin_margin"
    assert world.why(seen(3, noise=0.16)) == "below_least"


def test_what_the_exact_index_does_not_confirm_does_not_stand() -> None:
    """Erased, moved, better known there by another template, flagged, or with somebody near by exact comparison."""
    world = World()
    world.index.put("t3b", "p3", seen(3)[0])
    assert world.why(seen(3)) == "changed"
    world.index.remove_payer("p3")
    assert world.why(seen(3)) == "not_alive"
    world.index.put("t4", "p4", TEMPLATES[4], lookalike=True)
    assert world.why(seen(4)) == "lookalike"
    world.index.put("t4", "p4", unit(TEMPLATES[4:5] + 0.02)[0])
    assert world.why(seen(4)) == "changed"
    near = unit(TEMPLATES[5:6] + 0.3 * seen(40))[0]
    world.index.put("near", "p40", near)
    world.neighbours.added("p40", near)
    assert world.why(seen(5)) == "gallery_moves"
    while world.neighbours.work(0.0):
        pass
    assert world.why(seen(5)) == "near_neighbour"
    assert world.why(unit(near[None])) == "not_alive"


def test_a_newcomer_who_is_told_of_during_a_search_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of that search stands."""
    world = World()
    search = world.mirror.search

    def meanwhile(probes: Vector) -> list[Lead | None]:
        found = search(probes)
        world.index.put("twin", "twin", seen(3)[0])
        world.neighbours.added("twin", seen(3)[0])
        return found

    monkeypatch.setattr(world.mirror, "search", meanwhile)
    assert world.why(seen(3)) == "gallery_moves"


def test_a_template_that_is_not_counted_is_asked_for_and_an_empty_mirror_says_nothing() -> None:
    """The next time it may stand."""
    world = World()
    world.mirror.put("tag20", Entry("p20", ("t20",), TEMPLATES[20:21]))
    assert world.why(seen(20)) == "not_counted"
    world.mirror.keep_only(())
    assert world.why(seen(3)) == "nobody_hot"


def test_answers_stand_while_the_account_of_their_risk_lasts() -> None:
    """Each search pays the mean in, each answer that stands takes its own bound out."""
    world = World(Rule(margin=0.1, nearest=0, limit=1e-2, mean=1e-6))
    pictures = [seen(3, float(noise)) for noise in np.arange(0.05, 0.2, 0.0025)]
    world.search._account = 1e-2
    riskiest = [picture for picture in pictures if world.why(picture) == "hit"][-1]
    world.search._account = 1e-2
    assert world.why(riskiest) == "hit"
    assert world.search._account < 1e-2
    world.search._account = -4.5e-6
    assert [world.why(seen(3, 0.01)) for _ in range(5)] == ["spent"] * 4 + ["hit"]


def test_two_answers_agree_in_all_that_a_decision_looks_at() -> None:
    """Payer, template, similarity, lookalike; and nobody nearer than the hot answer said."""
    hot = Match("p", "t", 0.9, 0.7, searched="hot")
    assert agrees(hot, Match("p", "t", 0.9, 0.4))
    for exact in (
        None,
        Match("q", "t", 0.9, 0.4),
        Match("p", "u", 0.9, 0.4),
        Match("p", "t", 0.91, 0.4),
        Match("p", "t", 0.9, 0.71),
        Match("p", "t", 0.9, 0.4, lookalike=True),
    ):
        assert not agrees(hot, exact)


def test_a_fault_in_the_tier_is_no_fault_of_a_payment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it cannot answer the exact search does; it says so and rests."""
    space = Space("r", "ab" * 32, 1)
    seal = EntrySeal(Keyring.create(tmp_path / "keys"), space)
    store = HotStore("redis://127.0.0.1:1/0", space, timeout_ms=50, max_payers=1, max_age_s=1)
    tier = HotTier(World().index, store, seal, RULE, ready=lambda: True, verify_share=0.0)
    alerts = "facepay_alerts_total", {"agent": "embedding", "reason": "hot_search_failed"}
    before = REGISTRY.get_sample_value(*alerts) or 0.0

    def broken(_: Vector) -> object:
        raise RuntimeError("no such row")

    monkeypatch.setattr(tier.mirror, "search", broken)
    assert tier.search(seen(3)) == [None]
    assert tier.suspended
    assert REGISTRY.get_sample_value(*alerts) == before + 1
    tier.stop()
