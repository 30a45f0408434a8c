"""Who may call, how much and how often; and what is measured of it.

`Doorkeeper` knows a terminal by its token (compared in constant time; an unknown terminal costs the same) and bounds
its requests and its open waits. `Measured` is the outermost ASGI layer: it refuses bodies over 16 KiB before they are
read into memory, and observes the time to the first byte of each answer by route template, never by id.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline import metrics
from pipeline.gateway.answers import ApiError, unauthorised
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry, is_terminal_token
from pipeline.ports import Clock

MAX_BODY_BYTES = 16 * 1024
MAX_NAME = 64


@dataclass(slots=True)
class _Bucket:
    """Tokens left of one terminal, and when that was so."""

    tokens: float
    at_us: int


class Doorkeeper:
    """Lets terminals in: `rate_per_s` requests on average, twice that in a burst, `waits` waits at once."""

    def __init__(
        self, keyring: Keyring, registry: TerminalRegistry, clock: Clock, *, rate_per_s: int, waits: int
    ) -> None:
        self._keyring = keyring
        self._registry = registry
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._waits = waits
        self._buckets: dict[str, _Bucket] = {}
        self._waiting: dict[str, int] = {}

    def admit(self, request: Request) -> Terminal:
        """The terminal that asks; raises `ApiError` 401 or 429."""
        name = request.headers.get("x-terminal-id", "")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not name or len(name) > MAX_NAME or not name.isascii() or scheme.lower() != "bearer":
            raise unauthorised()
        # The token is compared before the registry is asked, so that both kinds of stranger take the same time.
        right = is_terminal_token(self._keyring, name, token.strip())
        terminal = self._registry.get(name)
        if terminal is None or not right:
            raise unauthorised()
        self._spend(name)
        return terminal

    @contextmanager
    def waiting(self, terminal: Terminal) -> Iterator[None]:
        """Around a wait; raises `ApiError` 429 when the terminal has too many."""
        name = terminal.terminal_id
        count = self._waiting.get(name, 0)
        if count >= self._waits:
            raise ApiError(429, "too_many_waits", "this terminal waits too often at once", retry_after_s=1)
        self._waiting[name] = count + 1
        try:
            yield
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]

    def _spend(self, name: str) -> None:
        now_us = self._clock()
        most = 2.0 * self._rate_per_s
        bucket = self._buckets.setdefault(name, _Bucket(most, now_us))
        gained = max(0, now_us - bucket.at_us) * self._rate_per_s / 1_000_000
        bucket.tokens, bucket.at_us = min(most, bucket.tokens + gained), now_us
        if bucket.tokens < 1.0:
            raise ApiError(429, "too_many_requests", "this terminal asks too often; slow down", retry_after_s=1)
        bucket.tokens -= 1.0


class Measured:
    """The ASGI layer around the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        observed = False

        async def observe(message: Message) -> None:
            nonlocal observed
            if message["type"] == "http.response.start" and not observed:
                observed = True
                route = getattr(scope.get("route"), "path", "unmatched")
                status = f"{message['status'] // 100}xx"
                metrics.HTTP.labels(route, status).observe(time.perf_counter() - began)
            await send(message)

        try:
            body = await _bounded_body(scope, receive)
        except ApiError as error:
            await error.response()(scope, receive, observe)
            return

        async def replay() -> Message:
            return body.pop(0) if body else await receive()

        await self._app(scope, replay, observe)


async def _bounded_body(scope: Scope, receive: Receive) -> list[Message]:
    """The body's messages, at most `MAX_BODY_BYTES` of them; raises `ApiError` 413."""
    if scope["method"] in {"GET", "HEAD"}:
        return []
    too_large = ApiError(413, "too_large", f"a request has at most {MAX_BODY_BYTES} bytes")
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    if not announced.isdigit() or int(announced) > MAX_BODY_BYTES:
        raise too_large
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise too_large
        if message["type"] != "http.request" or not message.get("more_body", False):
            return messages
