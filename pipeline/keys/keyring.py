"""The file keyring: 32-byte random secrets, one per file, that only their owner may read.

    KEYS/                    0700
      claims.key             0600  tags of phone numbers, and the seal of claims (gateway, enrolment, embedding)
      confirmation.key             MACs of payers' confirmations (gateway, settlement)
      deadletter.key               dead letters
      gallery.1.key                templates; the number is the version, the highest one seals
      pin.key                      pepper and seal of PIN verifiers
      receipt.key                  Ed25519 seed of receipts
      terminals.key                bearer tokens of terminals and cameras
      frame/1.key                  root of the frame keys of epoch 1; frame/2.key, ...
      frame/1.destroyed            what is left of an epoch whose root was destroyed: its number is never used again
      terminals.json               the registry of terminals (`terminals`), not secret
      cameras.json                 the registry of cameras (`devices`), not secret

Destroying a frame root shreds every frame sealed under its epoch, wherever a copy of the frame still lies: nothing
else can derive its keys. Creation is idempotent and safe when several processes do it at once; every file is checked
to be private each time it is read.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from pipeline.errors import SealError, SettingsError
from pipeline.keys import private_files
from pipeline.keys.derivation import KEY_BYTES

SECRETS = ("claims", "confirmation", "deadletter", "gallery.1", "pin", "receipt", "terminals")
_WHAT = "the keyring"


class Keyring:
    """A folder of secrets; make one with `create` or `open`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._frames = folder / "frame"

    @classmethod
    def create(cls, folder: Path) -> Keyring:
        """Opens the keyring in `folder`, first making whatever secret it lacks. Raises `SettingsError`,
        `OutsideError`."""
        private_files.make_folder(folder, _WHAT)
        keyring = cls(folder)
        private_files.make_folder(keyring._frames, _WHAT)
        for name in SECRETS:
            if not keyring._path(name).exists():
                private_files.create(keyring._path(name), secrets.token_bytes(KEY_BYTES))
        if not keyring._epochs_used():
            private_files.create(keyring._frame_path(1), secrets.token_bytes(KEY_BYTES))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Keyring:
        """The keyring in `folder`, every secret of it checked. Raises `SettingsError` if it is absent, incomplete,
        damaged or readable by others."""
        if not folder.is_dir():
            raise SettingsError(
                f"opening the keyring {folder}: no such folder; set FACEPAY_KEYS__DIRECTORY to the keyring of this "
                "installation"
            )
        keyring = cls(folder)
        private_files.check_private(folder, _WHAT)
        private_files.check_private(keyring._frames, _WHAT)
        for name in {*SECRETS, *(path.stem for path in folder.glob("gallery.*.key"))}:
            keyring.secret(name)
        for epoch in keyring.frame_epochs():
            keyring.frame_root(epoch)
        return keyring

    def secret(self, name: str) -> bytes:
        """The 32 bytes of a named secret (`SECRETS`, or `gallery.<version>`). Raises `SettingsError`."""
        if not re.fullmatch(r"[a-z]+(\.[1-9][0-9]*)?", name):
            raise ValueError("not the name of a secret")
        return _whole(private_files.read(self._path(name), f"the secret {name} of the keyring"), self._path(name))

    @property
    def gallery_version(self) -> int:
        """The version that new templates are sealed under: the highest there is."""
        return max(int(path.name.split(".")[1]) for path in self.folder.glob("gallery.*.key"))

    def frame_root(self, epoch: int) -> bytes:
        """The root of an epoch's frame keys; raises `SealError` `unknown_epoch` when it was destroyed or never was."""
        path = self._frame_path(epoch)
        if not path.exists():
            raise SealError("unknown_epoch", f"the keyring holds no frame root of epoch {epoch}")
        return _whole(private_files.read(path, f"the frame root {epoch} of the keyring"), path)

    def has_frame_root(self, epoch: int) -> bool:
        """Whether frames of that epoch can still be opened: one look at the folder, for caches of derived keys."""
        return self._frame_path(epoch).exists()

    def frame_epochs(self) -> tuple[int, ...]:
        """The epochs whose roots are there, ascending."""
        return tuple(sorted(int(path.stem) for path in self._frames.glob("*.key") if path.stem.isdecimal()))

    def new_frame_epoch(self) -> int:
        """Makes a root of the next epoch and returns its number; numbers are never used twice."""
        while True:
            epoch = max(self._epochs_used(), default=0) + 1
            if private_files.create(self._frame_path(epoch), secrets.token_bytes(KEY_BYTES)):
                return epoch

    def destroy_frame_epoch(self, epoch: int) -> None:
        """Overwrites and removes a root, for ever: no frame sealed under it opens again. Idempotent for an epoch
        that was destroyed before; raises `SealError` `unknown_epoch` for one that never was."""
        if epoch not in self._epochs_used():
            raise SealError("unknown_epoch", f"the keyring never had a frame root of epoch {epoch}")
        # The marker comes first: a crash between the two must not free the number for another root.
        private_files.create(self._frames / f"{epoch}.destroyed", b"")
        private_files.shred(self._frame_path(epoch), KEY_BYTES)

    def _epochs_used(self) -> set[int]:
        return {
            int(path.stem)
            for path in self._frames.iterdir()
            if path.suffix in {".key", ".destroyed"} and path.stem.isdecimal()
        }

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def _frame_path(self, epoch: int) -> Path:
        return self._frames / f"{epoch}.key"


def _whole(data: bytes, path: Path) -> bytes:
    if len(data) != KEY_BYTES:
        raise SettingsError(
            f"opening the keyring: {path} has {len(data)} bytes instead of {KEY_BYTES}; restore it from a backup"
        )
    return data
