"""Alive, ready, stalled: what a process says of itself over HTTP."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import orjson
import pytest

from pipeline.runtime import health as module
from pipeline.runtime.health import Health, HealthServer


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_ready_is_every_condition(clock: Clock) -> None:
    """Each condition that does not hold is named with its reason; one that says no reason is 'not yet'."""
    health = Health("test")
    assert health.missing() == {}
    health.set_ready("gallery", ok=False, why="3 of 5 partitions read")
    health.set_ready("kafka", ok=False)
    assert health.missing() == {"gallery": "3 of 5 partitions read", "kafka": "not yet"}
    health.set_ready("gallery", ok=True)
    health.set_ready("kafka", ok=True)
    assert health.missing() == {}


def test_a_loop_that_does_not_go_round_is_neither_live_nor_ready(clock: Clock) -> None:
    """A minute without a beat."""
    health = Health("test", live_s=60)
    clock.now_s += 61
    before = (health.live, list(health.missing()))
    health.beat()
    assert before == (False, ["loop"])
    assert (health.live, health.missing()) == (True, {})


# what happens at which second -> not ready at the end
ROWS: list[tuple[str, list[tuple[float, str]], bool]] = [
    ("nothing waits for long", [(0, "waiting 0"), (100, "beat")], False),
    ("records wait, briefly", [(0, "waiting 5"), (9, "beat")], False),
    ("records wait and nothing is finished", [(0, "waiting 5"), (11, "beat")], True),
    ("more come, nothing is finished", [(0, "waiting 5"), (6, "waiting 9"), (11, "beat")], True),
    ("records wait but some are finished", [(0, "waiting 5"), (6, "progressed"), (11, "beat")], False),
    ("the first record after a quiet hour", [(0, "waiting 0"), (3600, "waiting 1"), (3601, "beat")], False),
    ("all are finished at last", [(0, "waiting 5"), (11, "waiting 0"), (12, "beat")], False),
]


@pytest.mark.parametrize(("events", "stalled"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_stall_is_waiting_without_progress(clock: Clock, events: list[tuple[float, str]], stalled: bool) -> None:
    """Records wait and none was finished for `stall_s`: whatever a client says of its connection."""
    health, start_s = Health("test", stall_s=10), clock.now_s
    for at_s, event in events:
        clock.now_s = start_s + at_s
        name, _, count = event.partition(" ")
        getattr(health, name)(*([int(count)] if count else []))
        health.beat()
    assert ("progress" in health.missing()) is stalled


@pytest.fixture
def served() -> Iterator[tuple[Health, str]]:
    health = Health("served")
    server = HealthServer(health, "127.0.0.1", 0)
    yield health, f"http://127.0.0.1:{server.start()}"
    server.stop()


def get(url: str) -> tuple[int, bytes]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_three_paths(served: tuple[Health, str]) -> None:
    """200 or 503 for orchestrators, the reasons for people, and the same as a metric."""
    health, url = served
    assert get(f"{url}/livez") == (200, b'{"live":true}')
    assert get(f"{url}/readyz") == (200, b'{"ready":true,"missing":{}}')
    assert b'facepay_ready_bool{agent="served"} 1.0' in get(f"{url}/metrics")[1]
    health.set_ready("kafka", ok=False, why="down")
    status, body = get(f"{url}/readyz?verbose")
    assert (status, orjson.loads(body)) == (503, {"ready": False, "missing": {"kafka": "down"}})
    assert b'facepay_ready_bool{agent="served"} 0.0' in get(f"{url}/metrics")[1]
    assert get(f"{url}/else")[0] == 404


def test_a_slow_client_does_not_keep_others_waiting(served: tuple[Health, str]) -> None:
    """A connection that says nothing holds its own thread only."""
    import socket

    _, url = served
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5):
        began = time.monotonic()
        assert get(f"{url}/livez")[0] == 200
        assert time.monotonic() - began < 2


def test_a_process_that_is_starting_is_not_ready() -> None:
    """Its health is served before anything has said that it is well: what is awaited counts as missing until then."""
    health = Health("early", awaits=("assignment",))
    assert health.missing() == {"assignment": "the process is starting"}
    health.set_ready("assignment", ok=True)
    assert health.missing() == {}
