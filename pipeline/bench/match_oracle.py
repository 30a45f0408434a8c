"""The index against float64, probe by probe: how many answers differ.

The gallery is made to be hard: payers with several templates, near-duplicates closer than a code can tell, equal
vectors of different payers. Probes are near templates, equal to them, or like nobody, in batches of every size up to
65, some thousands of them alone. A matrix product in float64 finds who may be best (everything within `NEAR` of the
greatest); those are computed row by row, which decides ties as the index must.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.gallery.index import ExactIndex
from pipeline.ports import Match, Vector

NEAR = 1e-12
"""More than the rounding of a product of unit vectors in float64, whatever its order of summation."""
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class World:
    """A gallery: vectors (n, d), a template id and a payer number for each."""

    vectors: Vector
    names: list[str]
    payers: np.ndarray[tuple[int], np.dtype[np.int64]]

    def index(self, **form: str) -> ExactIndex:
        """An index that holds it."""
        index = ExactIndex(self.vectors.shape[1], **form)  # type: ignore[arg-type]
        index.put_many(self.names, [f"p{payer}" for payer in self.payers], self.vectors)
        return index


def hard_world(templates: int, dimension: int, seed: int) -> World:
    """A tenth of the templates lie within 1e-3 of others, a twentieth equal one of another payer."""
    draw = np.random.default_rng(seed)
    vectors = of_length_1(draw.normal(size=(templates, dimension)))
    tenth = max(1, templates // 10)
    near = draw.integers(templates, size=tenth)
    vectors[:tenth] = of_length_1(vectors[near] + draw.normal(scale=1e-3 / dimension**0.5, size=(tenth, dimension)))
    vectors[-tenth // 2 :] = vectors[draw.integers(templates - tenth, size=len(vectors[-tenth // 2 :]))]
    payers = draw.integers(max(1, templates * 2 // 3), size=templates)
    return World(vectors, [f"t{number:08d}" for number in draw.permutation(templates)], payers)


def asked_batches(world: World, probes: int, seed: int) -> Iterator[Vector]:
    """Batches of 1 to 65 probes, `probes` in all."""
    draw = np.random.default_rng(seed)
    templates, dimension = world.vectors.shape
    left = probes
    while left:
        size = min(left, int(draw.choice([1, 1, 2, 3, 8, 17, 33, 64, 65])))
        scale = draw.choice([0.0, 0.3, 1.0, 30.0], size=(size, 1)) / dimension**0.5
        near = world.vectors[draw.integers(templates, size=size)]
        yield of_length_1(near + scale * draw.normal(size=near.shape))
        left -= size


def differences(world: World, index: ExactIndex, probes: int, seed: int) -> list[str]:
    """One sentence for each answer that is not the oracle's."""
    wrong: list[str] = []
    exact = world.vectors.astype(np.float64)
    asked: list[Vector] = []
    found: list[Match | None] = []
    for batch in asked_batches(world, probes, seed):
        asked.append(batch)
        found += index.search(batch)
        if sum(map(len, asked)) >= _BLOCK:
            wrong += _judged(world, exact, np.concatenate(asked), found)
            asked, found = [], []
    return wrong + (_judged(world, exact, np.concatenate(asked), found) if asked else [])


def _judged(
    world: World, exact: np.ndarray[tuple[int, int], np.dtype[np.float64]], asked: Vector, found: list[Match | None]
) -> list[str]:
    wrong = []
    similar = asked.astype(np.float64) @ exact.T
    greatest = similar.max(axis=1)
    for number, (probe, match) in enumerate(zip(asked.astype(np.float64), found, strict=True)):
        row = similar[number]
        close = np.flatnonzero(row >= greatest[number] - NEAR)
        values = np.vecdot(exact[close], probe)
        best = min(close[values == values.max()], key=lambda place: world.names[place])
        row[world.payers == world.payers[best]] = -np.inf
        other = np.flatnonzero(row >= row.max() - NEAR)
        runner_up = float(np.vecdot(exact[other], probe).max())
        expected = (world.names[best], f"p{world.payers[best]}", _held(float(values.max())), _held(runner_up))
        if match is None or (match.template_id, match.payer_id, match.similarity, match.runner_up) != expected:
            wrong.append(f"expected {expected}, the index says {match}")
    return wrong


def _held(similarity: float) -> float:
    return min(1.0, max(-1.0, similarity))


def of_length_1(vectors: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Vector:
    """Rows of length 1, float32."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
