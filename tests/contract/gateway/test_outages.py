"""The gateway when Kafka is away, slow to confirm, or when the gateway itself is killed: never half a yes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pipeline.errors import OutsideError
from pipeline.gateway.app import run
from pipeline.gateway.service import GatewayDeps
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import TerminalRegistry
from pipeline.local import LocalStack
from pipeline.settings import Kafka
from tests.contract.gateway.conftest import World, error_of, make_world
from tests.stack import wait_until

PROGRAM = """
import sys, time
from pathlib import Path
from pipeline.gateway import intents
from pipeline.gateway.app import run
from pipeline.gateway.service import GatewayDeps
from pipeline.keys.devices import DeviceRegistry
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import TerminalRegistry
from pipeline.settings import Settings
settings = Settings()
keyring = Keyring.open(settings.keys.directory)
sys.exit(run(GatewayDeps(settings, keyring, TerminalRegistry(keyring.folder), DeviceRegistry(keyring.folder),
                         lambda: time.time_ns() // 1000, lambda host, port: print(f"at {host}:{port}", flush=True))))
"""
DIES_BEFORE_ANSWERING = """
import os, signal
from pipeline.gateway import intents
deliver = intents.Intents._deliver
async def deliver_then_die(self, command):
    await deliver(self, command)
    os.kill(os.getpid(), signal.SIGKILL)
intents.Intents._deliver = deliver_then_die
"""


@pytest.fixture
def own_world(tmp_path: Path, own_stack: LocalStack) -> World:
    """A world on a Kafka of this test's own; commands are given up after a second."""
    world = make_world(tmp_path, own_stack.addresses.kafka, own_stack.addresses.redis)
    world.limits = {"command_timeout_ms": 1_000}
    return world


class Process:
    """A gateway as a process."""

    def __init__(self, world: World, root: Path, before: str = "") -> None:
        settings = world.settings
        env = {
            **os.environ,
            "FACEPAY_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
            "FACEPAY_REDIS__URL": settings.redis.url,
            "FACEPAY_KEYS__DIRECTORY": str(settings.keys.directory),
            "FACEPAY_GATEWAY__PORT": "0",
        }
        self.child = subprocess.Popen(
            [sys.executable, "-c", before + PROGRAM], cwd=root, env=env, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        found = None
        while found is None:
            line = self.child.stdout.readline()
            assert line, "the gateway ended"
            found = re.match(r"at (.*)", line)
        self.url = f"http://{found[1]}"
        wait_until(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, 60, "the gateway is ready")

    def end(self) -> None:
        """Ends it if it has not ended, and closes its pipe."""
        self.child.kill()
        self.child.wait(30)
        assert self.child.stdout is not None
        self.child.stdout.close()


@contextmanager
def process(world: World, root: Path, before: str = "") -> Iterator[Process]:
    """A gateway as a process while the block runs."""
    one = Process(world, root, before)
    try:
        yield one
    finally:
        one.end()


def test_kafka_away_and_back(own_world: World, own_stack: LocalStack) -> None:
    """With Kafka gone a command is refused or its fate is unknown, said so with Retry-After, and readiness is false;
    what is known is still shown. When Kafka is back, the same request with the same key is answered, and there is one
    intent in the book."""
    world = own_world
    with world.gateway() as served, world.till(served, world.terminal()) as till:
        terms = till.opened("before")
        own_stack.kafka.stop()
        first = till.open("during")
        assert error_of(first) in {(503, "kafka_unavailable"), (504, "unknown_outcome")}
        assert "Retry-After" in first.headers
        wait_until(lambda: httpx.get(f"{served.url}/readyz").status_code == 503, 30, "readiness is false")
        began = time.monotonic()
        assert error_of(till.open("during")) == (503, "kafka_unavailable")
        assert time.monotonic() - began < 1.0, "known to be down: refused at once"
        assert till.look(terms.intent_id)["state"] == "open"
        own_stack.kafka.start()
        wait_until(lambda: httpx.get(f"{served.url}/readyz").status_code == 200, 60, "readiness is back")
        wait_until(lambda: till.open("during").status_code in {200, 201}, 60, "the request is answered")
        intent_id = till.open("during").json()["intent_id"]
        wait_until(lambda: len(world.commands(intent_id)) >= 1, 30, "its command is there")
        world.settle(terms)
        till.until(terms.intent_id, "settled")


def test_a_broker_that_hangs_is_unknown_outcome(own_world: World, own_stack: LocalStack) -> None:
    """A broker that takes commands and does not confirm: 504 in time, never a yes; the repeat is the same intent."""
    world = own_world
    with world.gateway() as served, world.till(served, world.terminal()) as till:
        terms = till.opened("before")
        own_stack.kafka.pause()
        try:
            began = time.monotonic()
            answer = till.open("during")
            took_s = time.monotonic() - began
            cancelled = till.http.post(f"/v1/intents/{terms.intent_id}/cancel", json={})
        finally:
            own_stack.kafka.resume()
        assert error_of(answer) == error_of(cancelled) == (504, "unknown_outcome")
        assert "Idempotency-Key" in answer.json()["error"]["message"]
        assert took_s < 5
        wait_until(lambda: till.open("during").status_code in {200, 201}, 60, "the repeat is answered")


def test_kafka_down_at_start(tmp_path: Path, redis_url: str, own_stack: LocalStack) -> None:
    """Without Kafka the gateway serves, is live and not ready, refuses with 503, and is ready when Kafka comes."""
    world = make_world(tmp_path, own_stack.addresses.kafka, redis_url)
    own_stack.kafka.stop()
    with world.gateway(ready=False) as served, world.till(served, world.terminal()) as till:
        assert httpx.get(f"{served.url}/livez").status_code == 200
        assert httpx.get(f"{served.url}/readyz").status_code == 503
        assert error_of(till.open()) == (503, "not_ready")
        assert error_of(till.http.get("/v1/intents/unknown")) == (503, "not_ready")
        assert error_of(till.lease()) == (503, "not_ready")
        own_stack.kafka.start()
        wait_until(lambda: httpx.get(f"{served.url}/readyz").status_code == 200, 60, "it is ready")
        assert till.opened().amount_minor == 2_350


def test_kill_9_before_the_answer(tmp_path: Path, kafka: str, redis_url: str, root: Path) -> None:
    """A gateway that dies after the command was confirmed and before it answered: the repeat at its successor finds
    the intent, and there is one command."""
    world = make_world(tmp_path, kafka, redis_url)
    terminal_id = world.terminal()
    with process(world, root, DIES_BEFORE_ANSWERING) as dying, world.till(dying, terminal_id) as till:
        with pytest.raises(httpx.TransportError):
            till.open("key")
        assert dying.child.wait(30) == -signal.SIGKILL
    with process(world, root) as successor, world.till(successor, terminal_id) as till:
        answer = till.open("key")
        assert answer.status_code == 200
        assert len(world.commands(answer.json()["intent_id"])) == 1


def test_sigterm_lets_waits_go(tmp_path: Path, kafka: str, redis_url: str, root: Path) -> None:
    """On SIGTERM open polls and streams are answered and the process ends with 0, long before the polls' own time."""
    world = make_world(tmp_path, kafka, redis_url)
    with process(world, root) as gateway, world.till(gateway, world.terminal()) as till:
        terms = till.opened()
        answers: list[int] = []
        polling = threading.Thread(
            target=lambda: answers.append(till.look(terms.intent_id, wait_ms=30_000, after_version=1)["version"])
        )
        polling.start()
        with till.http.stream("GET", f"/v1/intents/{terms.intent_id}/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 1000"
            began = time.monotonic()
            gateway.child.send_signal(signal.SIGTERM)
            list(lines)
        polling.join(20)
        assert answers == [1]
        assert gateway.child.wait(20) == 0
        assert time.monotonic() - began < 15


def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    """A port that somebody holds is one sentence that names it, before anything is started."""
    keyring = Keyring.create(tmp_path / "keys")
    world = World(Kafka(bootstrap="127.0.0.1:1"), "redis://127.0.0.1:1/0", keyring, TerminalRegistry(keyring.folder))
    with socket.create_server(("127.0.0.1", 0)) as holder:
        world.limits = {"port": holder.getsockname()[1]}
        with pytest.raises(OutsideError, match=r"serving the gateway at 127.0.0.1:\d+: .*in use"):
            run(
                GatewayDeps(world.settings, world.keyring, world.registry, world.devices, lambda: 1_764_000_000_000_000)
            )
