"""The file keyring: 32-byte random secrets, one per file, that only their owner may read.

    KEYS/                    0700
      claims.key             0600  tags of phone numbers, and the seal of claims (gateway, enrolment, embedding)
      confirmation.key             MACs of payers' confirmations (gateway, settlement)
      deadletter.key               dead letters
      gallery.1.key                the transform of templates; the number is the version, the highest one is in force
      gallery.2.waiting            version 2 may be read with, but is not in force yet (being handed to other machines)
      gallery.1.destroyed          what is left of a version that was destroyed: its number is never used again
      kek.1.key                    key-encryption key of the payers' data keys; versions as for the gallery
      pin.key                      pepper and seal of PIN verifiers
      receipt.key                  Ed25519 seed of receipts
      terminals.key                bearer tokens of terminals and cameras
      frame/1.key                  root of the frame keys of epoch 1; frame/2.key, ...
      frame/1.destroyed            what is left of an epoch whose root was destroyed: its number is never used again
      data-keys.db                 wrapped data keys of payers (`gallery.protect.data_keys`), unless kept elsewhere
      terminals.json               the registry of terminals (`terminals`), not secret
      cameras.json                 the registry of cameras (`devices`), not secret

Destroying a frame root shreds every frame sealed under its epoch, wherever a copy of the frame still lies: nothing
else can derive its keys; destroying a version of `gallery` or `kek` does so for what was made under it. Creation is
idempotent and safe when several processes do it at once; every file is checked to be private each time it is read.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from pipeline.errors import OutsideError, SealError, SettingsError, UsageError
from pipeline.keys import private_files
from pipeline.keys.derivation import KEY_BYTES

SECRETS = ("claims", "confirmation", "deadletter", "gallery.1", "kek.1", "pin", "receipt", "terminals")
VERSIONED = ("gallery", "kek")
"""Secrets that come in numbered versions, of which the highest that does not wait is in force."""
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
            # A first version that was destroyed, or has a successor, is not made again.
            if not keyring._path(name).exists() and not keyring._used(name.partition(".")[0]):
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
        for name in SECRETS:
            kind = name.partition(".")[0]
            for there in [f"{kind}.{version}" for version in keyring.versions(kind)] or [name]:
                keyring.secret(there)
        for epoch in keyring.frame_epochs():
            keyring.frame_root(epoch)
        return keyring

    def secret(self, name: str) -> bytes:
        """The 32 bytes of a named secret (`SECRETS`, or `<kind>.<version>` of a versioned one). Raises
        `SettingsError`."""
        if not re.fullmatch(r"[a-z]+(\.[1-9][0-9]*)?", name):
            raise ValueError("not the name of a secret")
        return _whole(private_files.read(self._path(name), f"the secret {name} of the keyring"), self._path(name))

    @property
    def gallery_version(self) -> int:
        """The version that new templates are protected under. Looks at the folder: it may change at any time."""
        return self.version("gallery")

    def version(self, kind: str) -> int:
        """The version of a versioned secret that is in force: the highest that does not wait. Raises
        `SettingsError` if there is none."""
        found = [version for version in self.versions(kind) if not self._mark(kind, version, "waiting").exists()]
        if not found:
            raise SettingsError(
                f"opening the keyring {self.folder}: no version of {kind} is there; restore it from a backup"
            )
        return found[-1]

    def versions(self, kind: str) -> tuple[int, ...]:
        """The versions of a versioned secret that are there, ascending, waiting ones included."""
        return tuple(v for v in sorted(self._used(kind)) if self._path(f"{kind}.{v}").exists())

    def new_version(self, kind: str, *, waiting: bool = False) -> int:
        """Makes the next version and returns its number; numbers are never used twice. A `waiting` one is not in
        force before `put_in_force`."""
        while True:
            version = max(self._used(kind), default=0) + 1
            if waiting:  # the mark comes first: nobody may see the version without it
                private_files.create(self._mark(kind, version, "waiting"), b"")
            if private_files.create(self._path(f"{kind}.{version}"), secrets.token_bytes(KEY_BYTES)):
                if not waiting:
                    self.put_in_force(kind, version)  # a mark that a crash left behind
                return version

    def put_in_force(self, kind: str, version: int) -> None:
        """Ends a version's waiting; idempotent."""
        mark = self._mark(kind, version, "waiting")
        if mark.exists():
            try:
                os.utime(self._path(f"{kind}.{version}"))  # `made_at` counts from now
                mark.unlink(missing_ok=True)
            except OSError as error:
                raise OutsideError(f"putting {kind}.{version} of the keyring in force: {error.strerror}") from None

    def destroy_version(self, kind: str, version: int) -> None:
        """Overwrites and removes a version, for ever. Idempotent for one that was destroyed before; raises
        `SealError` `unknown_key_version` for one that never was, `UsageError` for the one in force."""
        if version not in self._used(kind):
            raise SealError("unknown_key_version", f"the keyring never had a version {version} of {kind}")
        if version == self.version(kind):
            raise UsageError(f"destroying version {version} of {kind}: it is the one in force; begin another first")
        private_files.create(self._mark(kind, version, "destroyed"), b"")  # first, as for epochs
        private_files.shred(self._path(f"{kind}.{version}"), KEY_BYTES)
        self._mark(kind, version, "waiting").unlink(missing_ok=True)

    def made_at(self, kind: str, version: int) -> float:
        """When that version came into force here, in seconds since 1970. Raises `OutsideError`."""
        path = self._path(f"{kind}.{version}")
        try:
            return path.stat().st_mtime
        except OSError as error:
            raise OutsideError(f"looking at {path}: {error.strerror}") from None

    def was_destroyed(self, kind: str, version: int) -> bool:
        """Whether that version was there once and was destroyed."""
        return self._mark(kind, version, "destroyed").exists()

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

    def _used(self, kind: str) -> set[int]:
        """Every version that ever was."""
        if kind not in VERSIONED:
            return set()
        names = (path.name.split(".") for path in self.folder.glob(f"{kind}.*"))
        return {
            int(name[1]) for name in names if len(name) == 3 and name[1].isdecimal() and name[2] in {"key", "destroyed"}
        }

    def _mark(self, kind: str, version: int, mark: str) -> Path:
        return self.folder / f"{kind}.{version}.{mark}"

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
