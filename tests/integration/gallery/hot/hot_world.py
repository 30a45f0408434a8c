"""People, galleries and hot tiers over a real Redis, for tests of the hot tier."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import redis

from pipeline.gallery.hot.layout import EntrySeal, Space
from pipeline.gallery.hot.standing import Rule
from pipeline.gallery.hot.store import HotStore
from pipeline.gallery.hot.tier import HotTier
from pipeline.gallery.index import ExactIndex
from pipeline.keys.keyring import Keyring
from pipeline.ports import Match, Vector
from tests.stack import wait_until

DIMENSION = 64
MODEL = "ab" * 32
RULE = Rule(margin=0.1)


def unit(vectors: npt.NDArray[np.floating]) -> Vector:
    """Each row of (n, d) at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


@dataclass(frozen=True)
class Person:
    """A payer with two templates, float32 (2, d)."""

    payer_id: str
    vectors: Vector = field(repr=False)

    @property
    def template_ids(self) -> tuple[str, str]:
        """The ids of both."""
        return f"{self.payer_id}.0", f"{self.payer_id}.1"


def people(count: int, seed: int = 0, name: str = "payer") -> list[Person]:
    """People who do not look alike."""
    draw = np.random.default_rng(seed)
    faces = unit(draw.normal(size=(count, 1, DIMENSION)))
    views = unit(faces + 0.02 * draw.normal(size=(count, 2, DIMENSION)))
    return [Person(f"{name}-{number}", vectors) for number, vectors in enumerate(views)]


def probes(some: list[Person], seed: int = 1) -> Vector:
    """A new picture of each, float32 (n, d)."""
    draw = np.random.default_rng(seed)
    return unit(np.stack([person.vectors[0] for person in some]) + 0.02 * draw.normal(size=(len(some), DIMENSION)))


def gallery(some: list[Person]) -> ExactIndex:
    """An exact index that holds them."""
    index = ExactIndex(DIMENSION)
    for person in some:
        enrol(index, person)
    return index


def enrol(index: ExactIndex, person: Person) -> None:
    """Puts a person into an index."""
    index.put_many(person.template_ids, [person.payer_id] * 2, person.vectors, np.zeros(2, np.bool_))


@dataclass(frozen=True)
class Opened:
    """What a gallery's reader tells of a template."""

    payer_id: str
    vector: Vector


@dataclass
class Agent:
    """The memory of one embedding agent: its exact index and its hot tier."""

    index: ExactIndex
    tier: HotTier
    store: HotStore
    seal: EntrySeal
    ready: threading.Event

    def hot(self, probe: Vector) -> Match | None:
        """The hot answer for one probe, float32 (d,)."""
        return self.tier.search(probe[None])[0]

    def answers(self, person: Person) -> bool:
        """Whether the tier answers for a new picture of a person, rightly."""
        found = self.hot(probes([person])[0])
        return found is not None and found.payer_id == person.payer_id and found.searched == "hot"

    def offered(self, person: Person) -> bool:
        """Offers a person; whether the tier answers for them."""
        self.tier.offer(person.payer_id)
        return self.answers(person)

    def forget(self, person: Person) -> None:
        """What the gallery's reader does at the tombstones of a person."""
        for template_id in person.template_ids:
            if self.index.remove(template_id):
                self.tier.removed(template_id, person.payer_id)

    def warm(self, some: list[Person]) -> None:
        """Offers people and waits until they are answered hot."""
        for person in some:
            self.tier.offer(person.payer_id)
        # A write that failed is not repeated: the next sighting is.
        wait_until(
            lambda: all(self.answers(person) or self.offered(person) for person in some),
            20,
            "people who were offered to be hot",
        )


@contextmanager
def agent(
    url: str,
    keyring: Keyring,
    some: list[Person],
    *,
    region: str,
    version: int = 1,
    model: str = MODEL,
    rule: Rule = RULE,
    verify_share: float = 0.0,
    max_payers: int = 1_000,
    max_age_s: int = 3_600,
    log_records: int = 1_000,
    timeout_ms: int = 500,
    refresh_s: float = 0.0,
    forget_after_s: float = 3_600.0,
) -> Iterator[Agent]:
    """An agent whose gallery is `some`; it is stopped at the end."""
    index, ready = gallery(some), threading.Event()
    ready.set()
    space = Space(region, model, version)
    store = HotStore(
        url,
        space,
        timeout_ms=timeout_ms,
        max_payers=max_payers,
        max_age_s=max_age_s,
        block_ms=25,
        log_records=log_records,
    )
    seal = EntrySeal(keyring, space)
    tier = HotTier(
        index,
        store,
        seal,
        rule,
        ready=ready.is_set,
        verify_share=verify_share,
        refresh_s=refresh_s,
        look_s=0.05,
        forget_after_s=forget_after_s,
    )
    tier.start()
    try:
        yield Agent(index, tier, store, seal, ready)
    finally:
        tier.stop()


def client(url: str) -> redis.Redis:
    """A plain client, for what strangers do to a Redis."""
    return redis.Redis.from_url(url, socket_timeout=5, protocol=2)
