"""Enrolment that goes on while the first payers pay: a PIN takes a tenth of a second to stretch, on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from types import TracebackType

from loadtests.people.cast import Payer
from pipeline.errors import FacepayError


class Enrolling:
    """Takes payers from a generator in a thread of its own; a context manager that waits for its end."""

    def __init__(self, payers: Generator[Payer]) -> None:
        self._payers = payers
        self._lock = threading.Condition()
        self._on_joined: Callable[[Payer], None] | None = None
        self._over = False
        self._stopping = False
        self._error: FacepayError | None = None
        self._thread = threading.Thread(target=self._run, name="enrolling", daemon=True)
        self.enrolled: list[Payer] = []

    def __enter__(self) -> Enrolling:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()

    def first(self, count: int, timeout_s: float) -> list[Payer]:
        """The first `count` payers, or all when there are fewer; raises what enrolment raised."""
        with self._lock:
            self._lock.wait_for(lambda: self._over or len(self.enrolled) >= count, timeout_s)
            self.check()
            return list(self.enrolled)

    def then(self, on_joined: Callable[[Payer], None]) -> list[Payer]:
        """From now on `on_joined` hears of each new payer; returns those it has missed."""
        with self._lock:
            self._on_joined = on_joined
            return list(self.enrolled)

    def check(self) -> None:
        """Raises what enrolment raised."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for payer in self._payers:
                with self._lock:
                    self.enrolled.append(payer)
                    if self._on_joined is not None:
                        self._on_joined(payer)
                    self._lock.notify_all()
                if self._stopping:
                    return
        except FacepayError as error:
            self._error = error
        finally:
            self._payers.close()
            with self._lock:
                self._over = True
                self._lock.notify_all()
