"""A child process that ends when its parent does, however that happens.

Theory of operation. The child starts as a one-line shell in a session of its own (so Ctrl-C on the terminal does not
reach it and the parent decides the order of stopping). The shell waits for a line on its standard input before it turns
into the program by `exec`, which keeps its process id. In between the parent registers that id with the guard. Whatever
moment the parent dies at, the child has either not begun, and ends because its input ended, or is watched. Output of
the child goes to `log_path`, appended; its standard input is empty.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.errors import OutsideError, UsageError
from pipeline.local import guard

_WAIT_THEN_BECOME = 'IFS= read -r go && exec "$@" </dev/null'


class Supervised:
    """One child process, which may be started again after it has ended. `env` None means this process's environment."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        log_path: Path,
        cwd: Path | None = None,
        *,
        grace_s: float = 10.0,
    ) -> None:
        """`grace_s`: seconds between SIGTERM and SIGKILL, in `stop` and when this process dies."""
        self.name = name
        self.argv = list(argv)
        self.env = env
        self.log_path = log_path
        self.cwd = cwd
        self.grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0
        self._owner = 0
        self._reaped = True
        self._lock = threading.RLock()

    def start(self) -> None:
        """Starts the child; returns as soon as it runs. Raises UsageError if it runs already, OutsideError if it
        cannot.
        """
        with self._lock:
            if self.alive:
                raise UsageError(f"{self.name} runs already as process {self.pid}; stop it first.")
            path = self.env.get("PATH") if self.env is not None else None
            if shutil.which(self.argv[0], path=path) is None:
                raise OutsideError(f"{self.name} cannot start: there is no program {self.argv[0]}.")
            held, let_go = os.pipe()
            try:
                process = self._held_process(held)
                try:
                    guard.watch(process.pid, self.grace_s)
                except BaseException:
                    process.kill()
                    process.wait()
                    raise
                self._process, self._owner, self._reaped = process, os.getpid(), False
                with contextlib.suppress(BrokenPipeError):
                    os.write(let_go, b"\n")
            finally:
                os.close(held)
                os.close(let_go)

    def _held_process(self, held: int) -> subprocess.Popen[bytes]:
        """The shell that waits for a line from the pipe `held`. Raises OutsideError."""
        try:
            with self.log_path.open("ab") as log:
                self._log_offset = log.tell()
                return subprocess.Popen(
                    ["/bin/sh", "-c", _WAIT_THEN_BECOME, "sh", *self.argv],
                    stdin=held,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.env,
                    cwd=self.cwd,
                    start_new_session=True,
                )
        except OSError as error:
            raise OutsideError(f"{self.name} cannot start: {error.strerror} ({error.filename}).") from error

    @property
    def pid(self) -> int:
        """The process id of the program itself, of its last run once ended. UsageError before the first start."""
        if self._process is None:
            raise UsageError(f"{self.name} has not been started.")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child runs (a paused one does). A forked copy of this process has no child: it is never true
        there.
        """
        return self._process is not None and self._owner == os.getpid() and self.returncode is None

    @property
    def returncode(self) -> int | None:
        """Exit code of the last run, negative signal number if a signal ended it, None while it runs or before the
        first start.
        """
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                return None
            if self._process.poll() is not None and not self._reaped:
                self._reaped = True
                # End what it has left in its group; then the number may belong to another process.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                guard.forget(self._process.pid)
            return self._process.returncode

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Waits until the child has ended and returns its code, or None when `timeout_s` passed first."""
        if self._process is not None and self._owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        return self.returncode

    def stop(self, grace_s: float | None = None) -> int | None:
        """SIGTERM, then SIGKILL to the whole group after `grace_s`. Does nothing when it has ended. Returns the exit
        code.
        """
        if self.alive:
            self.send_signal(signal.SIGTERM)
            self.send_signal(signal.SIGCONT)
            if self.wait(self.grace_s if grace_s is None else grace_s) is None:
                self.kill()
        return self.returncode

    def kill(self) -> None:
        """SIGKILL to the child and its group; returns when the child has ended. Does nothing when it has."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    def restart(self) -> None:
        """`stop` if needed, then `start`."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: the child stays alive but does nothing until `resume`."""
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.send_signal(signal.SIGCONT)

    def send_signal(self, number: int) -> None:
        """Sends a signal to the child's group; does nothing when it has ended."""
        with self._lock:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, number)

    def log_lines(self) -> list[str]:
        """What the last run has written (at most its last 64 kB), without empty lines."""
        with contextlib.suppress(OSError), self.log_path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_offset, end - 64_000))
            return [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return []

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Calls `ready` again and again until it says yes; False when the child ended or `timeout_s` passed first."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.alive:
            if ready():
                return True
            time.sleep(0.02)
        return False
