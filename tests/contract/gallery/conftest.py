"""A PostgreSQL of the session's own, where its programs can be had."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _user() -> str | None:
    """PostgreSQL refuses to run as root: whom it runs as then."""
    if os.geteuid() != 0:
        return None
    return next((name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of an empty database; skips where there is no PostgreSQL."""
    initdb, server = shutil.which("initdb"), shutil.which("postgres")
    user = _user()
    if initdb is None or server is None or (os.geteuid() == 0 and user is None):
        pytest.skip("there is no PostgreSQL on this machine")
    folder = Path(tempfile.mkdtemp(prefix="facepay-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    subprocess.run(
        [initdb, "-D", data, "-U", "facepay", "-A", "trust", "-N"], user=user, cwd=folder, check=True,
        capture_output=True,
    )  # fmt: skip
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [server, "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
        user=user, cwd=folder, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        yield f"postgresql+psycopg://facepay@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(30)
        log.close()
        shutil.rmtree(folder)
