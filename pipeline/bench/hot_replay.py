"""A region's days through the real hot tier: how much of them it answers, and whether it ever decides otherwise.

Two agents share one real Redis and the gallery of the city. Each pass of the model (`commuters`) is one search at the
agent of its station, through `TieredSearch`, and one exact search of the whole gallery beside it. Whoever is decided is
offered to the tier, as the agent does. At each midnight people are enrolled (every other one an unflagged lookalike of
a regular; all travel from then on), and regulars are erased, who go on travelling and must never be matched again.

Half an hour of the model takes a second or so here. What is long done after half an hour (writes, the log, counting
neighbours) is waited for then, so whoever comes twice within one is hardly hot the second time; `waited_s` tells how
long. After each wait some passes are searched alone and timed, with nothing else going on.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from redis import Redis

from pipeline.bench.commuters import Day, Region, days
from pipeline.bench.hot_errors import Limits
from pipeline.bench.hot_region import Agents, City, payer_id
from pipeline.bench.population import DIMENSION
from pipeline.bench.rounds import Spread, spread
from pipeline.bench.rows import Figure, Goal, Row
from pipeline.gallery.protect.transform import Transform
from pipeline.keys.keyring import Keyring
from pipeline.local import LocalStack
from pipeline.ports import Match, Vector

BATCH = 64
SLICE_US = 30 * 60_000_000
_SHOWN = 5
_SENT = frozenset({"evalsha", "eval", "script|load", "xread", "hmget", "hscan", "hexists", "info", "scan", "del"})
"""Commands that the tier sends; others in Redis' statistics are its scripts' own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What to replay. `templates`: pictures per payer in the gallery, as enrolment takes several."""

    region: Region = field(default_factory=Region)
    templates: int = 3
    agents: int = 2
    erased: int = 20
    """Regulars, at each midnight but the first."""
    timed: int = 16
    """Passes of each half hour that are searched alone and timed."""
    seed: int = 1


@dataclass(slots=True)
class Seen:
    """What was seen on one day; times of single searches in microseconds."""

    passes: int = 0
    hot: int = 0
    different: list[str] = field(default_factory=list)
    erased_matched: int = 0
    tiered_us: list[float] = field(default_factory=list)
    hot_us: list[float] = field(default_factory=list)
    exact_us: list[float] = field(default_factory=list)
    waited_s: float = 0.0
    busiest: int = 0
    """Passes of the busiest half hour."""


@dataclass(frozen=True, slots=True)
class Load:
    """What Redis did: commands sent to it by name, bytes, CPU seconds, memory; counted from its own start."""

    commands: Mapping[str, int]
    bytes_in: int
    bytes_out: int
    cpu_s: float
    memory: int

    @classmethod
    def of(cls, client: Redis) -> Load:
        """Now."""
        stats, cpu = client.info("stats"), client.info("cpu")
        names = {
            name.removeprefix("cmdstat_").partition("|")[0]: told for name, told in client.info("commandstats").items()
        }
        return cls(
            {name: int(told["calls"]) for name, told in names.items() if name in _SENT},
            int(stats["total_net_input_bytes"]),
            int(stats["total_net_output_bytes"]),
            float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
            int(client.info("memory")["used_memory"]),
        )


class Replay:
    """One replay; `run` it once."""

    def __init__(self, plan: ReplayPlan, city: City, agents: Agents, limits: Limits) -> None:
        self._plan = plan
        self._city = city
        self._agents = agents
        self._limits = limits
        self._draw = np.random.default_rng((plan.seed, 2))
        self._erased: set[str] = set()

    def run(self) -> Iterator[Seen]:
        """Day after day."""
        for day in days(self._plan.region, self._plan.seed):
            self._midnight(day.number)
            seen = Seen(passes=len(day))
            for first, end in _slices(day):
                offered = self._half_hour(day, first, end, seen)
                seen.waited_s += self._agents.settle(offered)
                self._time(day, first, end, seen)
                seen.busiest = max(seen.busiest, end - first)
            yield seen

    def _midnight(self, number: int) -> None:
        region = self._plan.region
        new = region.payers + number * region.newcomers
        self._agents.enrolled(self._city.enrol(np.arange(new, new + region.newcomers)))
        for payer in self._draw.integers(region.regulars, size=self._plan.erased if number else 0):
            self._erased.add(payer_id(payer))
            self._agents.erase(payer_id(payer))

    def _half_hour(self, day: Day, first: int, end: int, seen: Seen) -> set[str]:
        """Searches all passes, each at its agent in batches, and offers whom they decided."""
        offered: set[str] = set()
        agent = day.station[first:end] % len(self._agents.searches)
        for number, search in enumerate(self._agents.searches):
            rows = first + np.flatnonzero(agent == number)
            for start in range(0, len(rows), BATCH):
                some = rows[start : start + BATCH]
                probes = self._city.pictures(day.payer[some])
                answers = search.search(probes)
                for payer in self._judge(answers, self._exactly(probes), seen):
                    search.offer(payer)
                    offered.add(payer)
        return offered

    def _judge(self, answers: Sequence[Match | None], exact: Sequence[Match | None], seen: Seen) -> Iterator[str]:
        """Whom the answers decide; notes those that differ from `exact`."""
        for ours, theirs in zip(answers, exact, strict=True):
            decided = self._limits.decision(ours)
            if decided != self._limits.decision(theirs):
                seen.different.append(f"{' '.join(decided)}, exactly {' '.join(self._limits.decision(theirs))}")
            if ours is None:
                continue
            seen.hot += ours.searched == "hot"
            seen.erased_matched += ours.payer_id in self._erased
            if decided[0] == ours.payer_id:
                yield ours.payer_id

    def _time(self, day: Day, first: int, end: int, seen: Seen) -> None:
        """Searches other pictures of some of the same passes alone, ours and exactly in turns."""
        rows = first + self._draw.integers(end - first, size=min(self._plan.timed, end - first))
        for turn, (row, probe) in enumerate(zip(rows, self._city.pictures(day.payer[rows]), strict=True)):
            search = self._agents.searches[day.station[row] % len(self._agents.searches)]
            for which in (("ours", "exact"), ("exact", "ours"))[turn % 2]:
                began = time.perf_counter()
                if which == "exact":
                    self._exactly(probe[None])
                    seen.exact_us.append((time.perf_counter() - began) * 1e6)
                    continue
                (answer,) = search.search(probe[None])
                seen.tiered_us.append((time.perf_counter() - began) * 1e6)
                if answer is not None and answer.searched == "hot":
                    seen.hot_us.append(seen.tiered_us[-1])

    def _exactly(self, probes: Vector) -> Sequence[Match | None]:
        return self._city.index.search(self._city.space.apply(probes))


def run(plan: ReplayPlan) -> list[Row]:
    """The rows; run it by `in_own_process`, which holds BLAS to one thread."""
    limits = Limits.shipped()
    with TemporaryDirectory(prefix="facepay-bench-") as name, LocalStack(Path(name) / "stack", kafka=False) as stack:
        keyring = Keyring.create(Path(name) / "keys")
        space = Transform.of(keyring, keyring.gallery_version, DIMENSION)
        city = City(plan.region, space, templates=plan.templates, seed=plan.seed)
        url = stack.addresses.redis
        agents = Agents(city, keyring, url, count=plan.agents, margin=limits.widest)
        with Redis.from_url(url) as client:
            before = Load.of(client)
            agents.start()
            try:
                seen = list(Replay(plan, city, agents, limits).run())
                return _rows(plan, city, agents, seen, before, Load.of(client))
            finally:
                agents.stop()


def _slices(day: Day) -> Iterator[tuple[int, int]]:
    """Where each half hour of the day begins and ends among its passes."""
    bounds = np.flatnonzero(np.diff(day.at_us // SLICE_US)) + 1
    yield from zip([0, *bounds.tolist()], [*bounds.tolist(), len(day)], strict=True)


def _rows(plan: ReplayPlan, city: City, agents: Agents, seen: list[Seen], before: Load, after: Load) -> list[Row]:
    different = [why for day in seen for why in day.different]
    void = [f"an answer differs: {why}" for why in different[:_SHOWN]]
    if agents.suspended:
        void.append("a tier has found one of its answers wrong")
    if matched := sum(day.erased_matched for day in seen):
        void.append(f"{matched} searches found somebody who was erased")
    passes, hot = sum(day.passes for day in seen), sum(day.hot for day in seen)
    warm = seen[1:] or seen
    about: dict[str, Figure] = {
        "passes": passes,
        "days": len(seen),
        "payers": city.index.payers,
        "templates": city.index.size,
        "regulars": plan.region.regulars,
        "mirrored": agents.hot,
        "hot_share_day_0": seen[0].hot / seen[0].passes,
        "hot_share_later": sum(day.hot for day in warm) / sum(day.passes for day in warm),
        "waited_s": sum(day.waited_s for day in seen),
    }
    return [
        Row(
            case="hot.commuters.answered_hot",
            unit="share_of_searches",
            ours=hot / passes,
            baseline=None,
            ratio=None,
            goal=Goal(">=", 0.8, "ours"),
            against="all passes, day 0 with an empty cache among them",
            more=about,
            void=void,
        ),
        Row(
            case="hot.commuters.errors",
            unit=f"different_in_{passes}",
            ours=len(different),
            baseline=None,
            ratio=None,
            goal=Goal("<=", 0, "ours"),
            against="the exact search of the same pictures",
            more={"erased_matched": matched},
            void=void,
        ),
        *(_times(seen, share, void) for share in (50, 99)),
        _redis(plan, agents, seen, before, after),
    ]


def _times(seen: Sequence[Seen], percent: int, void: Sequence[str]) -> Row:
    """A percentile of single searches over all days; the ratio is taken day by day."""

    def at(times: Sequence[float]) -> float:
        return float(np.percentile(times, percent)) if times else 0.0

    ratio: Spread = spread([at(day.tiered_us) / at(day.exact_us) for day in seen])
    return Row(
        case=f"hot.commuters.search.p{percent}",
        unit="wall_us_per_search",
        ours=at([us for day in seen for us in day.tiered_us]),
        baseline=at([us for day in seen for us in day.exact_us]),
        ratio=ratio,
        against="the exact search alone, batch 1",
        more={
            "hot_answers_us": at([us for day in seen for us in day.hot_us]),
            "timed": sum(len(day.tiered_us) for day in seen),
        },
        void=void,
    )


def _redis(plan: ReplayPlan, agents: Agents, seen: Sequence[Seen], before: Load, after: Load) -> Row:
    passes = sum(day.passes for day in seen)
    sent = {name: after.commands[name] - before.commands.get(name, 0) for name in after.commands}
    each = sum(sent.values()) / passes
    busiest_per_s = max(day.busiest for day in seen) / (SLICE_US / 1e6)
    return Row(
        case="hot.commuters.redis",
        unit="commands_per_search",
        ours=each,
        baseline=None,
        ratio=None,
        against=f"{plan.agents} agents on one Redis",
        more={
            "searches_per_s_busiest_half_hour": busiest_per_s,
            "commands_per_s_busiest_half_hour": busiest_per_s * each,
            "bytes_in_per_search": (after.bytes_in - before.bytes_in) / passes,
            "bytes_out_per_search": (after.bytes_out - before.bytes_out) / passes,
            "server_cpu_us_per_search": (after.cpu_s - before.cpu_s) / passes * 1e6,
            "memory_bytes_per_hot_payer": (after.memory - before.memory) / max(1, agents.hot),
            "searches_per_day": statistics.median(day.passes for day in seen),
            **{f"sent_{name}": count for name, count in sent.items() if count},
        },
    )
