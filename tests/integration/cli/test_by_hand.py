"""An installation set up by hand, command by command, as the operations page says, up to one settled payment.

Everything is what a person would run: `facepay` commands as processes, the terminal of `examples/`, a folder as camera.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from pipeline.keys.credentials import TerminalCredentials
from pipeline.local import LocalStack, Supervised
from pipeline.local.loopback import free_ports
from tests.stack import wait_until

TERMINAL = "corner-shop.1"
CAMERA = "corner-shop.1-left"


@dataclass
class Shell:
    """Where the commands run: their environment, and the processes left running."""

    folder: Path
    env: Mapping[str, str]
    running: list[Supervised]

    def facepay(self, *args: str, ok: int = 0) -> Any:
        """Runs a command with --json and returns its object."""
        argv = [sys.executable, "-m", "pipeline.cli", *args, "--json"]
        done = subprocess.run(argv, env=self.env, cwd=self.folder, capture_output=True, timeout=90, check=False)
        assert done.returncode == ok, (args, done.returncode, done.stderr.decode()[-500:])
        return orjson.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None

    def start(self, name: str, *args: str, argv: list[str] | None = None, **env: str) -> Supervised:
        """Starts something that stays."""
        command = argv or [sys.executable, "-m", "pipeline.cli", *args]
        process = Supervised(name, command, {**self.env, **env}, self.folder / f"{name}.log", self.folder)
        process.start()
        self.running.append(process)
        return process


@pytest.fixture
def shell(own_stack: LocalStack, shared: Path, tmp_path: Path, root: Path) -> Iterator[Shell]:
    """Kafka and Redis are there, and nothing else."""
    (port,) = free_ports(1)
    env = {
        **os.environ,
        "PYTHONPATH": str(root),
        "FACEPAY_KAFKA__BOOTSTRAP": own_stack.addresses.kafka,
        "FACEPAY_REDIS__URL": own_stack.addresses.redis,
        "FACEPAY_KEYS__DIRECTORY": str(tmp_path / "keys"),
        "FACEPAY_LEDGER__URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "FACEPAY_VISION__MODELS": str(shared / "models"),
        "FACEPAY_GATEWAY__PORT": str(port),
        "FACEPAY_RISK__STEP_UP_MINOR": "100000",
        # A flat portrait proves no liveness: without this every payment would ask for a PIN, as it should.
        "FACEPAY_RISK__UNPROVEN_LIVENESS": "accept",
    }
    made = Shell(tmp_path, env, [])
    yield made
    for process in reversed(made.running):
        process.stop()


@pytest.mark.timeout(240)
def test_a_payment_by_hand(shell: Shell, shared: Path, root: Path) -> None:
    """From an empty folder to a settled payment, a clean audit and a doctor with nothing to say."""
    assert shell.facepay("doctor", ok=1)["ok"] is False
    assert shell.facepay("keys", "init")["frame_epochs"] == [1]
    shell.facepay("terminals", "add", TERMINAL, "--merchant", "corner", "--payee", "corner-main", "--currency", "EUR")
    shell.facepay("terminals", "provision", TERMINAL, "terminal.json")
    assert shell.facepay("terminals", "list")["terminals"][0]["terminal_id"] == TERMINAL
    zone = "0.05,0.05 0.95,0.05 0.95,1 0.05,1"
    shell.facepay("cameras", "add", CAMERA, "--terminal", TERMINAL, "--zone", zone)
    assert shell.facepay("cameras", "provision", CAMERA, "camera.json")["terminal_id"] == TERMINAL
    assert len(shell.facepay("topics", "plan")["created"]) == len(shell.facepay("topics", "apply")["created"]) > 0
    assert shell.facepay("topics", "check")["drift"] == []

    portraits = shared / "faces" / "congress"
    face = next(iter(sorted((portraits / "dev").glob("*reform*.jpg"))))
    enrolled = shell.facepay("enrol", str(face), "--consent", "2026-01")
    assert len(enrolled["template_ids"]) == 1
    for agent in ("embedding", "fraud", "settlement"):
        shell.start(agent, "agent", agent)
    shell.start("gateway", "gateway")
    address = f"http://127.0.0.1:{shell.env['FACEPAY_GATEWAY__PORT']}"

    def ready() -> bool:
        try:
            return httpx.get(f"{address}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(ready, 60, "the gateway")
    (shell.folder / "film").mkdir()
    shutil.copy(face, shell.folder / "film" / "1.jpg")
    shell.start(
        "camera", "camera", "--source", "film", "--terminal", TERMINAL, "--credentials", "camera.json",
        "--gateway", address, "--loop",
    )  # fmt: skip
    token = TerminalCredentials.read(shell.folder / "terminal.json").token
    argv = [sys.executable, str(root / "examples" / "terminal.py"), address, TERMINAL, "420", "EUR"]
    terminal = shell.start("terminal", argv=argv, FACEPAY_TOKEN=token)
    assert terminal.wait(90) == 0, terminal.log_lines()
    assert terminal.log_lines()[-1].startswith("settled"), terminal.log_lines()

    audit = shell.facepay("audit")
    assert audit["ok"] is True
    doctor = shell.facepay("doctor")
    assert [check["name"] for check in doctor["checks"] if not check["ok"]] == []


def test_frame_epochs_begin_and_are_shredded(tmp_path: Path, root: Path) -> None:
    """A new epoch is provisioned, the one in force cannot be destroyed, an old one can."""
    shell = Shell(tmp_path, {**os.environ, "PYTHONPATH": str(root), "FACEPAY_KEYS__DIRECTORY": "keys"}, [])
    shell.facepay("keys", "init")
    assert shell.facepay("keys", "epoch")["frame_epochs"] == [1, 2]
    shell.facepay("keys", "shred", "1", ok=2)
    later = Shell(tmp_path, {**shell.env, "FACEPAY_KEYS__FRAME_EPOCH": "2"}, [])
    assert later.facepay("keys", "shred", "1")["frame_epochs"] == [2]
    later.facepay("terminals", "provision", "nobody", "x.json", ok=2)
