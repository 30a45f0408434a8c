"""What the demo needs from behind the scenes, and may not touch itself: it is only a client.

The command line gives it an implementation (`pipeline.cli.demo_backstage`) that knows topics, the vision engine, the
gallery and the audit.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loadtests.people.cast import Payer
from pipeline.audit.findings import Finding
from pipeline.audit.history import History
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody to enrol: an id and a photograph."""

    payer_id: str
    photograph: Path


@dataclass(frozen=True, slots=True)
class SeenBox:
    """A face that the detector found in a frame: x, y, width and height in pixels."""

    x: float
    y: float
    width: float
    height: float
    detection: float


class Backstage(Protocol):
    """See the module."""

    def new_ids(self, count: int) -> list[str]:
        """Fresh payer ids."""
        ...

    def look_at(self, candidates: Sequence[Candidate]) -> None:
        """Begins, in a process of its own, to load the models and to embed the photographs."""
        ...

    def apply_topics(self, settings: Settings) -> None:
        """Creates the topics."""
        ...

    def enrol(self, settings: Settings, payers: Sequence[Payer]) -> Generator[Payer]:
        """Enrols everybody whose photograph is good enough, with their PIN; yields each once Kafka has confirmed."""
        ...

    def history(self, settings: Settings, outages_us: Sequence[tuple[int, int]]) -> History:
        """Everything that was recorded."""
        ...

    def examine(self, history: History) -> Mapping[str, Finding]:
        """The invariants' findings."""
        ...

    def boxes(self, pictures: Sequence[bytes]) -> list[list[SeenBox]]:
        """The faces in JPEG frames, as the embedding agent's own detector sees them."""
        ...

    def close(self) -> None:
        """Ends the process of `look_at`."""
        ...
