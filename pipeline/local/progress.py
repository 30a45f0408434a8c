"""Progress of downloads on standard error: a bar on a terminal, a line per fifth otherwise.

Standard output stays free for a command's result. Lines go to the caller's `report` when it gave one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

Report = Callable[[str], None]


def to_stderr(line: str) -> None:
    """The report used when the caller gave none."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class DownloadProgress:
    """Counts bytes and files of one set of downloads; safe to call from several threads."""

    def __init__(self, what: str, files: int, size: int, report: Report | None) -> None:
        self._what, self._files, self._size = what, files, size
        self._done_files = self._done_bytes = self._fifths = 0
        self._say = report or to_stderr
        self._lock = threading.Lock()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))

    def __enter__(self) -> DownloadProgress:
        if self._bar is not None:
            self._task = self._bar.add_task(f"{self._what} ({self._files} files)", total=self._size)
            self._bar.start()
        else:
            self._say(f"Downloading {self._what}: {self._files} files, {self._size / 1e6:.1f} MB.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int) -> None:
        """`count` more bytes have arrived (negative: an attempt is begun again)."""
        with self._lock:
            self._done_bytes += count
            if self._bar is not None:
                self._bar.advance(self._task, count)
            elif self._size and self._done_bytes * 5 // self._size > self._fifths:
                self._fifths = self._done_bytes * 5 // self._size
                self._say(
                    f"{self._what}: {self._fifths * 20} % ({self._done_bytes / 1e6:.1f} MB, {self._done_files} files)."
                )

    def finished(self) -> None:
        """One more file is whole and verified."""
        with self._lock:
            self._done_files += 1
