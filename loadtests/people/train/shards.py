"""Training data drawn once, in chunks that a run which was cut off does not draw again.

Each field is one `.npy` file of all rows, mapped into memory, so that any row can be read at any time and the system
keeps in memory what fits. A chunk's marker is written after its rows. Chunk k is the same whoever draws it: what it
holds depends on k alone.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.train.recipe import say

Rows = Mapping[str, npt.NDArray[Any]]
"""Arrays by field; the first axis is the row."""

WORKERS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What to draw: `chunks` calls of `draw(k)`, k = 0, 1, ..., each for `rows` rows of the `fields` (shape of one row
    and type). `draw` is a function of a module, since other processes call it. Change `version` when what it draws
    changes.
    """

    name: str
    version: int
    chunks: int
    rows: int
    fields: Mapping[str, tuple[tuple[int, ...], str]]
    draw: Callable[[int], Rows]


def drawn(plan: Plan, work: Path, *, workers: int = WORKERS) -> dict[str, npt.NDArray[Any]]:
    """All rows of `plan`, mapped read-only from `work`; draws the chunks that are not there yet in `workers` processes
    (1: in this one, 0: not at all, so that their rows are zero).
    """
    folder = work / f"{plan.name}-{plan.version}-{plan.chunks}x{plan.rows}"
    folder.mkdir(parents=True, exist_ok=True)
    for field, (shape, kind) in plan.fields.items():
        file = folder / f"{field}.npy"
        if not file.exists():
            unfinished = folder / f"{field}.unfinished"
            made = np.lib.format.open_memmap(
                unfinished, mode="w+", dtype=np.dtype(kind), shape=(plan.chunks * plan.rows, *shape)
            )
            made.flush()
            unfinished.rename(file)
    missing = [chunk for chunk in range(plan.chunks) if not _marker(folder, chunk).exists()]
    if missing and workers:
        _draw(plan, folder, missing, workers)
    return {field: np.load(folder / f"{field}.npy", mmap_mode="r") for field in plan.fields}


def _draw(plan: Plan, folder: Path, missing: list[int], workers: int) -> None:
    if workers == 1:
        for chunk in missing:
            _one(plan, folder, chunk)
        return
    started = said = time.monotonic()
    # Spawned, not forked: a fork of a process in which OpenCV's or PyTorch's threads run may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = [pool.submit(_one, plan, folder, chunk) for chunk in missing]
        for done, future in enumerate(as_completed(waiting), start=1):
            future.result()
            now = time.monotonic()
            if now - said > 20.0 or done == len(missing):
                left = (now - started) / done * (len(missing) - done)
                say(f"drawing {plan.name}: {done} of {len(missing)} chunks, {left / 60:.1f} min left")
                said = now


def _one(plan: Plan, folder: Path, chunk: int) -> None:
    # Two processes fill two cores; threads of OpenCV's own would only push each other aside.
    cv2.setNumThreads(1)
    rows = plan.draw(chunk)
    place = slice(chunk * plan.rows, (chunk + 1) * plan.rows)
    for field in plan.fields:
        file = np.load(folder / f"{field}.npy", mmap_mode="r+")
        file[place] = rows[field]
        file.flush()
    _marker(folder, chunk).touch()


def _marker(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:05d}.done"
