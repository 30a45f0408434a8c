"""Is this process alive, and can it do its work? What `/livez`, `/readyz` and `/metrics` answer.

Liveness: the loop has gone round within `LIVE_S`. Readiness: every named condition holds (gallery loaded, Kafka
reached, ...) and the process is not silently stalled: records wait and none has been finished for `STALL_S`. A stalled
Kafka client looks healthy from inside (its assignment stays), so progress is judged by what was finished, and by
whether the broker still answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pipeline import metrics

LIVE_S = 60.0
STALL_S = 10.0


class Health:
    """The conditions of one process; any thread may write and read."""

    def __init__(
        self, agent: str, *, live_s: float = LIVE_S, stall_s: float = STALL_S, awaits: Sequence[str] = ()
    ) -> None:
        """`awaits`: conditions that somebody will set; until then the process is not ready."""
        self.agent = agent
        self._live_s = live_s
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._beat = time.monotonic()
        self._progress = time.monotonic()
        self._waiting = 0
        self._conditions: dict[str, tuple[bool, str]] = dict.fromkeys(awaits, (False, "the process is starting"))

    def beat(self) -> None:
        """The loop has gone round."""
        self._beat = time.monotonic()

    def progressed(self) -> None:
        """Something was finished: confirmed and acknowledged."""
        self._progress = time.monotonic()

    def waiting(self, records: int) -> None:
        """How many records wait by the newest knowledge; with none waiting there is no stall."""
        with self._lock:
            if self._waiting == 0 and records > 0:
                self._progress = time.monotonic()
            self._waiting = records
        metrics.LAG_RECORDS.labels(self.agent).set(records)

    def set_ready(self, name: str, ok: bool, why: str = "") -> None:  # noqa: FBT001 - the flag is the point
        """Sets one condition; `why` says what is missing."""
        with self._lock:
            self._conditions[name] = (ok, why)

    @property
    def live(self) -> bool:
        """Whether the loop has gone round lately."""
        return time.monotonic() - self._beat < self._live_s

    def missing(self) -> dict[str, str]:
        """What keeps the process from being ready: condition to reason, empty when ready."""
        with self._lock:
            found = {name: why or "not yet" for name, (ok, why) in self._conditions.items() if not ok}
            stalled_s = time.monotonic() - self._progress
            if self._waiting and stalled_s > self._stall_s:
                found["progress"] = f"{self._waiting} records wait and none was finished for {stalled_s:.0f} s"
        if not self.live:
            found["loop"] = "the loop does not go round"
        metrics.READY.labels(self.agent).set(0 if found else 1)
        return found


class HealthServer:
    """Serves a `Health` over HTTP on a thread of its own."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        self._health = health
        self._server = ThreadingHTTPServer((host, port), _handler(health))
        self._server.daemon_threads = True

    def start(self) -> int:
        """Starts serving; returns the port (a free one when 0 was asked for)."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()


def answers(health: Health) -> dict[str, Callable[[], tuple[int, str, bytes]]]:
    """Path to (status, content type, body)."""

    def livez() -> tuple[int, str, bytes]:
        return (200 if health.live else 503), "application/json", orjson.dumps({"live": health.live})

    def readyz() -> tuple[int, str, bytes]:
        missing = health.missing()
        body = orjson.dumps({"ready": not missing, "missing": missing})
        return (503 if missing else 200), "application/json", body

    def exposition() -> tuple[int, str, bytes]:
        health.missing()
        return 200, CONTENT_TYPE_LATEST, generate_latest()

    return {"/livez": livez, "/readyz": readyz, "/metrics": exposition}


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    known = answers(health)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = known.get(self.path.split("?", 1)[0])
            status, kind, body = answer() if answer else (404, "text/plain", b"not found")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class says so
            """Scrapes are no news."""

    return Handler
