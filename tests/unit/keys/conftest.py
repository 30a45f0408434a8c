"""A keyring, a registry of two terminals, and terms to seal."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.frames import KeyringFrameOpener
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from tests.unit.keys.frame_world import World


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keys")


@pytest.fixture
def registry(keyring: Keyring) -> TerminalRegistry:
    registry = TerminalRegistry(keyring.folder)
    for name in ("t-1", "t-2"):
        registry.add(Terminal(name, "shop", "payee-1", "CNY"))
    return registry


@pytest.fixture
def world(keyring: Keyring, registry: TerminalRegistry) -> World:
    devices = DeviceRegistry(keyring.folder)
    devices.add(Camera("cam-1", "t-1"))
    devices.add(Camera("cam-2", "t-2"))
    opener = KeyringFrameOpener(keyring, registry, cameras=devices.get, max_age_ms=10_000, max_skew_ms=2_000)
    return World(keyring, devices, opener)
