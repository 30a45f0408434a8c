"""How often the hot tier decides otherwise than the exact search: counted over millions of searches, hoped to be never.

Ours is the tier's own code (`gallery.hot`: mirror, counted neighbours, what may stand) over worlds of people who do not
exist (`hot_worlds`), with lookalikes planted outside the hot set. An answer that stands is compared with what
`ExactIndex.search` says of the same probe over the whole gallery, by what they lead to (`Decision`): the payer, whether
the match and the strong threshold are passed, whether the margin suffices, is thin or is too small, whether a lookalike
calls for a PIN. An answer that does not stand cannot differ: the exact search decides then.

What is independent: every probe is a fresh picture, drawn once and searched once. Probes of one world share its
gallery: a world is drawn anew after as many probes as the plan says. With no difference in n searches the chance of one
is at most 3 / n at 95 % confidence (Hanley and Lippman-Hand, 1983), over the mixture of probes that `hot_worlds`
states, which is far worse than a shop's.

Pictures pulled towards a lookalike (morphs) are counted apart: the bound takes it that how a picture differs from its
template has nothing to do with other people, and they are made to break just that.

So that nobody trusts a test that cannot fail: the same searches without the tier's guards (`weakened`: any risk is
allowed, nobody near is looked at) must differ. With a bound that allows one difference in a hundred searches and is
alone (`loosened`) they show how careful the bound is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from pipeline.bench.hot_worlds import KINDS, PULLED, Shape, World, probes, world
from pipeline.bench.population import DIMENSION
from pipeline.bench.rows import Figure, Goal, Row
from pipeline.gallery.hot.decide import HotSearch
from pipeline.gallery.hot.layout import Entry
from pipeline.gallery.hot.mirror import Mirror
from pipeline.gallery.hot.neighbours import Neighbours
from pipeline.gallery.hot.standing import Rule
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.protect.transform import Transform
from pipeline.keys.keyring import Keyring
from pipeline.ports import Match, Vector
from pipeline.settings import Risk
from pipeline.vision.models import manifest

EMBEDDER = "mobilefacenet"
"""Whose thresholds decide: the drawn people follow its law (`population`)."""
BATCH = 256
_ALLOWS_ALL = 1e12
_LOOSE = 1e-2
_SHOWN = 5

Decision = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a similarity and a margin lead to."""

    match: float
    strong: float
    margin: float
    thin: float

    @classmethod
    def shipped(cls) -> Limits:
        """Those of the manifest and of the fraud agent's settings."""
        found = next(spec.thresholds for spec in manifest() if spec.name == EMBEDDER)
        return cls(found["match"], found["strong"], found["margin"], Risk().thin_margin)

    @property
    def widest(self) -> float:
        """The largest margin that anything asks for."""
        return max(self.margin, self.thin)

    def decision(self, match: Match | None) -> Decision:
        """What follows from an answer."""
        if match is None or match.similarity < self.match:
            return ("nobody",)
        margin = max(0.0, match.similarity - match.runner_up)
        if margin < self.margin:
            return ("unclear",)
        return (
            match.payer_id,
            "strong" if match.similarity >= self.strong else "weak",
            "thin" if margin < self.thin else "clear",
            "lookalike" if match.lookalike else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """So many worlds of a shape, with as many probes each."""

    shape: Shape
    worlds: int
    probes: int
    kinds: Mapping[str, float] = field(default_factory=lambda: KINDS)


PARTS = (
    Part(shape=Shape(), worlds=54, probes=50_000),
    Part(shape=Shape(payers=100_000, hot=2_000), worlds=3, probes=100_000),
)
WEAK_PARTS = (Part(shape=Shape(), worlds=2, probes=20_000),)
PULLED_PARTS = (Part(shape=Shape(), worlds=2, probes=20_000, kinds=PULLED),)


@dataclass(frozen=True, slots=True)
class ErrorPlan:
    """What to search: three million probes, and some with the bound weakened."""

    parts: Sequence[Part] = PARTS
    weak_parts: Sequence[Part] = WEAK_PARTS
    pulled_parts: Sequence[Part] = PULLED_PARTS
    seed: int = 1


@dataclass(slots=True)
class Count:
    """What was seen."""

    searches: int = 0
    stood: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Decisions that differ."""
        return sum(self.different.values())

    @property
    def answered(self) -> int:
        """Searches whose hot answer stood."""
        return sum(self.stood.values())


class Tier:
    """The decision part of the hot tier over one world, without Redis: what a follower would have read is put."""

    def __init__(self, world: World, rule: Rule, space: Transform) -> None:
        dimension = world.people.dimension
        self._space = space
        self.exact = ExactIndex(dimension)
        self.exact.put_many(world.template_ids(), world.payer_ids(), space.apply(world.templates), world.flagged)
        self._neighbours = Neighbours(self.exact, rule)
        self.mirror = Mirror(dimension, on_put=self._want)
        self._search = HotSearch(self.exact, self.mirror, self._neighbours)
        of_hot = [f"p{number}" for number in range(world.hot)]
        for payer_id in of_hot:
            ids, vectors = zip(*self.exact.templates_of(payer_id), strict=True)
            self.mirror.put(payer_id, Entry(payer_id, ids, np.stack(vectors)))
        while self._neighbours.work(0.0):
            pass

    def _want(self, entry: Entry) -> None:
        self._neighbours.want(entry.template_ids, entry.payer_id, entry.vectors)

    def answers(self, seen: Vector) -> list[Match | None]:
        """What stands for each probe; `seen` is in clear."""
        return [each for part in self._turned(seen) for each in self._search.search(part)]

    def exactly(self, seen: Vector) -> list[Match | None]:
        """What the whole gallery says."""
        return [each for part in self._turned(seen) for each in self.exact.search(part)]

    def _turned(self, seen: Vector) -> Iterator[Vector]:
        for start in range(0, len(seen), BATCH):
            yield self._space.apply(seen[start : start + BATCH])


def run(plan: ErrorPlan) -> list[Row]:
    """The rows; run it by `in_own_process`, which holds BLAS to one thread."""
    limits = Limits.shipped()
    rule = Rule(margin=limits.widest)
    # The test of the test first: who waits for millions wants to know that they will count.
    weak = counted(plan.weak_parts, replace(rule, limit=_ALLOWS_ALL, mean=_ALLOWS_ALL, nearest=0), limits, plan.seed)
    pulled = counted(plan.pulled_parts, rule, limits, plan.seed)
    loose = counted(plan.weak_parts, replace(rule, limit=_LOOSE, mean=_LOOSE, nearest=0), limits, plan.seed)
    shipped = counted(plan.parts, rule, limits, plan.seed)
    void = [] if weak.errors else ["without its guards the tier showed no difference: this test cannot fail"]
    if loose.errors > _LOOSE * loose.searches:
        void.append(f"{loose.errors} of {loose.searches} searches differ where the bound allows {_LOOSE:g}")
    more: dict[str, Figure] = {
        "worlds": sum(part.worlds for part in plan.parts),
        "upper_95_per_search": None if shipped.errors else 3.0 / shipped.searches,
        "upper_95_per_hot_answer": None if shipped.errors else 3.0 / max(1, shipped.answered),
        "margin": rule.margin,
    }
    none = Goal("<=", 0, "ours")
    return [
        _row("hot.errors", "lookalikes outside the hot set", shipped, none, [*void, *shipped.examples], more),
        _row("hot.errors.pulled", "pictures pulled towards a lookalike", pulled, None, void),
        _row("hot.errors.loosened", f"the bound alone, allowing {_LOOSE:g} per search", loose, None, void),
        _row("hot.errors.weakened", "no bound, nobody near looked at", weak, Goal(">=", 1, "ours"), void),
    ]


def _row(
    case: str,
    what: str,
    count: Count,
    goal: Goal | None,
    void: Sequence[str],
    more: Mapping[str, Figure] | None = None,
) -> Row:
    return Row(
        case=case,
        unit=f"different_in_{count.searches}",
        ours=count.errors,
        baseline=None,
        ratio=None,
        goal=goal,
        against=f"the exact search; {what}",
        more={
            "searches": count.searches,
            "hot_answers": count.answered,
            **(more or {}),
            **{f"hot_share_{kind}": count.stood[kind] / asked for kind, asked in count.asked.items()},
            **{f"different_{kind}": wrong for kind, wrong in count.different.items()},
        },
        void=void,
    )


def protected_space(dimension: int) -> Transform:
    """The space of a new keyring, which is gone afterwards."""
    with TemporaryDirectory(prefix="facepay-bench-") as folder:
        keyring = Keyring.create(Path(folder) / "keys")
        return Transform.of(keyring, keyring.gallery_version, dimension)


def counted(parts: Sequence[Part], rule: Rule, limits: Limits, seed: int) -> Count:
    """Searches all probes of `parts` under `rule` and compares what stands."""
    count = Count()
    space = protected_space(DIMENSION)
    for number, part in enumerate(parts):
        for each in range(part.worlds):
            made = world(part.shape, (seed, number, each))
            seen, kinds = probes(made, part.probes, part.kinds)
            _compare(Tier(made, rule, space), seen, kinds, limits, count)
    return count


def _compare(tier: Tier, seen: Vector, kinds: npt.NDArray[np.str_], limits: Limits, count: Count) -> None:
    count.searches += len(seen)
    count.asked.update(kinds.tolist())
    answers = tier.answers(seen)
    stood = [place for place, answer in enumerate(answers) if answer is not None]
    for place, exact in zip(stood, tier.exactly(seen[stood]), strict=True):
        answer, kind = answers[place], str(kinds[place])
        count.stood[kind] += 1
        ours, theirs = limits.decision(answer), limits.decision(exact)
        if ours != theirs:
            count.different[kind] += 1
            if len(count.examples) < _SHOWN:
                count.examples.append(f"a search of kind {kind}: {' '.join(ours)}, exactly {' '.join(theirs)}")
