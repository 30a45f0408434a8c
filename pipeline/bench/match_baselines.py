"""What the exact index is measured against: the exact searches that people reach for, each as quick as it can be made.

None of them does what the index does: they find the best two rows, which may be of one payer, and carry no ids. Each
runs on one core. FAISS chooses between its own loops and BLAS by a threshold on the number of probes; both are tried,
with several sizes of block, and the quickest is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import product

import numpy as np

from pipeline.ports import Vector

TOP = 2
_NEVER_BLAS = 1_000_000
_BLOCKS = (1024, 4096, 16_384)
_TUNING_ROUNDS = 3

Searching = Callable[[Vector], object]
"""Finds the best two rows for each of a batch of probes."""


def baselines(matrix: Vector, batch: Vector) -> tuple[dict[str, Searching], dict[str, str]]:
    """What can be had on this machine, tuned on `batch`, and why the others cannot."""
    found: dict[str, Searching] = {"numpy": lambda probes: np.argpartition(probes @ matrix.T, -TOP, axis=1)[:, -TOP:]}
    missing: dict[str, str] = {}
    for name, build in {"faiss": _faiss, "usearch": _usearch}.items():
        try:
            found[name] = build(matrix, batch)
        except ImportError as error:
            missing[name] = f"{error}: it is in the dependency group bench"
    return found, missing


def _faiss(matrix: Vector, batch: Vector) -> Searching:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(matrix.shape[1])
    index.add(matrix)

    def search(setting: tuple[int, int], probes: Vector) -> object:
        faiss.cvar.distance_compute_blas_threshold, faiss.cvar.distance_compute_blas_database_bs = setting
        return index.search(probes, TOP)

    settings = [(_NEVER_BLAS, _BLOCKS[0]), *product((1,), _BLOCKS)]
    best = min(settings, key=lambda setting: _cost_s(lambda: search(setting, batch)))
    return lambda probes: search(best, probes)


def _usearch(matrix: Vector, batch: Vector) -> Searching:
    from usearch.compiled import MetricKind
    from usearch.index import search

    del batch  # nothing to tune
    return lambda probes: search(matrix, probes, TOP, MetricKind.IP, exact=True, threads=1)


def _cost_s(run: Callable[[], object]) -> float:
    """The least CPU seconds of a few runs, after one."""
    run()
    costs = []
    for _ in range(_TUNING_ROUNDS):
        began = time.process_time()
        run()
        costs.append(time.process_time() - began)
    return min(costs)


def quickest(costs: Mapping[str, float]) -> str:
    """The name with the least cost."""
    return min(costs, key=costs.__getitem__)


def batches(probes: Vector, size: int) -> Iterator[Vector]:
    """Probes in batches."""
    for start in range(0, len(probes), size):
        yield probes[start : start + size]
