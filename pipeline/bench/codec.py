"""Events to and from bytes, against JSON alone.

Decoding checks every field, so it is compared with `orjson.loads`, which checks none; encoding is compared with
`orjson.dumps` of the same event as a dictionary. Events are the examples of the schemas, and a record is decoded as its
topic's readers do: any event of that topic may come.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import repeat
from typing import Any

import orjson

from pipeline.bench.rounds import Run, Sample, interleave, timed
from pipeline.bench.rows import Goal, Row, cost_row
from pipeline.topics import topics
from schemas.codec import TYPES, decode, encode
from schemas.events import Event

DECODE_GOAL = Goal("<=", 2.0)
EVENTS_PER_SAMPLE = 5_000


def run(rounds: int, *, events: int = EVENTS_PER_SAMPLE) -> list[Row]:
    """A row for each event type, decoding and encoding, and one for all types in equal shares."""
    runs: dict[str, Run] = {}
    for kind, data in examples().items():
        allowed = _neighbours(kind)
        event = decode(data, *allowed)
        plain: dict[str, Any] = dataclasses.asdict(event)
        runs[f"decode.{kind}"] = _repeated(_decoding(data, allowed), events)
        runs[f"loads.{kind}"] = _repeated(lambda data=data: orjson.loads(data), events)  # type: ignore[misc]
        runs[f"encode.{kind}"] = _repeated(lambda event=event: encode(event), events)  # type: ignore[misc]
        runs[f"dumps.{kind}"] = _repeated(lambda plain=plain: orjson.dumps(plain), events)  # type: ignore[misc]
    samples = interleave(runs, rounds)
    rows = []
    for ours, baseline, goal in (("decode", "loads", DECODE_GOAL), ("encode", "dumps", None)):
        against = f"orjson.{baseline}"
        for kind in examples():
            pair = samples[f"{ours}.{kind}"], samples[f"{baseline}.{kind}"]
            rows.append(cost_row(f"codec.{ours}.{kind}", *pair, item="event", against=against, goal=goal))
        together = [_added([samples[f"{side}.{kind}"] for kind in examples()]) for side in (ours, baseline)]
        rows.append(cost_row(f"codec.{ours}", *together, item="event", against=against, goal=goal))
    return rows


def examples() -> dict[str, bytes]:
    """One example of each event type, as bytes of a record."""
    found: dict[str, bytes] = {}
    for entry in sorted(resources.files("schemas").joinpath("examples").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            value = orjson.loads(entry.read_bytes())
            found.setdefault(value["type"], orjson.dumps(value))
    return found


def _neighbours(kind: str) -> tuple[type[Event], ...]:
    """The events that may stand on the topic of `kind`."""
    event = TYPES[kind]
    return next((topic.events for topic in topics().values() if event in topic.events), (event,))


def _decoding(data: bytes, allowed: Sequence[type[Event]]) -> Callable[[], object]:
    return lambda: decode(data, *allowed)


def _repeated(call: Callable[[], object], times: int) -> Run:
    def all_of_them() -> int:
        for _ in repeat(None, times):
            call()
        return times

    return lambda: timed(all_of_them)


def _added(kinds: Sequence[Sequence[Sample]]) -> list[Sample]:
    """Round by round, the samples of all kinds as one."""
    return [
        Sample(sum(s.items for s in one), sum(s.wall_s for s in one), sum(s.cpu_s for s in one))
        for one in zip(*kinds, strict=True)
    ]
