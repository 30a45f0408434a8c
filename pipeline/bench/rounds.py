"""Measures alternatives against each other: A B A B ..., in one process, on one machine, in one run.

A shared machine is slower in one minute than in the next, but rarely between two samples that follow each other. So
each round takes one sample of every alternative, a ratio is computed within a round, and the median of the rounds'
ratios is the result, with the smallest and the largest as its spread. Client CPU seconds (getrusage: all threads of
the process, user and system) stand beside wall seconds; they move less when others use the machine.
"""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

ROUNDS = 7
"""Fewest rounds of a result that is told to anybody."""

Clock = Literal["cpu", "wall"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one alternative over `items` items; `parts` are further seconds by name."""

    items: int
    wall_s: float
    cpu_s: float
    parts: Mapping[str, float] = field(default_factory=dict)

    def us_per_item(self, clock: Clock) -> float:
        """Microseconds per item."""
        return (self.cpu_s if clock == "cpu" else self.wall_s) / self.items * 1e6


Run = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds and how far they lie apart."""

    median: float
    low: float
    high: float


def cpu_s() -> float:
    """CPU seconds of this process so far, user and system, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(run: Callable[[], int]) -> Sample:
    """One sample of `run`, which returns how many items it did."""
    # Nobody pays for what the alternative before left behind: that is young.
    gc.collect(1)
    cpu, wall = cpu_s(), time.perf_counter()
    items = run()
    return Sample(items, time.perf_counter() - wall, cpu_s() - cpu)


def interleave(runs: Mapping[str, Run], rounds: int, *, warm: bool = True) -> dict[str, list[Sample]]:
    """`rounds` samples of each alternative, taken in turns, after one turn (`warm`) that is not counted."""
    for run in runs.values() if warm else ():
        run()
    samples: dict[str, list[Sample]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            samples[name].append(run())
    return samples


def cost_us(samples: Sequence[Sample], clock: Clock) -> Spread:
    """Microseconds per item over the rounds."""
    return spread([sample.us_per_item(clock) for sample in samples])


def cost_ratio(ours: Sequence[Sample], baseline: Sequence[Sample], clock: Clock) -> Spread:
    """Our cost per item over the baseline's, round by round."""
    return spread([a.us_per_item(clock) / b.us_per_item(clock) for a, b in zip(ours, baseline, strict=True)])


def speed_ratio(ours: Sequence[Sample], baseline: Sequence[Sample], clock: Clock) -> Spread:
    """Our items per second over the baseline's, round by round."""
    return cost_ratio(baseline, ours, clock)


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))
