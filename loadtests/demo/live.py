"""What the person sees while the demo runs: a table that changes in place on a terminal, a line every few seconds else.

Announcements (an agent is killed, an agent is back) stay above the table.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtests.demo.statistics import percentile
from loadtests.demo.traffic import Journal
from loadtests.demo.truth import latency_ms
from loadtests.people.cast import Payer
from loadtests.terminal import VisitRecord

LINE_EVERY_S = 5.0
RECENT = 60
STYLES: Mapping[str, str] = {
    "settled": "green",
    "declined": "magenta",
    "expired": "yellow",
    "cancelled": "yellow",
    "failed": "red",
    "PIN": "cyan",
}


class Screen:
    """Shows a journal; a context manager. `states` says how each process is."""

    def __init__(self, console: Console, journal: Journal, states: Callable[[], Mapping[str, str]]) -> None:
        self._console = console
        self._journal = journal
        self._states = states
        self._started = time.monotonic()
        self._live: Live | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Screen:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=5, transient=True)
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._lines, name="screen", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._live is not None:
            self._live.stop()
        if self._thread is not None:
            self._thread.join()

    def announce(self, text: str, style: str = "bold") -> None:
        """Something that must not scroll by unseen."""
        at = time.monotonic() - self._started
        self._console.print(Text(f"{at:6.1f} s  {text}", style=style), soft_wrap=True)

    def _lines(self) -> None:
        while not self._stopping.wait(LINE_EVERY_S):
            self._console.print(Text(f"{time.monotonic() - self._started:6.1f} s  {self.summary()}"), soft_wrap=True)

    def summary(self) -> str:
        """Counts and latency in a line."""
        visits = list(self._journal.visits)
        counts = Counter(visit.state for visit in visits if visit.outcome is not None)
        opened = sum(visit.opened is not None for visit in visits)
        frames = sum(visit.film.frames for visit in visits)
        parts = [f"{opened} intents", *(f"{counts[name]} {name}" for name in ("settled", "declined", "cancelled"))]
        if counts["expired"]:
            parts.append(f"{counts['expired']} expired")
        parts.append(f"{frames} frames")
        recent = [ms for visit in visits[-RECENT:] if (ms := latency_ms(visit)) is not None]
        if recent:
            parts.append(f"face to settlement p50 {percentile(recent, 0.5):.0f} ms")
        down = [f"{name} {state}" for name, state in self._states().items() if state != "ready"]
        return ", ".join(parts + down)

    def _table(self) -> RenderableType:
        table = Table(expand=True, box=None, pad_edge=False)
        for name, width in (("terminal", 18), ("at the counter", 16), ("amount", 9), ("state", 14)):
            table.add_column(name, min_width=width, no_wrap=True)
        table.add_column("what was said", ratio=1, no_wrap=True)
        table.add_column("ms", justify="right", min_width=6)
        for terminal_id, visit in sorted(self._journal.current.items()):
            table.add_row(*_row(terminal_id, visit))
        agents = Text("  ").join(
            Text(f"{name} {state}", style="green" if state == "ready" else "bold red")
            for name, state in self._states().items()
        )
        elapsed = Text(f"{time.monotonic() - self._started:6.1f} s  {self.summary()}", style="bold")
        return Group(elapsed, agents, table)


def _row(terminal_id: str, visit: VisitRecord) -> list[RenderableType]:
    who = visit.visit.who
    ms = latency_ms(visit)
    said = [*visit.hints, *([visit.decision] if visit.decision else []), *visit.reasons]
    return [
        terminal_id,
        Text(f"payer {who.label}") if isinstance(who, Payer) else Text(f"stranger {who.label}", style="dim"),
        f"{visit.visit.amount_minor / 100:.2f}",
        Text(visit.state, style=STYLES.get(visit.state, "")),
        Text(", ".join(said).replace("_", " ")),
        f"{ms:.0f}" if ms is not None else "",
    ]
