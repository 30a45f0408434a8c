"""A keyring, a registry of two terminals, and terms to seal."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keys")


@pytest.fixture
def registry(keyring: Keyring) -> TerminalRegistry:
    registry = TerminalRegistry(keyring.folder)
    for name in ("t-1", "t-2"):
        registry.add(Terminal(name, "shop", "payee-1", "CNY"))
    return registry
