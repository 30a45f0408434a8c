"""A gateway's lease over real HTTP, to open and close intents by hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest
import uvicorn
from fastapi import FastAPI, Header, Response

from schemas.events import PaymentTerms
from schemas.ids import derived_id
from tests.stack import wait_until

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
TERMS = PaymentTerms(
    intent_id=derived_id("an intent"),
    terminal_id="t-1",
    merchant_id="shop",
    payee_id="payee-1",
    amount_minor=100,
    currency="CNY",
    opened_at_us=0,
    expires_at_us=0,
    key_epoch=1,
)


def now_us() -> int:
    return time.time_ns() // 1000


class LeaseServer:
    """`GET /v1/lease` as the gateway answers it."""

    def __init__(self) -> None:
        self.token = "f00d" * 16
        self.terms: PaymentTerms | None = None
        self.until_us = 0
        self.claim: str | None = None
        self.status: int | None = None
        self.body: bytes | None = None
        self.waits: list[int] = []
        self.asked_as: tuple[str, str] | None = None
        self.url = ""

    def open(self, seconds: float, *, camera_seconds: float | None = None, **changes: object) -> PaymentTerms:
        """Opens an intent that expires after `seconds`; its cameras are wanted for `camera_seconds` of that."""
        at = now_us()
        until = at + round((seconds if camera_seconds is None else camera_seconds) * 1_000_000)
        terms = replace(TERMS, opened_at_us=at, expires_at_us=at + round(seconds * 1_000_000), **changes)  # type: ignore[arg-type]
        self.until_us, self.terms = until, terms
        return terms

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/lease")
        async def lease(
            wait_ms: int, x_camera_id: str = Header(), x_terminal_id: str = Header(), authorization: str = Header()
        ) -> Response:
            self.waits.append(wait_ms)
            if authorization != f"Bearer {self.token}":
                return Response(status_code=401)
            self.asked_as = (x_camera_id, x_terminal_id)
            if self.status is not None:
                return Response(self.body, status_code=self.status)
            end = time.monotonic() + wait_ms / 1000
            while not self._held() and time.monotonic() < end:  # noqa: ASYNC110 - tests open intents from threads
                await asyncio.sleep(0.01)
            if not self._held():
                return Response(status_code=204)
            body = {"terms": self.terms, "trace": TRACE, "camera_until_us": self.until_us}
            if self.claim is not None:
                body["claim"] = self.claim
            return Response(orjson.dumps(body), media_type="application/json")

        return app

    def _held(self) -> bool:
        return self.terms is not None and now_us() < self.terms.expires_at_us


@pytest.fixture
def gateway() -> Iterator[LeaseServer]:
    """A running server; nothing is open."""
    held = LeaseServer()
    server = uvicorn.Server(uvicorn.Config(held.app(), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 10, "the HTTP server")
    held.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield held
    server.should_exit = True
    thread.join(15)
