"""What a terminal and a camera are given: each its own token for the gateway, a camera also its lane's frame keys.

Derived keys only. A stolen terminal's file lets the thief act as that one terminal: it opens and seals no frame. A
stolen camera's lets the thief ask for the leases of that one lane and seal or open its frames, until the camera is
removed and its epochs end; it opens no intent, and no other lane's frame. Neither holds a root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import orjson
from msgspec import Meta

from pipeline.errors import SettingsError
from pipeline.keys import private_files
from pipeline.keys.derivation import derive
from pipeline.keys.devices import Camera, camera_token
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import terminal_token
from schemas.events import Name, Sha256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TerminalCredentials:
    """A terminal's token, which does not show in a representation."""

    terminal_id: Name
    token: Sha256 = field(repr=False)

    def write(self, path: Path) -> None:
        """Writes a file of mode 0600 in one step. Raises `OutsideError`."""
        private_files.replace(path, orjson.dumps(self))

    @classmethod
    def read(cls, path: Path) -> TerminalCredentials:
        """Reads such a file. Raises `SettingsError` if it is absent, damaged, a camera's or readable by others."""
        return _read(path, cls, "terminal")


@dataclass(frozen=True, slots=True)
class _CameraFile:
    """A camera's credentials as JSON: keys in hexadecimal."""

    camera_id: Name
    terminal_id: Name
    token: Sha256
    frame_keys: dict[
        Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,8}$")], Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    ]


@dataclass(frozen=True, slots=True)
class CameraCredentials:
    """`frame_keys`: 32-byte keys of the lane by epoch. Neither they nor the token show in a representation."""

    camera_id: str
    terminal_id: str
    token: str = field(repr=False)
    frame_keys: Mapping[int, bytes] = field(repr=False)

    def write(self, path: Path) -> None:
        """Writes a file of mode 0600 in one step. Raises `OutsideError`."""
        keys = {str(epoch): key.hex() for epoch, key in sorted(self.frame_keys.items())}
        file = _CameraFile(self.camera_id, self.terminal_id, self.token, keys)
        private_files.replace(path, orjson.dumps(file))

    @classmethod
    def read(cls, path: Path) -> CameraCredentials:
        """Reads such a file. Raises `SettingsError` if it is absent, damaged, a terminal's or readable by others."""
        file = _read(path, _CameraFile, "camera")
        keys = {int(epoch): bytes.fromhex(key) for epoch, key in file.frame_keys.items()}
        return cls(file.camera_id, file.terminal_id, file.token, keys)


def frame_key(root: bytes, terminal_id: str) -> bytes:
    """The key that seals and opens the frames of one terminal within the epoch of `root`."""
    return derive(root, "frame", terminal_id)


def provision(keyring: Keyring, terminal_id: str) -> TerminalCredentials:
    """The credentials of one terminal."""
    return TerminalCredentials(terminal_id, terminal_token(keyring, terminal_id))


def provision_camera(keyring: Keyring, camera: Camera, epochs: Iterable[int]) -> CameraCredentials:
    """The credentials of one camera, as it is registered, for `epochs`; raises `SealError` `unknown_epoch`."""
    keys = {epoch: frame_key(keyring.frame_root(epoch), camera.terminal_id) for epoch in epochs}
    return CameraCredentials(camera.camera_id, camera.terminal_id, camera_token(keyring, camera), keys)


def _read(path: Path, kind: type[T], whose: str) -> T:
    """A private file of credentials; raises `SettingsError`, also when it is the other kind's."""
    what = f"the {whose} credentials"
    raw = private_files.read(path, what)
    try:
        content: Any = orjson.loads(raw)
        found = msgspec.convert(content, kind, strict=True)
        if whose == "camera" or "camera_id" not in content:
            return found
    except (orjson.JSONDecodeError, msgspec.ValidationError):
        pass
    raise SettingsError(
        f"opening {what} {path}: it is no file of a {whose}'s credentials, or a damaged one; provision the {whose} "
        "again"
    )
