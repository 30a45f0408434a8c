"""Galleries with a hot set and trouble planted around it, and searches in them: what the hot tier could get wrong.

A world is a city's gallery of which some payers are hot. Around the hot ones lookalikes are planted, all enrolled and
none of them hot, so that only the exact search sees them: twins (cosine 0.6 to 0.9 to a template of the hot payer,
every other one flagged as found at enrolment) and near lookalikes (0.4 to 0.6, never flagged). `probes` draws fresh
pictures:

    share  kind             whose picture
    30 %   hot              any hot payer
    20 %   hot_with_double  a hot payer who has a lookalike outside the hot set
    20 %   lookalike        an enrolled lookalike of a hot payer
    10 %   enrolled         any other enrolled payer who is not hot
    10 %   stranger         nobody who is enrolled
    10 %   sibling          nobody who is enrolled, but a lookalike (0.4 to 0.9) of a hot payer

and, apart from these (`PULLED`), pictures that no law of noise allows: a hot payer pulled towards the lookalike, or the
lookalike towards the payer, by a fifth to four fifths of the way, as a morph is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.bench.population import Population
from pipeline.ports import Vector

KINDS: Mapping[str, float] = {
    "hot": 0.30,
    "hot_with_double": 0.20,
    "lookalike": 0.20,
    "enrolled": 0.10,
    "stranger": 0.10,
    "sibling": 0.10,
}
PULLED: Mapping[str, float] = {"pulled": 1.0}
TWINS, NEAR = (0.6, 0.9), (0.4, 0.6)
_PULL = (0.2, 0.8)

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a world is. `doubled`: share of the hot payers with a lookalike, half of them with a twin."""

    payers: int = 10_000
    hot: int = 1_000
    doubled: float = 0.5
    second_template: float = 0.5
    """Share of payers with two templates."""


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One gallery. Templates are float32 (t, d), `payer` (t,) whose each is, `flagged` (t,) whether with a lookalike.

    Payers below `hot` are hot; the next ones, up to `others`, are the lookalikes: number `hot + k` is that of payer
    `double_of[k]`. The rest are anybody else.
    """

    people: Population = field(repr=False)
    identities: Vector = field(repr=False)
    templates: Vector = field(repr=False)
    payer: Whole = field(repr=False)
    flagged: npt.NDArray[np.bool_] = field(repr=False)
    hot: int
    double_of: Whole = field(repr=False)

    @property
    def others(self) -> int:
        """The first payer who is neither hot nor a lookalike."""
        return self.hot + len(self.double_of)

    @property
    def payers(self) -> int:
        """How many are enrolled."""
        return len(self.identities)

    def payer_ids(self) -> list[str]:
        """Of each template."""
        return [f"p{number}" for number in self.payer]

    def template_ids(self) -> list[str]:
        """Of each template."""
        return [f"t{row}" for row in range(len(self.payer))]


def world(shape: Shape, seed: tuple[int, ...]) -> World:
    """The world of that seed."""
    people = Population(seed, noise="hard")
    draw = people.draw
    doubles = round(shape.hot * shape.doubled)
    double_of = np.sort(draw.choice(shape.hot, doubles, replace=False))
    twin = np.arange(doubles) % 2 == 0
    flagged = np.zeros(shape.payers, bool)
    # Every other twin was found at enrolment, and so was the one whose twin it is.
    found = np.flatnonzero(twin)[::2]
    flagged[shape.hot + found] = flagged[double_of[found]] = True

    identities = people.identities(shape.payers)
    first = people.pictures(identities)
    cosines = np.where(twin, draw.uniform(*TWINS, doubles), draw.uniform(*NEAR, doubles)).astype(np.float32)
    of_double = slice(shape.hot, shape.hot + doubles)
    first[of_double] = people.lookalikes(first[double_of], cosines)
    identities[of_double] = first[of_double]

    twice = np.flatnonzero(draw.random(shape.payers) < shape.second_template)
    payer = np.concatenate([np.arange(shape.payers), twice])
    templates = np.concatenate([first, people.pictures(identities[twice])])
    return World(people, identities, templates, payer, flagged[payer], shape.hot, double_of)


def probes(world: World, count: int, kinds: Mapping[str, float] = KINDS) -> tuple[Vector, npt.NDArray[np.str_]]:
    """`count` fresh pictures, float32 (count, d), and the kind of each, drawn by the shares of `kinds`."""
    people, draw = world.people, world.people.draw
    kind = np.array(list(kinds))[draw.choice(len(kinds), count, p=list(kinds.values()))]
    seen = np.empty((count, people.dimension), np.float32)

    def of(name: str) -> Whole:
        return np.flatnonzero(kind == name)

    for name, low, high in (
        ("hot", 0, world.hot),
        ("lookalike", world.hot, world.others),
        ("enrolled", world.others, world.payers),
    ):
        rows = of(name)
        seen[rows] = people.pictures(world.identities[draw.integers(low, high, len(rows))])
    rows = of("hot_with_double")
    seen[rows] = people.pictures(world.identities[draw.choice(world.double_of, len(rows))])
    rows = of("stranger")
    seen[rows] = people.identities(len(rows))
    rows = of("sibling")
    whose = draw.integers(world.hot, size=len(rows))
    cosines = draw.uniform(NEAR[0], TWINS[1], len(rows)).astype(np.float32)
    seen[rows] = people.pictures(people.lookalikes(world.identities[whose], cosines))
    rows = of("pulled")
    pair = draw.integers(len(world.double_of), size=len(rows))
    pull = draw.uniform(*_PULL, (len(rows), 1)).astype(np.float32)
    mixed = pull * world.identities[world.hot + pair] + (1 - pull) * world.identities[world.double_of[pair]]
    seen[rows] = people.pictures(np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), np.float32))
    return seen, kind
