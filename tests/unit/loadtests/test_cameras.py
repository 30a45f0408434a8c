"""The demo's cameras: they send what the gateway leases, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import httpx
import numpy as np
import orjson
import pytest

from loadtests.cameras import Camera, Film, FrameSender, Stand
from loadtests.gateway_client import LeaseClient
from loadtests.motion import Motion, Scene
from pipeline.keys.credentials import CameraCredentials
from pipeline.keys.frames import FRAME_HEADER, TERMS_HEADER
from pipeline.ports import Emit
from schemas.events import PaymentTerms
from schemas.ids import derived_id

CREDENTIALS = CameraCredentials("till-1-camera", "till-1", "f00d" * 16, {1: b"\1" * 32})
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECOND = 1_000_000
TERMS = PaymentTerms(
    intent_id=derived_id("intent"),
    terminal_id="till-1",
    merchant_id="shop",
    payee_id="shop-main",
    amount_minor=100,
    currency="CNY",
    opened_at_us=0,
    expires_at_us=60 * SECOND,
    key_epoch=1,
)
OTHER = replace(TERMS, intent_id=derived_id("another intent"))


@dataclass
class Gateway:
    """Answers one camera; its clock goes on by `step_us` at each look, so that nothing waits for real time."""

    answer: Callable[[int], httpx.Response]
    step_us: int = SECOND // 10
    asked: int = 0
    now_us: int = 0
    sent: list[Emit] = field(default_factory=list)

    def clock(self) -> int:
        self.now_us += self.step_us
        return self.now_us

    def send(self, emit: Emit) -> None:
        self.sent.append(emit)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/lease"
        assert request.headers["X-Camera-Id"] == "till-1-camera"
        assert request.headers["X-Terminal-Id"] == "till-1"
        assert request.headers["Authorization"] == f"Bearer {CREDENTIALS.token}"
        self.asked += 1
        return self.answer(self.now_us)


def lease(until_us: int, terms: PaymentTerms = TERMS) -> httpx.Response:
    """The gateway's answer."""
    body = {"terms": terms, "trace": TRACE, "camera_until_us": until_us}
    return httpx.Response(200, content=orjson.dumps(body))


def film(gateway: Gateway, enough: int = 1_000) -> Film:
    """What the camera sends for the intent until its end, or until that many frames."""
    motion = Motion(np.full((60, 50, 3), 90, np.uint8), seed=1)
    made = Film()
    sender: FrameSender = gateway  # type: ignore[assignment]  # the one method that cameras need

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(gateway)) as http:
            leases = LeaseClient(http, "http://gateway", CREDENTIALS)
            camera = Camera(sender, leases, CREDENTIALS, gateway.clock, rate_fps=1_000)
            await camera.film(TERMS, Stand(motion, Scene.NEAR), made, lambda: len(gateway.sent) >= enough)

    asyncio.run(run())
    return made


def test_a_leased_intent_is_filmed_under_its_terms() -> None:
    """Each frame names the camera, carries the lease's terms and trace, and was captured within the lease."""
    gateway = Gateway(lambda now_us: lease(now_us + 10 * SECOND))
    made = film(gateway, enough=4)
    assert made.frames == len(gateway.sent) == 4
    for emit in gateway.sent:
        headers = dict(emit.headers)
        assert orjson.loads(headers[FRAME_HEADER])["camera"] == "till-1-camera"
        assert orjson.loads(headers[TERMS_HEADER])["intent_id"] == TERMS.intent_id
        assert headers["traceparent"] == TRACE.encode()


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("nothing is open", httpx.Response(204)),
        ("another intent is open", lease(60 * SECOND, OTHER)),
        ("the camera is refused", httpx.Response(403, json={"error": {"code": "another_lane", "message": "no"}})),
        ("the gateway is down", httpx.Response(503, json={"error": {"code": "not_ready", "message": "no"}})),
        ("a lease that has ended", lease(0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_a_lease_nothing_is_sent(what: str, answer: httpx.Response) -> None:
    """Until the intent's end the camera asks, and sends nothing."""
    gateway = Gateway(lambda _: httpx.Response(answer.status_code, content=answer.content), step_us=2 * SECOND)
    assert film(gateway).frames == 0, what
    assert gateway.sent == []
    assert gateway.asked >= 1


def test_a_lease_that_runs_out_ends_the_film() -> None:
    """When the gateway is gone, what was granted stands until its own end and no longer."""
    answers = iter([lease(20 * SECOND)])
    gateway = Gateway(lambda _: next(answers, httpx.Response(503)), step_us=SECOND)
    made = film(gateway)
    captured = [orjson.loads(dict(emit.headers)[FRAME_HEADER])["captured_at_us"] for emit in gateway.sent]
    assert 0 < made.frames == len(captured)
    assert max(captured) <= 20 * SECOND
