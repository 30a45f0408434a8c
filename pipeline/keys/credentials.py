"""What a terminal and its cameras are given: a token for the gateway and the frame keys of some epochs.

Derived keys only: a stolen file lets the thief act as that one terminal, and open that one terminal's frames, until
its epochs end; it opens no other terminal's frames and holds no root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import orjson
from msgspec import Meta

from pipeline.errors import SettingsError
from pipeline.keys import private_files
from pipeline.keys.derivation import derive
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import terminal_token
from schemas.events import Name, Sha256

_WHAT = "the terminal credentials"


@dataclass(frozen=True, slots=True)
class _File:
    """The credentials as JSON: keys in hexadecimal."""

    terminal_id: Name
    token: Sha256
    frame_keys: dict[
        Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,8}$")], Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    ]


@dataclass(frozen=True, slots=True)
class TerminalCredentials:
    """`frame_keys`: 32-byte keys by epoch. Neither they nor the token show in a representation."""

    terminal_id: str
    token: str = field(repr=False)
    frame_keys: Mapping[int, bytes] = field(repr=False)

    def write(self, path: Path) -> None:
        """Writes a file of mode 0600 in one step. Raises `OutsideError`."""
        keys = {str(epoch): key.hex() for epoch, key in sorted(self.frame_keys.items())}
        private_files.replace(path, orjson.dumps(_File(self.terminal_id, self.token, keys)))

    @classmethod
    def read(cls, path: Path) -> TerminalCredentials:
        """Reads such a file. Raises `SettingsError` if it is absent, damaged or readable by others."""
        raw = private_files.read(path, _WHAT)
        try:
            file = msgspec.convert(orjson.loads(raw), _File, strict=True)
        except (orjson.JSONDecodeError, msgspec.ValidationError):
            raise SettingsError(
                f"opening {_WHAT} {path}: it is no file of credentials, or a damaged one; provision the terminal again"
            ) from None
        keys = {int(epoch): bytes.fromhex(key) for epoch, key in file.frame_keys.items()}
        return cls(file.terminal_id, file.token, keys)


def frame_key(root: bytes, terminal_id: str) -> bytes:
    """The key that seals and opens the frames of one terminal within the epoch of `root`."""
    return derive(root, "frame", terminal_id)


def provision(keyring: Keyring, terminal_id: str, epochs: Iterable[int]) -> TerminalCredentials:
    """The credentials of one terminal for `epochs`; raises `SealError` `unknown_epoch`."""
    keys = {epoch: frame_key(keyring.frame_root(epoch), terminal_id) for epoch in epochs}
    return TerminalCredentials(terminal_id, terminal_token(keyring, terminal_id), keys)
