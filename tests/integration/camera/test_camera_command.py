"""`facepay camera` as a process: it films a folder for a leased intent, stops on a signal, and says what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from pipeline.keys.credentials import provision, provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.frames import MAX_JPEG_BYTES, KeyringFrameOpener
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from pipeline.local import LocalStack
from pipeline.local.loopback import free_ports
from pipeline.runtime.admin import apply
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from tests.integration.camera.conftest import LeaseServer, now_us
from tests.stack import wait_until


@dataclass
class Command:
    root: Path
    env: dict[str, str]

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "camera", *map(str, arguments), "--json"],
            cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, *arguments: str | Path) -> tuple[int, dict[str, int], str]:
        """Exit code, the JSON object on standard output, standard error."""
        return ended(self.start(*arguments))


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, int], str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, json.loads(out.splitlines()[-1]) if out else {}, err


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three images; one of them, noise without loss, is far larger than a frame may be."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.jpg"), np.full((120, 160, 3), 80 * i, np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "2.png"), noise)
    assert (folder / "2.png").stat().st_size > MAX_JPEG_BYTES
    return folder


@pytest.fixture
def camera(own_stack: LocalStack, root: Path, tmp_path: Path, gateway: LeaseServer) -> Command:
    keyring = Keyring.create(tmp_path / "keys")
    for name in ("t-1", "t-2"):
        TerminalRegistry(keyring.folder).add(Terminal(name, "shop", "payee-1", "CNY"))
    credentials = provision_camera(keyring, DeviceRegistry(keyring.folder).add(Camera("t-1-camera", "t-1")), [1])
    credentials.write(tmp_path / "camera.json")
    DeviceRegistry(keyring.folder).add(Camera("side", "t-1", "ir"))
    DeviceRegistry(keyring.folder).add(Camera("t-2-camera", "t-2"))
    provision(keyring, "t-1").write(tmp_path / "t-1.json")
    gateway.token = credentials.token
    apply(Kafka(bootstrap=own_stack.addresses.kafka))
    env = {
        **os.environ,
        "FACEPAY_KAFKA__BOOTSTRAP": own_stack.addresses.kafka,
        "FACEPAY_KEYS__DIRECTORY": str(tmp_path / "keys"),
    }
    return Command(root, env)


@pytest.mark.slow
def test_a_folder_is_filmed_for_an_intent(
    camera: Command, gateway: LeaseServer, pictures: Path, tmp_path: Path
) -> None:
    """Each image of the folder is one sealed frame of at most two million bytes on the topic `frames`; a second run,
    with the camera's own credentials and no end, stops cleanly on SIGINT."""
    terms = gateway.open(120)
    code, report, said = camera("--source", pictures, "--terminal", "t-1", "--gateway", gateway.url)
    assert code == 0, said
    kafka = Kafka(bootstrap=camera.env["FACEPAY_KAFKA__BOOTSTRAP"])
    keyring = Keyring.open(tmp_path / "keys")
    registry, cameras = TerminalRegistry(keyring.folder), DeviceRegistry(keyring.folder).get
    opener = KeyringFrameOpener(keyring, registry, cameras=cameras, max_age_ms=600_000, max_skew_ms=0)
    frames = [opener.open(m, now_us()) for m in read_topic(kafka, "frames", read_committed=False)]
    assert report == {"frames": 3, "dropped": 0, "bytes": sum(len(frame.jpeg) + 28 for frame in frames)}
    assert [frame.terms for frame in frames] == [terms] * 3
    assert [frame.camera for frame in frames] == ["t-1-camera"] * 3
    assert 1_000_000 < max(len(frame.jpeg) for frame in frames) <= MAX_JPEG_BYTES

    (port,) = free_ports(1)
    endless = Command(camera.root, {**camera.env, "FACEPAY_METRICS__PORT": str(port)}).start(
        "--source", pictures, "--terminal", "t-1", "--gateway", gateway.url, "--credentials", tmp_path / "camera.json",
        "--loop", "--rate", "20",
    )  # fmt: skip
    wait_until(lambda: len(list(read_topic(kafka, "frames", read_committed=False))) > 6, 30, "more frames")
    assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    assert 'facepay_camera_frames_total{result="published"}' in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    endless.send_signal(signal.SIGINT)
    code, report, said = ended(endless)
    assert code == 0, said
    assert report["frames"] > 3


@pytest.mark.slow
def test_what_a_camera_needs(camera: Command, gateway: LeaseServer, pictures: Path, tmp_path: Path) -> None:
    """No source, another lane's or another camera's credentials, a terminal's, a camera that is not registered, a
    refused token, no gateway, no Kafka: one sentence each, its exit code, and a bounded time."""
    wanted = ("--source", pictures, "--terminal", "t-1")
    gateway_at = ("--gateway", gateway.url)
    rows: list[tuple[tuple[str | Path, ...], dict[str, str], int, str]] = [
        (("--source", tmp_path / "none", "--terminal", "t-1", *gateway_at), {}, 2, "no such file or folder"),
        (("--source", pictures, "--terminal", "t-2", "--credentials", tmp_path / "camera.json"), {}, 2, "not of t-2"),
        ((*wanted, "--credentials", tmp_path / "camera.json", "--name", "side"), {}, 2, "not of side"),
        ((*wanted, "--credentials", tmp_path / "t-1.json"), {}, 2, "provision the camera again"),
        ((*wanted, "--name", "t-2-camera", *gateway_at), {}, 2, "it is registered for t-2"),
        ((*wanted, "--name", "none", *gateway_at), {}, 2, "facepay cameras add none --terminal t-1"),
        ((*wanted, "--name", "side", *gateway_at), {}, 2, "refuses the camera side"),
        ((*wanted, "--gateway", "http://127.0.0.1:1"), {}, 3, "facepay gateway"),
        ((*wanted, *gateway_at), {"FACEPAY_KAFKA__BOOTSTRAP": "127.0.0.1:1"}, 3, "127.0.0.1:1"),
        ((*wanted, *gateway_at), {"FACEPAY_KEYS__DIRECTORY": str(tmp_path / "none")}, 2, "no such folder"),
    ]
    for arguments, env, code, says in rows:
        start = time.monotonic()
        got, _, said = Command(camera.root, {**camera.env, **env})(*arguments)
        assert (got, says in said, said.count("facepay:")) == (code, True, 1), said
        assert time.monotonic() - start < 30
