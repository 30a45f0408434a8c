"""How many items a run should hold: found by a short measurement on the machine itself.

A GPU wants many. On a CPU it depends on the model and the caches: the detector is cheapest one by one, others gain a
tenth from two or four. So each session is timed at 1, 2, 4, ... items until more no longer pay; with real models that
takes about half a second in all. A size must be clearly cheaper per item than the best so far, because a larger one
makes the first of its items wait for the last.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from pipeline.vision.sessions import Session

GAIN = 0.96
"""A larger size is taken when an item costs less than this share of what it cost before."""
RUNS = 3
"""Timed runs of each size, after one that is not; the quickest counts."""
_HEIGHT, _WIDTH = 480, 640
"""A camera's picture, for models that take any size."""


def measure_batches(sessions: Sequence[Session]) -> dict[str, int]:
    """Sets `best_batch` of each session; by name what was found."""
    for session in sessions:
        if session.spec.input.shape[0] == -1:
            session.best_batch = _best(session)
    return {session.spec.name: session.best_batch for session in sessions}


def _best(session: Session) -> int:
    best, best_s, size = 1, _item_s(session, 1), 2
    while size <= session.max_batch:
        item_s = _item_s(session, size)
        if item_s >= GAIN * best_s:
            break
        best, best_s, size = size, item_s, size * 2
    return best


def _item_s(session: Session, items: int) -> float:
    """Seconds per item of a run of `items`."""
    _, channels, height, width = session.spec.input.shape
    height, width = (_HEIGHT if height == -1 else height), (_WIDTH if width == -1 else width)
    shape = (items, height, width, channels) if session.pixels else (items, channels, height, width)
    bound = session.bound(shape)
    bound.input[...] = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    session.run_bound(bound)
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        session.run_bound(bound)
        seconds.append(time.perf_counter() - began)
    return min(seconds) / items
