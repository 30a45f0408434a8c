"""Who may call, how much and how often; and what is measured of it.

`Doorkeeper` knows a terminal and a camera by their tokens (compared in constant time; an unknown one costs the same)
and bounds their requests and their open waits. A terminal says who it is in X-Terminal-Id; a camera in X-Camera-Id,
and in X-Terminal-Id whose lane it films. Neither's token is worth anything in the other's place. `Measured` is the
outermost ASGI layer: it refuses bodies over 16 KiB before they are read into memory, and observes the time to the first
byte of each answer by route template, never by id.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline import metrics
from pipeline.gateway.answers import ApiError, another_lane, no_camera, not_a_camera, unauthorised
from pipeline.keys.devices import Camera, DeviceRegistry, is_camera_token
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry, is_terminal_token
from pipeline.ports import Clock

MAX_BODY_BYTES = 16 * 1024
MAX_NAME = 64


@dataclass(slots=True)
class _Bucket:
    """Tokens left of one caller, and when that was so."""

    tokens: float
    at_us: int


Caller = tuple[str, str]
"""What asks, and its name: a camera may be called as its terminal is."""


class Doorkeeper:
    """Lets terminals and cameras in: each `rate_per_s` requests on average, twice that in a burst, `waits` waits at
    once."""

    def __init__(
        self,
        keyring: Keyring,
        registry: TerminalRegistry,
        devices: DeviceRegistry,
        clock: Clock,
        *,
        rate_per_s: int,
        waits: int,
    ) -> None:
        self._keyring = keyring
        self._registry = registry
        self._devices = devices
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._waits = waits
        self._buckets: dict[Caller, _Bucket] = {}
        self._waiting: dict[Caller, int] = {}

    def admit(self, request: Request) -> Terminal:
        """The terminal that asks; raises `ApiError` 401 or 429."""
        name, token = _name(request, "x-terminal-id"), _token(request)
        if name is None or token is None:
            raise unauthorised()
        # The token is compared before the registry is asked, so that both kinds of stranger take the same time.
        right = is_terminal_token(self._keyring, name, token)
        terminal = self._registry.get(name)
        if terminal is None or not right:
            raise unauthorised()
        self._spend(("terminal", name))
        return terminal

    def admit_camera(self, request: Request) -> Camera:
        """The camera that asks, for the lane that it is registered for; raises `ApiError` 401, 403 or 429."""
        if "x-camera-id" not in request.headers:
            self.admit(request)
            raise not_a_camera()
        name, lane, token = _name(request, "x-camera-id"), _name(request, "x-terminal-id"), _token(request)
        if name is None or token is None:
            raise no_camera()
        camera = self._devices.get(name)
        # A token is compared for a stranger too, so that every refusal takes the same time.
        right = is_camera_token(self._keyring, camera or Camera(name, ""), token)
        if camera is None or not right:
            raise no_camera()
        self._spend(("camera", name))
        if lane != camera.terminal_id or self._registry.get(camera.terminal_id) is None:
            raise another_lane()
        return camera

    def is_still(self, camera: Camera) -> bool:
        """Whether a camera that was let in is registered as it was then: while it waited somebody may have removed it,
        moved it to another lane or renewed its token."""
        now = self._devices.get(camera.camera_id)
        return now is not None and (now.terminal_id, now.registration) == (camera.terminal_id, camera.registration)

    @contextmanager
    def waiting(self, who: Terminal | Camera) -> Iterator[None]:
        """Around a wait; raises `ApiError` 429 when that terminal or camera has too many."""
        caller = ("camera", who.camera_id) if isinstance(who, Camera) else ("terminal", who.terminal_id)
        count = self._waiting.get(caller, 0)
        if count >= self._waits:
            raise ApiError(429, "too_many_waits", f"this {caller[0]} waits too often at once", retry_after_s=1)
        self._waiting[caller] = count + 1
        try:
            yield
        finally:
            self._waiting[caller] -= 1
            if not self._waiting[caller]:
                del self._waiting[caller]

    def _spend(self, caller: Caller) -> None:
        now_us = self._clock()
        most = 2.0 * self._rate_per_s
        bucket = self._buckets.setdefault(caller, _Bucket(most, now_us))
        gained = max(0, now_us - bucket.at_us) * self._rate_per_s / 1_000_000
        bucket.tokens, bucket.at_us = min(most, bucket.tokens + gained), now_us
        if bucket.tokens < 1.0:
            raise ApiError(429, "too_many_requests", f"this {caller[0]} asks too often; slow down", retry_after_s=1)
        bucket.tokens -= 1.0


def _name(request: Request, header: str) -> str | None:
    """A name that a registry could know, from a header; None for anything else."""
    name = request.headers.get(header, "")
    return name if 0 < len(name) <= MAX_NAME and name.isascii() else None


def _token(request: Request) -> str | None:
    """The bearer token of a request, if it has one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


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
