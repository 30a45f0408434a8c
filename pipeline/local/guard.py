"""The parent's side of the guard: one guard process per parent, alive while it watches at least one child.

`watch` returns only when the guard has answered, so a child that is let go after it can never be orphaned, also not by
kill -9 of the parent in between. The guard's address is kept per process id: a forked copy of the parent starts its
own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from pipeline.errors import OutsideError

_PROGRAM = Path(__file__).with_name("guard_program.py")
_lock = threading.Lock()


class _Guard:
    """The running guard and the children that it watches."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.watched: set[int] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def tell(self, line: str) -> None:
        """Sends one line and waits for the answer. Raises OutsideError when the guard is gone."""
        answer = b""
        if self.process.stdin is not None and self.process.stdout is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.write(line.encode() + b"\n")
                self.process.stdin.flush()
                answer = self.process.stdout.readline()
        if answer != b"ok\n":
            raise OutsideError("The guard that ends child processes was killed; stop this program and start it again.")

    def close(self) -> None:
        """Lets the guard end, watching nobody."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self.process.wait()


class _Guards:
    """This process's guard, if it has one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: _Guard | None = None

    def watch(self, pid: int, grace_s: float) -> None:
        with self._lock:
            if self._current is None or self._current.owner != os.getpid():
                self._current = _Guard()
            self._current.tell(f"+{pid} {int(grace_s * 1000)}")
            self._current.watched.add(pid)

    def forget(self, pid: int) -> None:
        with self._lock:
            guard = self._current
            if guard is None or guard.owner != os.getpid() or pid not in guard.watched:
                return
            guard.watched.discard(pid)
            with contextlib.suppress(OutsideError):
                guard.tell(f"-{pid}")
            if not guard.watched:
                guard.close()
                self._current = None


_guards = _Guards()


def watch(pid: int, grace_s: float) -> None:
    """From now on the group of `pid` ends with this process: SIGTERM, SIGKILL after `grace_s`. Raises OutsideError."""
    _guards.watch(pid, grace_s)


def forget(pid: int) -> None:
    """The child has been reaped: its number may be used again by another process and must not be signalled."""
    _guards.forget(pid)
