"""Exact 1:N search against the same arithmetic in plain numpy, on one core.

What the index is, honestly: one float32 matrix, one OpenBLAS matrix product per batch of probes, then for each probe
two passes over its similarities (the best row, and the best row of any other payer). It is as exact as the baseline and
built on the same product. The baseline is that product and `argpartition` for the best two rows, which need not be of
two payers and carry no ids: it does less than the index. The product alone is reported as well: it is the floor of any
index of this kind.

Run it by `in_own_process`, which holds BLAS to one thread before numpy is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.bench.rounds import Run, interleave, spread, timed
from pipeline.bench.rows import Goal, Row, speed_row
from pipeline.gallery.index import ExactIndex
from pipeline.ports import Match, Vector

TEMPLATES = 100_000
DIMENSIONS = (128, 512)
BATCHES = (1, 64)
PROBES = 64
"""Probes per sample, whatever the size of a batch."""
GOAL = Goal(">=", 6.0)


@dataclass(frozen=True, slots=True)
class MatchPlan:
    """What to measure."""

    rounds: int
    templates: int = TEMPLATES
    dimensions: Sequence[int] = DIMENSIONS
    batches: Sequence[int] = BATCHES
    probes: int = PROBES


def run(plan: MatchPlan) -> list[Row]:
    """A row per dimension and batch."""
    return [row for dimension in plan.dimensions for row in _rows(plan, dimension)]


def _rows(plan: MatchPlan, dimension: int) -> list[Row]:
    draw = np.random.default_rng(dimension)
    matrix = _of_length_1(draw.normal(size=(plan.templates, dimension)).astype(np.float32))
    # Probes resemble one template each, as the face of an enrolled person does.
    near = matrix[draw.integers(plan.templates, size=plan.probes)]
    probes = _of_length_1(near + draw.normal(scale=0.5 / dimension**0.5, size=near.shape).astype(np.float32))
    index = ExactIndex(dimension)
    for number, vector in enumerate(matrix):
        index.put(f"t{number}", f"p{number}", vector)
    wrong = _differences(index.search(probes), probes, matrix)
    rows = []
    for batch in plan.batches:
        parts = [probes[start : start + batch] for start in range(0, plan.probes, batch)]
        samples = interleave(_alternatives(index, matrix, parts), plan.rounds)
        product_us = spread([sample.us_per_item("cpu") for sample in samples["product"]]).median
        rows.append(
            speed_row(
                f"match.{plan.templates}x{dimension}.batch{batch}",
                samples["ours"],
                samples["numpy"],
                item="query",
                clock="cpu",
                goal=GOAL,
                against="numpy matrix product and argpartition",
                more={"templates": plan.templates, "product_alone_cpu_us_per_query": product_us},
                void=wrong,
            )
        )
    return rows


def _alternatives(index: ExactIndex, matrix: Vector, parts: Sequence[Vector]) -> dict[str, Run]:
    count = sum(len(part) for part in parts)

    def ours() -> int:
        for part in parts:
            index.search(part)
        return count

    def plain() -> int:
        for part in parts:
            np.argpartition(part @ matrix.T, -2, axis=1)[:, -2:]
        return count

    def product() -> int:
        for part in parts:
            part @ matrix.T
        return count

    return {"ours": lambda: timed(ours), "numpy": lambda: timed(plain), "product": lambda: timed(product)}


def _differences(found: Sequence[Match | None], probes: Vector, matrix: Vector) -> list[str]:
    """Where the index differs from a full comparison in float64."""
    wrong = []
    for number, (match, probe) in enumerate(zip(found, probes, strict=True)):
        exact = matrix.astype(np.float64) @ probe.astype(np.float64)
        best, second = (int(row) for row in np.argsort(exact)[-2:][::-1])
        if match is None or match.template_id != f"t{best}" or abs(match.runner_up - exact[second]) > 1e-6:
            wrong.append(f"probe {number}: the index does not give the best two payers")
    return wrong


def _of_length_1(vectors: Vector) -> Vector:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
