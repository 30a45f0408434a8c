"""The FastAPI application: routes, and what lives as long as the process.

`create_app` builds the application, `run` serves it until SIGTERM: waits are let go, requests finish, commands that are
on their way are confirmed, then the process ends with 0.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipeline import metrics
from pipeline.errors import OutsideError
from pipeline.gateway.answers import ApiError
from pipeline.gateway.book import Key
from pipeline.gateway.commands import CommandSender
from pipeline.gateway.edge import Doorkeeper, Measured
from pipeline.gateway.feed import Feed
from pipeline.gateway.intents import Intents
from pipeline.gateway.pins import PinDesk, Profiles
from pipeline.gateway.routes import Routes
from pipeline.gateway.waiting import Waiters
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import TerminalRegistry
from pipeline.ports import Clock
from pipeline.settings import Settings

log = structlog.get_logger()

EVICT_S = 10.0
PIN_TIMEOUT_S = 0.5
"""A PIN is typed by a person and is not on the path of a payment's milliseconds: Redis gets this long at least."""


@dataclass(frozen=True, slots=True)
class GatewayDeps:
    """What the gateway is given."""

    settings: Settings
    keyring: Keyring
    registry: TerminalRegistry
    clock: Clock
    on_listening: Callable[[str, int], None] = field(default=lambda *_: None)
    """Called with the address once it takes connections."""


class Gateway:
    """Everything that lives as long as the process; made on its event loop."""

    def __init__(self, deps: GatewayDeps) -> None:
        settings = deps.settings
        edge = settings.gateway
        timeout_s = edge.command_timeout_ms / 1_000
        self._clock = deps.clock
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self.waiters = Waiters(self._loop)
        self.door = Doorkeeper(
            deps.keyring, deps.registry, deps.clock, rate_per_s=edge.rate_per_s, waits=edge.waits_per_terminal
        )
        self.sender = CommandSender(settings.kafka, timeout_s=timeout_s)
        profiles = Profiles()
        self.pins = PinDesk(
            profiles,
            deps.keyring,
            settings.redis.url,
            max(PIN_TIMEOUT_S, settings.redis.timeout_ms / 1_000),
            edge.max_pin_failures,
            edge.pin_lock_s,
        )
        self.feed = Feed(
            settings.kafka,
            profiles,
            self.waiters,
            deps.clock,
            history_us=edge.history_s * 1_000_000,
            on_hint=self._hint_from_thread,
        )
        self.intents = Intents(
            feed=self.feed,
            sender=self.sender,
            waiters=self.waiters,
            pins=self.pins,
            clock=deps.clock,
            confirmation_key=deps.keyring.secret("confirmation"),
            default_ttl_ms=edge.intent_ttl_ms,
            key_epoch=settings.keys.frame_epoch,
            timeout_s=timeout_s,
        )

    @property
    def not_ready_because(self) -> str | None:
        """Why no terminal should be sent here; None when ready."""
        if self.waiters.closed:
            return "ending"
        if not self.feed.caught_up:
            return "reading what happened"
        if not self.sender.reachable:
            return "Kafka cannot be reached"
        return None

    def now_us(self) -> int:
        """The time by the gateway's clock."""
        return self._clock()

    async def start(self) -> None:
        """Starts sending and reading; returns at once. Kafka may still be down, then the readers wait for it."""
        self.sender.start()
        self.feed.start()
        self._tasks = [asyncio.create_task(self._keep_house())]

    async def stop(self) -> None:
        """Lets waits go, finishes what was sent, ends the readers."""
        self.waiters.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.sender.stop)
        await asyncio.to_thread(self.feed.stop)
        await self.pins.close()

    async def _keep_house(self) -> None:
        """Notes hints that came while the book was read, then forgets old intents from time to time."""
        while self.not_ready_because is not None:
            metrics.READY.labels("gateway").set(0)
            await asyncio.sleep(0.1)
        for key in self.feed.look(lambda book: book.unnoted(self._clock())):
            self.intents.note_hint(key)
        while True:
            metrics.READY.labels("gateway").set(self.not_ready_because is None)
            self.feed.look(lambda book: book.evict(self._clock()))
            await asyncio.sleep(EVICT_S)

    def _hint_from_thread(self, key: Key) -> None:
        self._loop.call_soon_threadsafe(self.intents.note_hint, key)


def create_app(deps: GatewayDeps) -> FastAPI:
    """The application; its lifespan starts and stops the gateway."""
    routes = Routes(deps.settings.gateway)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        gateway = Gateway(deps)
        app.state.gateway = gateway
        routes.serve(gateway)
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()

    app = FastAPI(title="facepay gateway", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(routes.router)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(Measured)
    return app


async def _api_error(request: Request, error: Exception) -> Response:
    del request
    return error.response() if isinstance(error, ApiError) else await _unexpected(None, error)


async def _invalid(request: Request, error: Exception) -> Response:
    """Names each wrong field, never what was in it: it might be a PIN."""
    del request
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    text = "; ".join(f"{'.'.join(str(part) for part in p['loc'])}: {p['type']}" for p in problems)
    return ApiError(422, "invalid_request", f"the request is not understood: {text}"[:500]).response()


async def _http_error(request: Request, error: Exception) -> Response:
    del request
    status = error.status_code if isinstance(error, HTTPException) else 500
    codes = {404: ("no_such_route", "there is nothing here"), 405: ("wrong_method", "this route has another method")}
    code, message = codes.get(status, ("refused", "the request was refused"))
    return ApiError(status, code, message).response()


async def _unexpected(request: Request | None, error: Exception) -> Response:
    """Our own fault: the type is logged, no message and no locals, for they may hold what a person typed."""
    del request
    log.error("a request failed", error=type(error).__name__)
    return ApiError(500, "internal_error", "the gateway failed; repeat the request with the same key").response()


class _Server(uvicorn.Server):
    """uvicorn, with waits let go first when it is told to end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends: open waits are answered, so that they do not hold the end up."""
        self._app.state.gateway.waiters.close()
        await super().shutdown(sockets)


def run(deps: GatewayDeps) -> int:
    """Serves until SIGTERM or SIGINT, then returns 0; raises `OutsideError` when the address cannot be served."""
    edge = deps.settings.gateway
    app = create_app(deps)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=10)
    with _listening(edge.host, edge.port) as listener:
        host, port = listener.getsockname()[:2]
        log.info("gateway listens", host=host, port=port)
        deps.on_listening(host, port)
        server = _Server(config, app)
        with _quiet_end():
            server.run(sockets=[listener])
    return 0 if server.started else OutsideError.exit_code


@contextmanager
def _quiet_end() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more when it is done; a clean end is not a death by signal."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that already takes connections; those that come before the application is up wait for it."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise OutsideError(
            f"serving the gateway at {host}:{port}: {error.strerror}; choose another one by FACEPAY_GATEWAY__PORT"
        ) from None
