"""Exact 1:N search on one core: the index, against the quickest other exact search that can be had here.

`match.NxD.batchB` is queries per CPU second against the best of FAISS, NumPy and USearch in the same run
(`match_baselines`). `match.large` is one probe at a time over a gallery that no cache holds, against the time that the
bytes which a search must read take to be read at all: 4-bit codes and residuals, summed by NumPy over memory that was
written. `match.oracle` is how many of its answers differ from float64 (`match_oracle`); one is enough to make it void.

Run it by `in_own_process`, which holds BLAS to one thread before numpy is imported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.bench.match_baselines import Searching, baselines, batches, quickest
from pipeline.bench.match_oracle import differences, hard_world, of_length_1
from pipeline.bench.rounds import Run, cost_us, interleave, timed
from pipeline.bench.rows import Goal, Row, speed_row
from pipeline.gallery.index import ExactIndex
from pipeline.ports import Vector

TEMPLATES = 100_000
LARGE = 1_000_000
DIMENSIONS = (128, 512)
BATCHES = (1, 64)
PROBES = 64
"""Probes per sample, whatever the size of a batch."""
GOAL = Goal(">=", 6.0)
FLOOR_GOAL = Goal(">=", 0.8)
NONE_GOAL = Goal("<=", 0.0, of="ours")
_PUT = 50_000
_SPREAD = 0.5
"""Length of what is added to a template to make a probe that resembles it: a cosine of about 0.9."""


@dataclass(frozen=True, slots=True)
class MatchPlan:
    """What to measure."""

    rounds: int
    templates: int = TEMPLATES
    dimensions: Sequence[int] = DIMENSIONS
    batches: Sequence[int] = BATCHES
    probes: int = PROBES
    large: int = LARGE
    checked: Sequence[tuple[int, int, int]] = ((20_000, 128, 100_000), (100_000, 512, 2000))
    """Templates, dimension and probes of each comparison with the oracle."""


def run(plan: MatchPlan) -> list[Row]:
    """All rows."""
    rows = [row for dimension in plan.dimensions for row in _speed_rows(plan, dimension)]
    return [*rows, _large_row(plan), *(_oracle_row(*check) for check in plan.checked)]


def _speed_rows(plan: MatchPlan, dimension: int) -> Iterator[Row]:
    matrix = np.concatenate(list(_drawn(plan.templates, dimension)))
    index = _filled(ExactIndex(dimension), [matrix])
    probes = _probes(matrix, plan.probes)
    for size in plan.batches:
        others, missing = baselines(matrix, probes[:size])
        searching: dict[str, Searching] = {"index": index.search, **others}
        runs: dict[str, Run] = {
            name: partial(timed, partial(_search_all, search, probes, size)) for name, search in searching.items()
        }
        samples = interleave(runs, plan.rounds)
        best = quickest({name: cost_us(samples[name], "cpu").median for name in others})
        yield speed_row(
            f"match.{plan.templates}x{dimension}.batch{size}",
            samples["index"],
            samples[best],
            item="query",
            clock="cpu",
            goal=GOAL,
            against=f"{best}, the quickest of {', '.join(others)}",
            more={
                "kernel": index.kernel,
                "bytes_per_template": index.bytes_per_template,
                **{f"{name}_cpu_us_per_query": cost_us(samples[name], "cpu").median for name in others},
                **{f"{name}_missing": why for name, why in missing.items()},
            },
        )


def _large_row(plan: MatchPlan) -> Row:
    """One probe at a time, against the time that reading takes."""
    dimension = max(plan.dimensions)
    index, began = ExactIndex(dimension), time.perf_counter()
    first: Vector | None = None
    for part in _drawn(plan.large, dimension):
        first = part if first is None else first
        _filled(index, [part])
    filled_s = time.perf_counter() - began
    probes = _probes(first if first is not None else np.empty((0, dimension), np.float32), min(8, plan.probes))
    # Pages that were never written are one page of zeros to the processor: these are written.
    read = np.ones(plan.large * (index.bytes_read_per_template // 8), np.int64)

    def floor() -> int:
        for _ in range(len(probes)):
            read.sum()
        return len(probes)

    samples = interleave(
        {
            "index": partial(timed, partial(_search_all, index.search, probes, 1)),
            "floor": partial(timed, floor),
        },
        plan.rounds,
    )
    return speed_row(
        f"match.large.{plan.large}x{dimension}.batch1",
        samples["index"],
        samples["floor"],
        item="query",
        clock="cpu",
        goal=FLOOR_GOAL,
        against="reading as many bytes",
        more={
            "kernel": index.kernel,
            "read_bytes_per_template": index.bytes_read_per_template,
            "floor_gb_per_s": read.nbytes / cost_us(samples["floor"], "cpu").median / 1000,
            "bytes_per_template": index.bytes_per_template,
            "drawing_and_putting_s": filled_s,
        },
    )


def _oracle_row(templates: int, dimension: int, probes: int) -> Row:
    world = hard_world(templates, dimension, seed=dimension)
    index = world.index()
    wrong = differences(world, index, probes, seed=probes)
    return Row(
        case=f"match.oracle.{templates}x{dimension}",
        unit="answers_that_differ",
        ours=float(len(wrong)),
        baseline=None,
        ratio=None,
        goal=NONE_GOAL,
        against="float64 over all templates",
        more={"probes": probes, "kernel": index.kernel},
        void=wrong[:3],
    )


def _search_all(search: Searching, probes: Vector, size: int) -> int:
    for batch in batches(probes, size):
        search(batch)
    return len(probes)


def _drawn(templates: int, dimension: int) -> Iterator[Vector]:
    draw = np.random.default_rng(dimension)
    for start in range(0, templates, _PUT):
        yield of_length_1(draw.standard_normal((min(_PUT, templates - start), dimension), np.float32))


def _filled(index: ExactIndex, parts: Sequence[Vector]) -> ExactIndex:
    for part in parts:
        numbers = range(index.size, index.size + len(part))
        index.put_many([f"t{number}" for number in numbers], [f"p{number}" for number in numbers], part)
    return index


def _probes(matrix: Vector, count: int) -> Vector:
    """Each resembles one template, as the face of an enrolled person does."""
    draw = np.random.default_rng(1)
    near = matrix[draw.integers(len(matrix), size=count)]
    return of_length_1(near + draw.normal(scale=_SPREAD / matrix.shape[1] ** 0.5, size=near.shape))
