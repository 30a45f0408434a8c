"""One Redis for the tests of the hot tier, apart from the session's: they kill, pause and flush it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.keys.keyring import Keyring
from pipeline.local.redis_server import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """It runs at the begin of each test; a test that stops it starts it again."""
    running = RedisServer(tmp_path_factory.mktemp("hot") / "redis")
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def url(server: RedisServer) -> str:
    """Its address."""
    return server.address


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """The keys of an installation."""
    return Keyring.create(tmp_path / "keys")
