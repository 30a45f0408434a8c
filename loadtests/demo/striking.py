"""Doing what the plan of `chaos` says, and saying so aloud."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rich.console import Console

from loadtests.demo.chaos import BROKER, Strike
from loadtests.demo.live import Screen
from loadtests.demo.processes import Outage, Processes
from pipeline.local import LocalStack
from pipeline.ports import Clock


class Telling:
    """Where announcements go: the screen once there is one, the console before."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.screen: Screen | None = None

    def say(self, text: str, style: str = "bold green") -> None:
        """One line that must be seen."""
        if self.screen is None:
            self._console.print(text, style=style, highlight=False, soft_wrap=True)
        else:
            self.screen.announce(text, style)


class Striker:
    """Kills what it was told to kill, when it was told to, and says so on the screen."""

    def __init__(
        self, strikes: Sequence[Strike], stack: LocalStack, running: Processes, telling: Telling, clock: Clock
    ) -> None:
        self._clock = clock
        self._strikes = strikes
        self._stack = stack
        self._running = running
        self._telling = telling
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)

    def start(self, screen: Screen) -> None:
        """The clock of the strikes begins now."""
        self._telling.screen = screen
        self._thread.start()

    def stop(self) -> None:
        """No strike after this; waits for one under way."""
        self._over.set()
        self._thread.join()
        self._telling.screen = None

    def _run(self) -> None:
        started = time.monotonic()
        for each in self._strikes:
            if self._over.wait(max(0.0, started + each.at_s - time.monotonic())):
                return
            if each.target == BROKER:
                self._telling.say("CHAOS: the Kafka broker is killed now (SIGKILL); payments go on", "bold red")
                outage = Outage(BROKER, self._clock(), "killed by the demo (SIGKILL)")
                self._running.outages.append(outage)
                self._stack.kafka.kill()
                self._stack.kafka.start()
                outage.ready_at_us = self._clock()
                self._telling.say("the Kafka broker is back")
            else:
                self._telling.say(f"CHAOS: the {each.target} agent is killed now (SIGKILL); payments go on", "bold red")
                self._running.kill(each.target)
