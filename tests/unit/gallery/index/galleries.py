"""Galleries for the index's tests, and the oracle: float64, template by template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import UsageError
from pipeline.gallery.index import ExactIndex
from pipeline.gallery.index.compiled import CompiledKernel
from pipeline.gallery.index.gpu import GpuKernel
from pipeline.gallery.index.int8 import NumKongKernel
from pipeline.gallery.index.kernels import Float32Kernel, Kernel
from pipeline.ports import Match, Vector

Gallery = Mapping[str, tuple[str, Vector]]


def unit(rng: np.random.Generator, *shape: int) -> Vector:
    """Random vectors of length 1."""
    return of_length_1(rng.normal(size=shape))


def of_length_1(raw: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Vector:
    """Rows of length 1."""
    vectors: Vector = (raw / np.linalg.norm(raw, axis=-1, keepdims=True)).astype(np.float32)
    return vectors


def can_compile() -> bool:
    """Whether this processor has what compiled scans need."""
    try:
        CompiledKernel(128)
    except UsageError:
        return False
    return True


KERNELS = ["float32", "numkong", "gpu", *(["compiled"] if can_compile() else [])]


def kernel(name: str, dimension: int) -> Kernel:
    """One of `KERNELS`."""
    if name == "gpu":
        return GpuKernel("cpu")
    if name == "float32":
        return Float32Kernel()
    return CompiledKernel(dimension) if name == "compiled" else NumKongKernel(dimension)


def oracle(gallery: Gallery, probes: Vector) -> list[Match | None]:
    """The best template, of equal ones the smallest id, and the best of any other payer, in float64."""
    if not gallery:
        return [None] * len(probes)
    names = sorted(gallery)
    payers = np.array([gallery[name][0] for name in names])
    vectors = np.stack([gallery[name][1] for name in names]).astype(np.float64)
    found: list[Match | None] = []
    for probe in probes.astype(np.float64):
        similar = np.vecdot(vectors, probe)
        best = int(similar.argmax())  # the first of equal ones
        others = similar[payers != payers[best]]
        runner_up = others.max() if len(others) else -1.0
        found.append(Match(str(payers[best]), names[best], _held(similar[best]), _held(runner_up)))
    return found


def _held(similarity: float) -> float:
    return min(1.0, max(-1.0, float(similarity)))


def filled(index: ExactIndex, gallery: Gallery) -> ExactIndex:
    """The index, with the gallery in it."""
    if gallery:
        payers: Sequence[str] = [payer for payer, _ in gallery.values()]
        index.put_many(list(gallery), payers, np.stack([vector for _, vector in gallery.values()]))
    return index
