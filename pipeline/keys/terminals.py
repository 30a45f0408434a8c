"""Which terminals there are, whom they collect for, and the token by which a terminal is known.

The registry is `terminals.json` in the keyring's folder (`registry_file`).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from pipeline.keys.derivation import derive
from pipeline.keys.keyring import Keyring
from pipeline.keys.registry_file import RegistryFile
from schemas.events import Currency, Name


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal: a lane of its own, collecting for one payee in one currency."""

    terminal_id: Name
    merchant_id: Name
    payee_id: Name
    currency: Currency


class TerminalRegistry:
    """The terminals of an installation; `folder` is the keyring's. Each look sees what is in the file now."""

    def __init__(self, folder: Path) -> None:
        self._file = RegistryFile(
            folder / "terminals.json",
            what="the terminal registry",
            listed_as="terminals",
            kind=Terminal,
            name_of=lambda terminal: terminal.terminal_id,
        )

    def add(self, terminal: Terminal) -> None:
        """Adds a terminal or changes what is known of it. Raises `SettingsError` for a malformed one."""
        with self._file.changing() as terminals:
            terminals[terminal.terminal_id] = terminal

    def get(self, terminal_id: str) -> Terminal | None:
        """The terminal of that name, as of now. Raises `SettingsError` if the registry is damaged."""
        return self._file.current().get(terminal_id)

    def all(self) -> tuple[Terminal, ...]:
        """Every terminal, by name."""
        return tuple(self._file.current().values())


def terminal_token(keyring: Keyring, terminal_id: str) -> str:
    """The bearer token by which the gateway knows a terminal: 64 hexadecimal digits."""
    return derive(keyring.secret("terminals"), "token", terminal_id).hex()


def is_terminal_token(keyring: Keyring, terminal_id: str, token: str) -> bool:
    """Whether `token` is the terminal's, in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(terminal_token(keyring, terminal_id).encode(), token.encode())
