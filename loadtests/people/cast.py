"""Who plays whom: enrolled payers with a PIN, and strangers whom the system has never seen.

Persons with two different photographs become payers first: enrolled with one, seen by the camera with the other.
Where they are too few, persons with a single photograph join, seen with that same picture set in motion; the demo says
how many. Strangers are never enrolled and must never be charged.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.people.appearance import Appearance, Drawn
from loadtests.people.portraits import Person
from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True)
class Payer:
    """An enrolled person; `payer_id` is the ground truth that settlements are compared with. `phone` is a number that
    nobody can have: no country has the code 999."""

    payer_id: str
    label: str
    enrolled_with: Path
    seen_with: Appearance
    pin: str
    phone: str = ""

    @property
    def same_picture(self) -> bool:
        """Whether the camera sees the very photograph of the enrolment."""
        return self.enrolled_with == self.seen_with


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who was never enrolled; `phone` is the number that they would type, if any."""

    label: str
    seen_with: Appearance
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody who may stand before a terminal."""

    payers: tuple[Payer, ...]
    strangers: tuple[Stranger, ...]

    @property
    def same_picture(self) -> int:
        """How many payers are seen with the photograph of their enrolment."""
        return sum(payer.same_picture for payer in self.payers)


def cast(people: Sequence[Person], ids: Sequence[str], *, strangers: int, seed: int) -> Cast:
    """A cast of one payer per id, and `strangers` others, drawn by `seed`. Fewer payers when there are too few people;
    raises `UsageError` when there are not at least three."""
    if len(people) < 3:
        raise UsageError(f"casting the demo: {len(people)} people are too few; pass a folder with three or more")
    draw = random.Random(seed)
    two = [person for person in people if person.has_two]
    one = [person for person in people if not person.has_two]
    draw.shuffle(two)
    draw.shuffle(one)
    pool = two + one
    enrolled = min(len(ids), len(pool) - min(strangers, len(pool) // 3))
    payers = tuple(
        Payer(
            payer_id=payer_id,
            label=person.label,
            enrolled_with=person.photographs[0],
            seen_with=_seen(person),
            pin=f"{draw.randrange(10_000):04d}",
            phone=f"+999{random.Random(f'{seed} {payer_id}').randrange(10**9):09d}",
        )
        for payer_id, person in zip(ids, pool[:enrolled], strict=False)
    )
    others = tuple(Stranger(p.label, _seen(p)) for p in pool[enrolled : enrolled + strangers])
    return Cast(payers, others)


def _seen(person: Person) -> Appearance:
    """How a camera sees somebody."""
    return person.photographs[-1] if person.drawn_seed is None else Drawn(person.drawn_seed)
