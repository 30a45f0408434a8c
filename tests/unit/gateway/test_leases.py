"""Who is lent an intent: the cameras registered for its lane, with their own tokens, while it can be decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from starlette.requests import Request

from pipeline.gateway.answers import ApiError
from pipeline.gateway.edge import Doorkeeper
from pipeline.gateway.intents import Intents
from pipeline.gateway.leases import Granted, Leases, grant
from pipeline.keys.credentials import provision, provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from schemas.events import OpenIntent
from tests.unit.gateway.facts import NOW_US, Story

LEASE_MS = 1_000
STORY = Story(terminal="till-1")


@dataclass
class Lanes:
    """What the book would say: the open intents by terminal. `meanwhile` happens while a camera waits."""

    opened: dict[str, OpenIntent] = field(default_factory=lambda: {"till-1": STORY.opening()})
    meanwhile: Callable[[], object] = lambda: None
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def lease(self, terminal_id: str, wait_ms: int) -> OpenIntent | None:
        """As `Intents.lease`, without a wait."""
        self.asked.append((terminal_id, wait_ms))
        self.meanwhile()
        return self.opened.get(terminal_id)


@dataclass
class Place:
    """A gateway's door and its leases, two terminals and three cameras."""

    keyring: Keyring
    devices: DeviceRegistry
    lanes: Lanes
    leases: Leases

    def headers(self, camera_id: str, lane: str = "till-1") -> dict[str, str]:
        """What a camera that was provisioned for that lane says."""
        camera = self.devices.get(camera_id) or Camera(camera_id, lane, registration="a" * 32)
        token = provision_camera(self.keyring, camera, [1]).token
        return {"x-camera-id": camera_id, "x-terminal-id": lane, "authorization": f"Bearer {token}"}

    def ask(self, headers: dict[str, str], wait_ms: int = 0) -> Granted | None:
        """The lease for a request with these headers."""
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return asyncio.run(self.leases.ask(Request({"type": "http", "headers": raw}), wait_ms))

    def refused(self, headers: dict[str, str]) -> tuple[int, str]:
        """Status and code of the refusal."""
        with pytest.raises(ApiError) as raised:
            self.ask(headers)
        assert raised.value.message.count(". ") == 0, "one sentence"
        return raised.value.status, raised.value.code


@pytest.fixture
def place(tmp_path: Path) -> Place:
    keyring = Keyring.create(tmp_path / "keys")
    registry, devices = TerminalRegistry(keyring.folder), DeviceRegistry(keyring.folder)
    for number in (1, 2):
        registry.add(Terminal(f"till-{number}", "noodle-house", "noodle-house-main", "CNY"))
    for name, lane in (("cam-a", "till-1"), ("cam-b", "till-1"), ("cam-c", "till-2")):
        devices.add(Camera(name, lane))
    lanes = Lanes()
    door = Doorkeeper(keyring, registry, devices, lambda: NOW_US, rate_per_s=100, waits=1)
    intents: Intents = lanes  # type: ignore[assignment]  # the one method that leases need
    return Place(keyring, devices, lanes, Leases(door, intents, lambda: NOW_US, lease_ms=LEASE_MS))


def answered(result: str) -> float:
    """How often leases were answered so."""
    return REGISTRY.get_sample_value("facepay_leases_total", {"result": result}) or 0.0


def test_every_camera_of_the_lane_is_lent_the_intent(place: Place) -> None:
    """Both cameras of the lane get it, for the lease's time; the camera of the lane beside it gets nothing."""
    before = answered("granted"), answered("none")
    for name in ("cam-a", "cam-b"):
        assert place.ask(place.headers(name), 7) == Granted(STORY.opening(), NOW_US + LEASE_MS * 1_000)
    assert place.ask(place.headers("cam-c", "till-2"), 7) is None
    assert place.lanes.asked == [("till-1", 7), ("till-1", 7), ("till-2", 7)]
    assert (answered("granted"), answered("none")) == (before[0] + 2, before[1] + 1)


def _terminal(place: Place) -> dict[str, str]:
    token = provision(place.keyring, "till-1").token
    return {"x-terminal-id": "till-1", "authorization": f"Bearer {token}"}


def _removed(place: Place) -> dict[str, str]:
    headers = place.headers("cam-a")
    place.devices.remove("cam-a")
    return headers


def _removed_and_added_again(place: Place) -> dict[str, str]:
    headers = _removed(place)
    place.devices.add(Camera("cam-a", "till-1"))
    return headers


def _renewed(place: Place) -> dict[str, str]:
    headers = place.headers("cam-a")
    place.devices.add(Camera("cam-a", "till-1"), renew=True)
    return headers


def _moved(place: Place) -> dict[str, str]:
    headers = place.headers("cam-a")
    place.devices.add(Camera("cam-a", "till-2"))
    return headers


def _with(place: Place, **changes: str) -> dict[str, str]:
    return {**place.headers("cam-a"), **{name.replace("_", "-"): value for name, value in changes.items()}}


REFUSED: list[tuple[str, Callable[[Place], dict[str, str]], tuple[int, str]]] = [
    ("nobody", lambda _: {}, (401, "unauthorised")),
    ("a terminal", _terminal, (403, "not_a_camera")),
    ("a terminal with a wrong token", lambda p: {**_terminal(p), "authorization": "Bearer x"}, (401, "unauthorised")),
    ("a terminal's token under a camera's name",
     lambda p: {**_terminal(p), "x-camera-id": "cam-a"}, (401, "unauthorised")),
    ("a camera's token as its terminal's",
     lambda p: {k: v for k, v in p.headers("cam-a").items() if k != "x-camera-id"}, (401, "unauthorised")),
    ("no token", lambda p: _with(p, authorization=""), (401, "unauthorised")),
    ("another scheme", lambda p: _with(p, authorization=p.headers("cam-a")["authorization"].replace("Bearer", "Basic")),
     (401, "unauthorised")),
    ("another camera's token", lambda p: _with(p, authorization=p.headers("cam-b")["authorization"]),
     (401, "unauthorised")),
    ("a camera that never was", lambda p: p.headers("cam-z"), (401, "unauthorised")),
    ("a name too long", lambda p: _with(p, x_camera_id="c" * 65), (401, "unauthorised")),
    ("no name", lambda p: _with(p, x_camera_id=""), (401, "unauthorised")),
    ("removed", _removed, (401, "unauthorised")),
    ("removed and added again, with the old token", _removed_and_added_again, (401, "unauthorised")),
    ("an old token", _renewed, (401, "unauthorised")),
    ("a camera of another lane", lambda p: p.headers("cam-c", "till-1"), (403, "another_lane")),
    ("moved to another lane", _moved, (403, "another_lane")),
    ("no lane", lambda p: {k: v for k, v in p.headers("cam-a").items() if k != "x-terminal-id"}, (403, "another_lane")),
]  # fmt: skip


@pytest.mark.parametrize(("who", "headers", "answer"), REFUSED, ids=[row[0] for row in REFUSED])
def test_nobody_else_is(
    place: Place, who: str, headers: Callable[[Place], dict[str, str]], answer: tuple[int, str]
) -> None:
    """Each other one is refused with one sentence before the book is asked, and counted."""
    made = headers(place)
    before = answered(answer[1])
    assert place.refused(made) == answer, who
    assert place.lanes.asked == []
    assert answered(answer[1]) == before + 1


def test_a_terminal_that_is_gone_takes_its_cameras_along(place: Place) -> None:
    """A terminal taken out of its registry has no lane to film."""
    headers = place.headers("cam-a")
    (place.keyring.folder / "terminals.json").write_text('{"terminals": []}')
    assert place.refused(headers) == (403, "another_lane")


@pytest.mark.parametrize(
    "change",
    [
        lambda devices: devices.remove("cam-a"),
        lambda devices: devices.add(Camera("cam-a", "till-2")),
        lambda devices: devices.add(Camera("cam-a", "till-1"), renew=True),
    ],
    ids=["removed", "moved", "renewed"],
)
def test_a_change_while_a_camera_waits_counts(place: Place, change: Callable[[DeviceRegistry], object]) -> None:
    """A camera that is removed, moved or renewed while it waits for an intent gets no lease of it; a change of its zone
    takes nothing away."""
    headers = place.headers("cam-a")
    place.lanes.meanwhile = lambda: change(DeviceRegistry(place.keyring.folder))
    assert place.refused(headers) == (401, "unauthorised")
    place.lanes.meanwhile = lambda: place.devices.add(Camera("cam-b", "till-1", "ir", ((0, 0), (1, 0), (1, 1))))
    assert place.ask(place.headers("cam-b")) is not None


def test_a_camera_s_waits_are_its_own(place: Place) -> None:
    """One wait at a time for each camera; its place is given back when it ends, and others have their own."""
    headers = place.headers("cam-a")
    inside: list[tuple[int, str] | Granted | None] = []

    async def story() -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        request = Request({"type": "http", "headers": raw})
        place.lanes.meanwhile = lambda: None
        entered, leave = asyncio.Event(), asyncio.Event()

        async def held(terminal_id: str, wait_ms: int) -> OpenIntent | None:
            entered.set()
            await leave.wait()
            return place.lanes.opened.get(terminal_id)

        place.lanes.lease = held  # type: ignore[method-assign]
        first = asyncio.create_task(place.leases.ask(request, 1_000))
        await entered.wait()
        try:
            await place.leases.ask(request, 0)
        except ApiError as error:
            inside.append((error.status, error.code))
        leave.set()
        inside.append(await first)
        inside.append(await place.leases.ask(request, 0))

    asyncio.run(story())
    granted = Granted(STORY.opening(), NOW_US + LEASE_MS * 1_000)
    assert inside == [(429, "too_many_waits"), granted, granted]


@given(st.integers(0, 200_000_000), st.integers(100, 120_000))
def test_a_lease_never_outlives_its_intent(after_us: int, lease_ms: int) -> None:
    """Whenever it is granted it ends with the intent at the latest, and `lease_ms` from now otherwise."""
    opening = STORY.opening()
    now_us = opening.terms.opened_at_us + after_us
    until_us = grant(opening, now_us, lease_ms).until_us
    assert until_us <= opening.terms.expires_at_us
    assert until_us <= now_us + lease_ms * 1_000
    assert until_us in {opening.terms.expires_at_us, now_us + lease_ms * 1_000}
