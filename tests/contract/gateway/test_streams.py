"""Server-sent events: what happens to an intent as it happens, resumed where a client was, silent only with a sign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.contract.gateway.conftest import Till, World, error_of, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, kafka: str, redis_url: str) -> World:
    """A world with quick heartbeats and few waits."""
    made = make_world(tmp_path_factory.mktemp("streams"), kafka, redis_url)
    made.limits = {"heartbeat_s": 0.05, "waits_per_terminal": 2}
    return made


def events_of(stream: httpx.Response) -> Iterator[tuple[str, str, Any]]:
    """Name, id and data of each event; a comment is (":", "", its text)."""
    fields: dict[str, str] = {}
    for line in stream.iter_lines():
        if line.startswith(":"):
            yield ":", "", line[1:].strip()
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], fields["id"], orjson.loads(fields["data"])
            fields = {}


def told(events: Iterator[tuple[str, str, Any]], count: int) -> list[tuple[str, str, Any]]:
    """The next `count` events that are no comments."""
    found: list[tuple[str, str, Any]] = []
    while len(found) < count:
        event = next(events)
        if event[0] != ":":
            found.append(event)
    return found


def test_a_stream_tells_and_resumes(till: Till, world: World) -> None:
    """Hint, verdict, outcome and refund come in turn, ids begin with the version; a client that comes back with its
    last id gets what it missed and nothing twice; with another gateway's id it gets everything."""
    terms = till.opened()
    path = f"/v1/intents/{terms.intent_id}/events"
    with till.http.stream("GET", path) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = events_of(stream)
        assert next(events) == (":", "", "still here")
        world.hint(terms, "look_here")
        hint = told(events, 1)[0]
        verdict_id = world.judge(terms).event_id
        verdict = told(events, 1)[0]
    assert (hint[0], hint[2]["code"], verdict[0], verdict[2]["verdict_id"]) == (
        "hint",
        "look_here",
        "verdict",
        verdict_id,
    )
    assert (hint[1].split(".")[0], verdict[1].split(".")[0]) == ("2", "3")
    outcome_id = world.settle(terms).event_id
    till.until(terms.intent_id, "settled")
    with till.http.stream("GET", path, headers={"Last-Event-ID": verdict[1]}) as stream:
        events = events_of(stream)
        (outcome,) = told(events, 1)
        assert (outcome[0], outcome[2]["event_id"]) == ("outcome", outcome_id)
        world.settle(terms, "refunded", "refund-event")
        assert told(events, 1)[0][0] == "refund"
    for stranger in ("3.00000000", "3", "x", ""):
        with till.http.stream("GET", path, headers={"Last-Event-ID": stranger}) as stream:
            assert [event[0] for event in told(events_of(stream), 4)] == ["hint", "verdict", "outcome", "refund"]


def test_streams_are_bounded_and_given_back(till: Till, world: World) -> None:
    """A terminal has so many waits at once; a client that goes away gives its place back."""
    terms = till.opened()
    path = f"/v1/intents/{terms.intent_id}/events"
    for _ in range(6):
        with till.http.stream("GET", path) as one, till.http.stream("GET", path) as two:
            signs = events_of(one), events_of(two)
            assert [next(sign)[0] for sign in signs] == [":", ":"]
            waiting = {"wait_ms": 1, "after_version": 1}
            assert error_of(till.http.get(f"/v1/intents/{terms.intent_id}", params=waiting)) == (429, "too_many_waits")
            assert till.lease(wait_ms=1).status_code == 200, "its camera's waits are counted apart"
        while till.http.get(f"/v1/intents/{terms.intent_id}", params=waiting).status_code == 429:
            pass
    assert world.terminal()
