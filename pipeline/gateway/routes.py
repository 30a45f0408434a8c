"""The HTTP routes: what is asked is checked here, what happens is in `intents`.

Every route but the three for operators and the cameras' lease knows its terminal by `X-Terminal-Id` and
`Authorization: Bearer`; the lease knows a camera by `X-Camera-Id` and that camera's token. Long polls end within 30 s.
An event stream's ids are `<version>.<boot>`: a gateway resumes after an id of its own and tells everything again after
another gateway's, whose count may have come in another order. Every event has an id of its own (`verdict_id`,
`event_id`), by which a client knows a repeat.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response, StreamingResponse

from pipeline.gateway import answers
from pipeline.gateway.answers import ApiError, json_response
from pipeline.gateway.bodies import IDEMPOTENCY_KEY, CancelBody, ConfirmBody, OpenBody, RefundBody
from pipeline.gateway.service import Gateway
from pipeline.keys.terminals import Terminal
from pipeline.settings import Gateway as Limits

MAX_WAIT_MS = 30_000
STREAM_S = 600
"""A stream ends after this long at the latest; the client comes back with Last-Event-ID."""

IdempotencyKey = Annotated[str, Header(alias="Idempotency-Key", pattern=IDEMPOTENCY_KEY)]
WaitMs = Annotated[int, Query(ge=0, le=MAX_WAIT_MS)]
AfterVersion = Annotated[int | None, Query(ge=0)]


class Routes:
    """The router and the gateway behind it, which comes with the lifespan."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._boot = secrets.token_hex(4)
        self._gateway: Gateway | None = None
        self.router = router = APIRouter()
        admitted = Depends(self.admit)

        @router.post("/v1/intents")
        async def open_intent(body: OpenBody, key: IdempotencyKey, terminal: Terminal = admitted) -> Response:
            opening, created = await self.gateway.intents.open(terminal, key, body)
            return json_response(answers.opened(opening), 201 if created else 200)

        @router.post("/v1/intents/{intent_id}/confirm")
        async def confirm(intent_id: str, body: ConfirmBody, terminal: Terminal = admitted) -> Response:
            record = await self.gateway.intents.confirm(terminal, intent_id, body)
            return json_response({"intent_id": intent_id, "state": record.state, "version": record.version}, 202)

        @router.post("/v1/intents/{intent_id}/cancel")
        async def cancel(intent_id: str, body: CancelBody, terminal: Terminal = admitted) -> Response:
            record = await self.gateway.intents.cancel(terminal, intent_id, body)
            return json_response({"intent_id": intent_id, "state": record.state, "version": record.version}, 202)

        @router.post("/v1/intents/{intent_id}/refunds")
        async def refund(
            intent_id: str, body: RefundBody, key: IdempotencyKey, terminal: Terminal = admitted
        ) -> Response:
            refund_id = await self.gateway.intents.refund(terminal, intent_id, key, body)
            return json_response({"refund_id": refund_id}, 202)

        self._for_waiting(router, admitted)
        self._for_operators(router)

    def _for_waiting(self, router: APIRouter, admitted: Any) -> None:  # noqa: ANN401 - FastAPI's own type of a dependency
        @router.get("/v1/intents/{intent_id}")
        async def look(
            intent_id: str,
            terminal: Terminal = admitted,
            wait_ms: WaitMs = 0,
            after_version: AfterVersion = None,
        ) -> Response:
            if wait_ms == 0:
                record = self.gateway.intents.record(terminal, intent_id)
            else:
                with self.gateway.door.waiting(terminal):
                    record = await self.gateway.intents.wait(terminal, intent_id, after_version, wait_ms)
            return json_response(answers.intent_view(intent_id, record))

        @router.get("/v1/intents/{intent_id}/events")
        async def events(
            intent_id: str,
            terminal: Terminal = admitted,
            last_event_id: Annotated[str, Header(alias="Last-Event-ID", max_length=64)] = "",
        ) -> Response:
            self.gateway.intents.record(terminal, intent_id)
            stream = self._stream(terminal, intent_id, self._resume_after(last_event_id))
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

        @router.get("/v1/lease")
        async def lease(request: Request, wait_ms: WaitMs = 0) -> Response:
            granted = await self.gateway.leases.ask(request, wait_ms)
            if granted is None:
                return Response(status_code=204, headers={"Cache-Control": "no-store"})
            return json_response(answers.lease(granted.opening, granted.until_us))

        @router.get("/v1/terminals/self")
        async def who_am_i(terminal: Terminal = admitted) -> Response:
            return json_response(
                {
                    "terminal_id": terminal.terminal_id,
                    "merchant_id": terminal.merchant_id,
                    "payee_id": terminal.payee_id,
                    "currency": terminal.currency,
                }
            )

    def _for_operators(self, router: APIRouter) -> None:
        @router.get("/metrics")
        async def metrics() -> Response:
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        @router.get("/livez")
        async def livez() -> Response:
            return json_response({"ok": True})

        @router.get("/readyz")
        async def readyz() -> Response:
            reason = self.gateway.not_ready_because
            return json_response({"ok": reason is None, "why": reason}, 200 if reason is None else 503)

    @property
    def gateway(self) -> Gateway:
        """The gateway in service."""
        if self._gateway is None:
            raise answers.not_ready()
        return self._gateway

    def serve(self, gateway: Gateway) -> None:
        """From now on requests go to this gateway."""
        self._gateway = gateway

    async def admit(self, request: Request) -> Terminal:
        """The terminal that asks."""
        return self.gateway.door.admit(request)

    def _resume_after(self, last_event_id: str) -> int:
        """The version in an id of ours, 0 for any other."""
        version, _, boot = last_event_id.partition(".")
        return int(version) if boot == self._boot and version.isdecimal() else 0

    async def _stream(self, terminal: Terminal, intent_id: str, after: int) -> AsyncIterator[bytes]:
        """Server-sent events of one intent, with a comment as a sign of life whenever nothing happens."""
        gateway = self.gateway
        ends_us = gateway.now_us() + STREAM_S * 1_000_000
        try:
            with gateway.door.waiting(terminal):
                yield b"retry: 1000\n\n"
                while not gateway.waiters.closed and gateway.now_us() < ends_us:
                    for version, fact in gateway.intents.record(terminal, intent_id).since(after):
                        after = version
                        if (told := answers.stream_event(fact)) is not None:
                            name, data = told
                            yield b"event: %b\nid: %d.%b\ndata: %b\n\n" % (
                                name.encode(),
                                version,
                                self._boot.encode(),
                                orjson.dumps(data),
                            )
                    if not await gateway.intents.has_news(terminal, intent_id, after, self._limits.heartbeat_s):
                        yield b": still here\n\n"
        except ApiError:
            return  # the intent was forgotten, or the terminal waits too often: the stream just ends
