"""Runs a function in a process of its own: for loops that own their process (signals, exit codes, threads that stay).

The process is new for each call, so that nothing of one round is left for the next, and ends itself when the function
takes longer than allowed, or when whoever asked is gone. As `facepay agent` does, it holds OpenBLAS to one thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

from pipeline.errors import OutsideError
from pipeline.runtime import logs
from pipeline.settings import Log

A = TypeVar("A")
R = TypeVar("R")

LIMIT_S = 300.0
BLAS = "OPENBLAS_NUM_THREADS"
_LOOK_S = 1.0
_GIVEN_UP = 70


def in_own_process(function: Callable[[A], R], argument: A, *, limit_s: float = LIMIT_S) -> R:
    """`function(argument)`, both picklable, in the main thread of a new process; what it raises is raised here.

    Raises `OutsideError` when the process ends without an answer: the loop inside judged that it cannot go on.
    """
    with (
        _one_blas_thread(),
        ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_watched, initargs=(limit_s,)) as pool,
    ):
        try:
            return pool.submit(function, argument).result()
        except BrokenProcessPool:
            raise OutsideError(
                f"running {function.__name__} in a process of its own: it ended without an answer or took longer than"
                f" {limit_s:.0f} s; its log stands above"
            ) from None


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """For a process started meanwhile: OpenBLAS reads this when it is loaded."""
    before = os.environ.get(BLAS)
    os.environ[BLAS] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[BLAS]


def quiet_logs() -> None:
    """The parts' logs: on standard error, and only what is wrong; standard output belongs to the result."""
    logs.configure(Log(level="warning"), "bench")


def _watched(limit_s: float) -> None:
    quiet_logs()
    threading.Thread(target=_watch, args=(limit_s, os.getppid()), name="limit", daemon=True).start()


def _watch(limit_s: float, parent: int) -> None:
    until = time.monotonic() + limit_s
    while time.monotonic() < until and os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(_GIVEN_UP)
