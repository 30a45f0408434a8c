"""Ids, waiting and the doorkeeper, each on its own."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request

from pipeline.gateway.answers import ApiError
from pipeline.gateway.edge import Doorkeeper
from pipeline.gateway.ids import new_trace, uuid7
from pipeline.gateway.waiting import Waiters
from pipeline.keys.devices import DeviceRegistry
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry, terminal_token
from pipeline.ports import Clock
from schemas.events import UUID_PATTERN, Trace
from tests.unit.gateway.facts import NOW_US


def test_uuid7_is_rfc_9562() -> None:
    """Version 7, the RFC's variant, the milliseconds in front, sorted by the microsecond, never twice."""
    made = [uuid7(NOW_US + step) for step in range(2_000)]
    assert made == sorted(made)
    assert len({uuid7(NOW_US) for _ in range(1_000)}) == 1_000
    for text in made[:10]:
        value = uuid.UUID(text)
        assert re.fullmatch(UUID_PATTERN, text)
        assert (value.version, value.variant) == (7, uuid.RFC_4122)
        assert value.int >> 80 == NOW_US // 1_000


def test_a_trace_is_a_traceparent() -> None:
    """It is what the events demand, and new each time."""
    assert msgspec.convert(new_trace(NOW_US), Trace) != new_trace(NOW_US)


def test_news_between_look_and_wait_are_not_lost() -> None:
    """A waiter is woken by a thread that has its news exactly while the waiter looks."""

    async def story() -> str | None:
        waiters = Waiters(asyncio.get_running_loop())
        news: list[str] = []

        def look() -> str | None:
            found = news[0] if news else None
            if not news:

                def tell() -> None:
                    news.append("told")
                    waiters.wake("intent")

                teller = threading.Thread(target=tell)
                teller.start()
                teller.join()
            return found

        return await waiters.until("intent", look, 20)

    assert asyncio.run(story()) == "told"


def test_waits_end_in_time_and_leave_nothing() -> None:
    """A wait without news ends at its time, other keys do not wake it, closing ends it at once; none is kept."""

    async def story() -> tuple[int, list[str | None]]:
        waiters = Waiters(asyncio.get_running_loop())
        looked = asyncio.Event()
        looks = 0

        def look() -> str | None:
            nonlocal looks
            looks += 1
            looked.set()
            return None

        ends = [await waiters.until("intent", look, 0.01)]
        before = looks
        looked.clear()
        waiting = asyncio.create_task(waiters.until("intent", look, 20))
        await looked.wait()
        waiters.wake("another")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert looks == before + 1
        waiters.close()
        ends += [await waiting, await waiters.until("intent", look, 20)]
        return len(waiters), ends

    assert asyncio.run(story()) == (0, [None, None, None])


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """A keyring with one terminal registered."""
    ring = Keyring.create(tmp_path / "keys")
    TerminalRegistry(ring.folder).add(Terminal("till-1", "noodle-house", "noodle-house-main", "CNY"))
    return ring


def door_of(keyring: Keyring, clock: Clock = lambda: NOW_US, *, rate_per_s: int = 100) -> Doorkeeper:
    """The door of a gateway, two waits wide."""
    registry, devices = TerminalRegistry(keyring.folder), DeviceRegistry(keyring.folder)
    return Doorkeeper(keyring, registry, devices, clock, rate_per_s=rate_per_s, waits=2)


def ask(**headers: str) -> Request:
    """A request with these headers."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


def test_who_is_let_in(keyring: Keyring) -> None:
    """Only a registered terminal with its own token; every other answer is the same one."""
    door = door_of(keyring)
    good = terminal_token(keyring, "till-1")
    assert door.admit(ask(x_terminal_id="till-1", authorization=f"Bearer {good}")).payee_id == "noodle-house-main"
    unregistered = terminal_token(keyring, "till-2")
    for name, authorization in [
        ("till-1", ""),
        ("till-1", "Bearer "),
        ("till-1", f"Basic {good}"),
        ("till-1", f"Bearer {good[:-1]}0" if good[-1] != "0" else f"Bearer {good[:-1]}1"),
        ("till-1", f"Bearer {unregistered}"),
        ("till-2", f"Bearer {good}"),
        ("till-2", f"Bearer {unregistered}"),
        ("", f"Bearer {good}"),
        ("x" * 65, f"Bearer {good}"),
    ]:
        with pytest.raises(ApiError) as refused:
            door.admit(ask(x_terminal_id=name, authorization=authorization))
        assert (refused.value.status, refused.value.code) == (401, "unauthorised")


def test_requests_and_waits_are_bounded_per_terminal(keyring: Keyring) -> None:
    """Twice the rate at once, then the rate; waits up to their number, free again when they end."""
    now = [NOW_US]
    door = door_of(keyring, lambda: now[0], rate_per_s=5)
    request = ask(x_terminal_id="till-1", authorization=f"Bearer {terminal_token(keyring, 'till-1')}")
    for _ in range(10):
        terminal = door.admit(request)
    with pytest.raises(ApiError, match="too_many_requests"):
        door.admit(request)
    now[0] += 200_000
    terminal = door.admit(request)
    with pytest.raises(ApiError, match="too_many_requests"):
        door.admit(request)
    with (
        door.waiting(terminal),
        door.waiting(terminal),
        pytest.raises(ApiError, match="too_many_waits"),
        door.waiting(terminal),
    ):
        pytest.fail("a third wait was let in")
    with door.waiting(terminal):
        assert door._waiting == {("terminal", "till-1"): 1}
    assert door._waiting == {}
