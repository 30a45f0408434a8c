"""Which terminals there are, whom they collect for, and the token by which a terminal is known.

The registry is `terminals.json` in the keyring's folder. A process notices an entry added by another one: each look
compares the file's identity and reads it again only when that changed.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson

from pipeline.errors import OutsideError, SettingsError
from pipeline.keys import private_files
from pipeline.keys.derivation import derive
from pipeline.keys.keyring import Keyring
from schemas.events import Currency, Name

_WHAT = "the terminal registry"


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal: a lane of its own, collecting for one payee in one currency."""

    terminal_id: Name
    merchant_id: Name
    payee_id: Name
    currency: Currency


class TerminalRegistry:
    """The terminals of an installation; `folder` is the keyring's."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "terminals.json"
        self._seen: tuple[int, int, int] | None = None
        self._terminals: Mapping[str, Terminal] = {}

    def add(self, terminal: Terminal) -> None:
        """Adds a terminal or changes what is known of it. Raises `SettingsError` for a malformed one."""
        try:
            msgspec.convert(orjson.loads(orjson.dumps(terminal)), Terminal, strict=True)
        except msgspec.ValidationError as error:
            raise SettingsError(f"adding a terminal to {self._path}: {error}") from None
        with private_files.locked(self._path.with_suffix(".lock")):
            known = {**self._read(), terminal.terminal_id: terminal}
            listed = [known[name] for name in sorted(known)]
            private_files.replace(self._path, orjson.dumps({"terminals": listed}, option=orjson.OPT_INDENT_2))

    def get(self, terminal_id: str) -> Terminal | None:
        """The terminal of that name, as of now. Raises `SettingsError` if the registry is damaged."""
        return self._current().get(terminal_id)

    def all(self) -> tuple[Terminal, ...]:
        """Every terminal, by name."""
        return tuple(self._current().values())

    def _current(self) -> Mapping[str, Terminal]:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OutsideError(f"opening {_WHAT} {self._path}: {error.strerror}") from None
        seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        if seen != self._seen:
            self._terminals, self._seen = self._read(), seen
        return self._terminals

    def _read(self) -> Mapping[str, Terminal]:
        if not self._path.exists():
            return {}
        raw = private_files.read(self._path, _WHAT)
        try:
            listed = msgspec.convert(orjson.loads(raw)["terminals"], list[Terminal], strict=True)
        except (orjson.JSONDecodeError, KeyError, TypeError, msgspec.ValidationError) as error:
            raise SettingsError(f"opening {_WHAT} {self._path}: it is damaged ({type(error).__name__})") from None
        return {terminal.terminal_id: terminal for terminal in listed}


def terminal_token(keyring: Keyring, terminal_id: str) -> str:
    """The bearer token by which the gateway knows a terminal: 64 hexadecimal digits."""
    return derive(keyring.secret("terminals"), "token", terminal_id).hex()


def is_terminal_token(keyring: Keyring, terminal_id: str, token: str) -> bool:
    """Whether `token` is the terminal's, in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(terminal_token(keyring, terminal_id).encode(), token.encode())
