"""What a local Kafka and a local Redis have in common: start until healthy, stop, and the ways tests disturb them.

Theory of operation. The first `start` prepares the folder, chooses ports and writes the configuration; later ones keep
ports and data, so clients find the same server again. `start` returns when the server itself, not merely something on
its port, has answered. When the port was taken between choosing and binding, a first start chooses again and a restart
tries again for a while. On any failure, Ctrl-C included, nothing half started stays behind.
"""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from pipeline.errors import OutsideError, UsageError
from pipeline.local.loopback import free_ports
from pipeline.local.process import Supervised

_TRIES = 6
_BETWEEN_TRIES_S = 0.5
_TAKEN = re.compile(r"address already in use|BindException", re.IGNORECASE)
_CAUSE = re.compile(r"(?:Caused by: )?(?:[a-z]\w*\.)+\w*(?:Exception|Error): ")
_COMPLAINT = re.compile(r"exception|error|fatal|can't|cannot|could not|bad |failed|denied", re.IGNORECASE)
_SENTENCE_CHARACTERS = 300


class LocalServer(ABC):
    """One server process under `folder` (made if missing, mode 0700)."""

    name: ClassVar[str]
    error: ClassVar[type[OutsideError]]
    port_count: ClassVar[int] = 1
    start_timeout_s: ClassVar[float] = 60.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.log_path = self.folder / f"{self.name.lower()}.log"
        self.ports: list[int] = []
        self._child: Supervised | None = None
        self._settled = False
        self._lock = threading.RLock()

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients reach it. Raises UsageError before the first start."""

    @abstractmethod
    def _prepare(self) -> Supervised:
        """Makes the folder ready, once, and says what to run."""

    @abstractmethod
    def _configure(self) -> None:
        """Writes the configuration for `self.ports`."""

    @abstractmethod
    def _healthy(self) -> bool:
        """Whether this very server answers; does not raise when it does not."""

    @property
    def child(self) -> Supervised:
        """The process. Raises UsageError before the first start."""
        if self._child is None:
            raise UsageError(f"The local {self.name} has not been started.")
        return self._child

    @property
    def pid(self) -> int:
        """The server's own process id."""
        return self.child.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs; a paused one does."""
        return self._child is not None and self._child.alive

    def start(self) -> None:
        """Returns when the server answers; does nothing when it runs.

        Raises KafkaUnavailable or RedisUnavailable with the telling line of the log; what preparing raises (UsageError,
        DownloadError, OutsideError).
        """
        with self._lock:
            if self.alive:
                return
            if self._child is None:
                self._child = self._prepare()
            try:
                self._start(self._child)
            except BaseException:
                self._child.kill()
                raise

    def _start(self, child: Supervised) -> None:
        tries = _TRIES
        while not self._starts(child):
            code, lines = child.returncode, child.log_lines()
            child.kill()
            tries -= 1
            if code is None or not tries or not any(_TAKEN.search(line) for line in lines):
                how = (
                    f"was not ready within {self.start_timeout_s:.0f} s" if code is None else f"ended with code {code}"
                )
                raise self.error(f"The local {self.name} {how}: {telling_line(lines)} (its log is {self.log_path}).")
            if self._settled:
                time.sleep(_BETWEEN_TRIES_S)

    def _starts(self, child: Supervised) -> bool:
        """One try, on new ports until it has once been healthy."""
        if not self._settled:
            self.ports = free_ports(self.port_count)
            self._configure()
        child.start()
        if child.wait_until(self._healthy, self.start_timeout_s):
            self._settled = True
            return True
        return False

    def stop(self) -> None:
        """Clean stop (SIGTERM, SIGKILL after a grace); does nothing when it does not run."""
        with self._lock:
            if self._child is not None:
                self._child.stop()

    def kill(self) -> None:
        """SIGKILL; returns when the process has ended."""
        if self._child is not None:
            self._child.kill()

    def restart(self) -> None:
        """Stops it if it runs and starts it with the same port and data."""
        with self._lock:
            self.stop()
            self.start()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self.child.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.child.resume()


def telling_line(lines: list[str]) -> str:
    """The line of a log that says best why its program failed: the last cause that a Java trace gives, else the first
    complaint, else the last line.
    """
    texts = [line.strip() for line in lines]
    causes = [text for text in texts if _CAUSE.match(text)]
    complaints = [text for text in texts if _COMPLAINT.search(text)]
    chosen = causes[-1] if causes else (complaints or texts[-1:] or ["it wrote nothing"])[0]
    return chosen[:_SENTENCE_CHARACTERS].rstrip(".")
