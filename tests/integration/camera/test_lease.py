"""The lease over real HTTP: what the gateway answers, and what a camera makes of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.camera.lease import GatewayLease, Lease, LeaseWatch
from pipeline.errors import OutsideError, UsageError
from pipeline.keys.credentials import CameraCredentials
from tests.integration.camera.conftest import TERMS, TRACE, LeaseServer, now_us

CREDENTIALS = CameraCredentials("cam-1", "t-1", "f00d" * 16, {})


@pytest.fixture
def lease(gateway: LeaseServer) -> Iterator[GatewayLease]:
    with contextlib.closing(GatewayLease(gateway.url, CREDENTIALS)) as lease:
        yield lease


def test_a_lease_is_read_whole(gateway: LeaseServer, lease: GatewayLease) -> None:
    """Terms, trace and end arrive as the gateway sent them; without an open intent there is none. The camera says its
    own name and the lane that it films."""
    assert lease.poll(0) is None
    assert gateway.asked_as == ("cam-1", "t-1")
    terms = gateway.open(5, camera_seconds=3)
    assert lease.poll(0) == Lease(terms=terms, trace=TRACE, camera_until_us=gateway.until_us)


def test_a_long_poll_answers_as_soon_as_an_intent_opens(gateway: LeaseServer, lease: GatewayLease) -> None:
    """The gateway is asked to wait, and its answer comes when there is one, not at the end of the wait."""
    threading.Timer(0.2, lambda: gateway.open(5)).start()
    start = time.monotonic()
    assert lease.poll(8000) is not None
    assert time.monotonic() - start < 5
    assert gateway.waits == [8000]


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (401, b"", UsageError, "refuses the camera cam-1"),
        (403, b'{"error": {"code": "another_lane"}}', UsageError, "refuses the camera cam-1"),
        (500, b"", OutsideError, "answered 500"),
        (302, b"", OutsideError, "answered 302"),
        (200, b"{", OutsideError, "no lease"),
        (200, b"{}", OutsideError, "no lease"),
        (200, b'{"terms": {}, "trace": "x", "camera_until_us": 1}', OutsideError, "no lease"),
    ],
)
def test_other_answers_are_errors(
    gateway: LeaseServer, lease: GatewayLease, status: int, body: bytes, error: type[Exception], says: str
) -> None:
    """A refusal is wrong use, anything unexpected an outside failure; the token is in no message."""
    gateway.status, gateway.body = status, body
    with pytest.raises(error, match=says) as raised:
        lease.poll(0)
    assert gateway.token not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("http://127.0.0.1:1", OutsideError, "start it with `facepay gateway`"),
        ("127.0.0.1:8080", UsageError, "begins with http"),
        ("ftp://127.0.0.1", UsageError, "begins with http"),
        ("http://host:port", UsageError, "opening the gateway"),
    ],
)
def test_an_address_that_cannot_be_reached(url: str, error: type[Exception], says: str) -> None:
    """Nothing listens there, or it is no address of a gateway: one sentence that says what to pass."""
    with pytest.raises(error, match=says), contextlib.closing(GatewayLease(url, CREDENTIALS)) as lease:
        lease.poll(0)


@pytest.mark.parametrize(
    ("opened", "until", "expires", "at", "holds"),
    [
        (10, 20, 30, 10, True),
        (10, 20, 30, 20, True),
        (10, 20, 30, 9, False),
        (10, 20, 30, 21, False),
        (10, 40, 30, 31, False),  # a lease never outlives its intent
    ],
)
def test_when_a_lease_holds(opened: int, until: int, expires: int, at: int, holds: bool) -> None:
    """From the opening of the intent to the end of the lease or of the intent, whichever comes first."""
    from dataclasses import replace

    terms = replace(TERMS, opened_at_us=opened, expires_at_us=expires)
    assert Lease(terms=terms, trace=TRACE, camera_until_us=until).holds(at) is holds


def test_a_watch_asks_gently(gateway: LeaseServer, lease: GatewayLease) -> None:
    """While a lease is held the gateway is asked a few times a second, not in a loop."""
    gateway.open(60)
    stop = threading.Event()
    with LeaseWatch(lease, now_us, stop) as watch:
        assert watch.wait_held(5)
        start = len(gateway.waits)
        stop.wait(1.0)
        assert len(gateway.waits) - start <= 6
