"""The topics as code: what `schemas/topics/*.toml` says, as values.

The files are the single source for creation and drift check (`pipeline.runtime.admin`), the AsyncAPI document and
the docs. A lane is a partition number: topics with `lane = true` have one partition count and one partitioner
(`PARTITIONER`), so that everything of one terminal has the same partition number in each of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from schemas.codec import TYPES
from schemas.events import Event

PARTITIONER = "murmur2_random"
"""librdkafka's name of the partitioner that Java and aiokafka use by default; every producer here must have it."""

COMMANDS = "commands"
FRAMES = "frames"
HINTS = "hints"
RECOGNITIONS = "recognitions"
VERDICTS = "verdicts"
SETTLEMENTS = "settlements"
GALLERY = "gallery"
PAYERS = "payers"
JOURNAL = "journal"
DEADLETTER = "deadletter"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as declared: `config` holds Kafka's own names and values as text."""

    name: str
    description: str
    key: str
    partitions: int
    lane: bool
    values: tuple[str, ...]
    content_type: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    config: Mapping[str, str]

    @property
    def events(self) -> tuple[type[Event], ...]:
        """The event classes that this topic carries; empty for binary values."""
        return tuple(TYPES[value] for value in self.values)


@cache
def topics() -> Mapping[str, Topic]:
    """All declared topics by name, sorted."""
    found: dict[str, Topic] = {}
    for entry in sorted(resources.files("schemas").joinpath("topics").iterdir(), key=lambda e: e.name):
        if not entry.name.endswith(".toml"):
            continue
        raw = tomllib.loads(entry.read_text(encoding="utf-8"))
        found[raw["name"]] = Topic(
            name=raw["name"],
            description=raw["description"],
            key=raw["key"],
            partitions=raw["partitions"],
            lane=raw["lane"],
            values=tuple(raw["values"]),
            content_type=raw.get("content_type", "application/json"),
            producers=tuple(raw["producers"]),
            consumers=tuple(raw["consumers"]),
            config=dict(raw["config"]),
        )
    return found


def lane_topics() -> tuple[Topic, ...]:
    """The topics that must be co-partitioned."""
    return tuple(topic for topic in topics().values() if topic.lane)
