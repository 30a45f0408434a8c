"""What the tests of the local stack share: a look at processes, and a mirror of the jars that can misbehave."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.local.jars import jar_dir, ready_jars
from pipeline.local.pins import Jar, read_pins


class Mirror:
    """A repository of the pinned jars on this machine. `faults` names what goes wrong for a jar, by its file name.

    `cut`: half of the bytes, then the connection ends. `cut once`: so for the first request only. `cut untold`: so,
    with no length announced. `wrong`: other bytes of the same number. `longer`: more bytes than pinned. `endless`:
    bytes without end. `missing`: 404. `stall`: half of the bytes, then nothing until `go_on` is set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.go_on = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.rsplit("/", 1)[1]
        self.asked[name] += 1
        fault = self.faults.get(name)
        path = self.folder / name
        if fault == "missing" or not path.exists():
            request.send_error(404)
            return
        content = path.read_bytes()
        if fault == "wrong":
            content = bytes([content[0] ^ 1]) + content[1:]
        if fault == "longer":
            content += b"more"
        request.send_response(200)
        if fault in ("endless", "cut untold"):
            request.end_headers()
            with contextlib.suppress(OSError):
                request.wfile.write(content[: len(content) // 2])
                while fault == "endless":
                    request.wfile.write(content)
            return
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if fault == "cut" or (fault == "cut once" and self.asked[name] == 1):
            request.wfile.write(content[: len(content) // 2])
            return
        if fault == "stall":
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
            self.go_on.wait(60)
            return
        request.wfile.write(content)


@pytest.fixture(scope="session")
def pins() -> list[Jar]:
    return read_pins()


@pytest.fixture(scope="session")
def warm_jars() -> Path:
    """The user's cache of jars, complete."""
    ready_jars()
    return jar_dir()


@pytest.fixture
def mirror(warm_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror that serves the jars to a cache of this test's own, empty at first."""
    serving = Mirror(warm_jars)
    thread = threading.Thread(target=serving.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("FACEPAY_MAVEN_REPOSITORY", serving.address)
    monkeypatch.setenv("FACEPAY_CACHE", str(tmp_path / "cache"))
    yield serving
    serving.go_on.set()
    serving.server.shutdown()
    serving.server.server_close()
    thread.join()
