"""The agents and the gateway as processes: started, watched, restarted when they end, and known to be ready.

One thread looks at all of them several times a second. A process that ends by itself is started again at once, as a
supervisor of a deployment would; one that ends again and again before it was ever ready stops the demo with the end of
its log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import httpx

from pipeline.errors import OutsideError
from pipeline.local import Supervised
from pipeline.ports import Clock

_LOOK_S = 0.1
_TRIES = 5


@dataclass(slots=True)
class Outage:
    """A process was not there: when it ended, why, and when it was ready again (None: not yet)."""

    name: str
    down_at_us: int
    why: str
    ready_at_us: int | None = None


@dataclass(slots=True)
class Watched:
    """A process, where it says that it is ready, and what is known of it. `last_words` is its log's last line."""

    process: Supervised
    ready_url: str
    ready: bool = False
    starts: int = 0
    failed_starts: int = 0
    last_words: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """The process's name."""
        return self.process.name


class Processes:
    """All of them; a context manager that stops them in the reverse order of their start."""

    def __init__(
        self, watched: Sequence[Watched], clock: Clock, *, on_event: Callable[[str], None] = lambda _: None
    ) -> None:
        self._watched: Mapping[str, Watched] = {w.name: w for w in watched}
        self._clock = clock
        self._on_event = on_event
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._http = httpx.Client(timeout=1.0)
        self.outages: list[Outage] = []
        self.failure: str | None = None

    def __enter__(self) -> Processes:
        try:
            for each in self._watched.values():
                each.process.start()
                each.starts = 1
        except BaseException:
            self._stop_all()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._stop_all()
        self._http.close()

    @property
    def states(self) -> Mapping[str, str]:
        """Each process's state in a word."""
        return {
            name: "ready" if w.ready else "starting" if w.process.alive else "down" for name, w in self._watched.items()
        }

    @property
    def starts(self) -> Mapping[str, int]:
        """How often each process was started."""
        return {name: each.starts for name, each in self._watched.items()}

    @property
    def all_ready(self) -> bool:
        """Whether everything is ready."""
        return all(each.ready for each in self._watched.values())

    def wait_ready(self, timeout_s: float) -> None:
        """Returns when all are ready; raises `OutsideError` naming those that are not and their last words."""
        deadline = time.monotonic() + timeout_s
        while not self.all_ready:
            self.check()
            if time.monotonic() > deadline:
                missing = {name: w.last_words for name, w in self._watched.items() if not w.ready}
                said = "; ".join(f"{name} ({words[:300] or 'silent'})" for name, words in missing.items())
                raise OutsideError(f"starting the demo: after {timeout_s:.0f} s these are not ready: {said}")
            time.sleep(_LOOK_S / 2)

    def check(self) -> None:
        """Raises `OutsideError` when a process cannot be kept alive."""
        if self.failure is not None:
            raise OutsideError(self.failure)

    def kill(self, name: str) -> None:
        """SIGKILL to one process; it is restarted as if it had died by itself."""
        each = self._watched[name]
        self._down(each, "killed by the demo (SIGKILL)")
        each.process.kill()

    def outage_of(self, name: str) -> Outage | None:
        """The newest outage of a process."""
        return next((outage for outage in reversed(self.outages) if outage.name == name), None)

    def _down(self, each: Watched, why: str) -> None:
        each.ready = False
        self.outages.append(Outage(each.name, self._clock(), why))

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            for each in self._watched.values():
                try:
                    self._look(each)
                except OutsideError as error:
                    self.failure = str(error)

    def _look(self, each: Watched) -> None:
        if not each.process.alive:
            self._restart(each)
        elif not each.ready and self._says_ready(each):
            each.ready, each.failed_starts = True, 0
            outage = self.outage_of(each.name)
            if outage is not None and outage.ready_at_us is None:
                outage.ready_at_us = self._clock()
                down_s = (outage.ready_at_us - outage.down_at_us) / 1e6
                self._on_event(f"{each.name} is back: ready {down_s:.1f} s after it went down")

    def _restart(self, each: Watched) -> None:
        code = each.process.returncode
        lines = each.process.log_lines()
        each.last_words = lines[-1] if lines else ""
        known = self.outage_of(each.name)
        if each.ready or each.starts == 1:
            if known is None or known.ready_at_us is not None:
                self._down(each, f"ended with code {code}")
                self._on_event(f"{each.name} ended with code {code} and is started again")
        else:
            each.failed_starts += 1
        each.ready = False
        if each.failed_starts >= _TRIES:
            raise OutsideError(
                f"running the demo: {each.name} ended {_TRIES} times before it was ready, last with code {code}: "
                f"{each.last_words[:400]}; its log is {each.process.log_path}"
            )
        each.process.start()
        each.starts += 1

    def _says_ready(self, each: Watched) -> bool:
        try:
            answer = self._http.get(each.ready_url)
        except httpx.TransportError:
            return False
        if answer.status_code != 200:
            each.last_words = answer.text
        return answer.status_code == 200

    def _stop_all(self) -> None:
        for each in reversed(list(self._watched.values())):
            each.process.send_signal(15)
        for each in reversed(list(self._watched.values())):
            each.process.stop()
