"""The FastAPI application and the server around it.

`create_app` builds the application, `run` serves it until SIGTERM: waits are let go, requests finish, commands that are
on their way are confirmed, then the process ends with 0.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipeline.errors import OutsideError
from pipeline.gateway.answers import ApiError
from pipeline.gateway.edge import Measured
from pipeline.gateway.routes import Routes
from pipeline.gateway.service import Gateway, GatewayDeps

log = structlog.get_logger()

_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,63}")


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
    text = "; ".join(f"{'.'.join(_field(part) for part in p['loc'])}: {p['type']}" for p in problems)
    return ApiError(422, "invalid_request", f"the request is not understood: {text}"[:500]).response()


def _field(part: int | str) -> str:
    """A field as it may be repeated: a caller who mixes up names and values would have a number in its place."""
    return str(part) if isinstance(part, int) or _NAME.fullmatch(part) else "?"


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
