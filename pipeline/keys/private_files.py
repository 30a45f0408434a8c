"""Files that only their owner may read: written in one step, refused when others can read them.

A file appears whole or not at all: it is written under a random name, synced, then renamed (`replace`) or linked
(`create`, which fails if the name is taken, so that of two creators exactly one wins and both read the same bytes).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import OutsideError, SettingsError


def check_private(path: Path, what: str) -> None:
    """Raises `SettingsError` if a group or others have any access to `path` (0700 for folders, 0600 for files)."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        raise SettingsError(f"opening {what} {path}: it does not exist") from None
    except OSError as error:
        raise OutsideError(f"opening {what} {path}: {error.strerror}") from None
    if mode & 0o077:
        wanted = "700" if path.is_dir() else "600"
        raise SettingsError(
            f"opening {what} {path}: its mode {mode:04o} lets other users read it; run `chmod {wanted} {path}`, and "
            "replace the secrets if somebody else may have read them"
        )


def read(path: Path, what: str) -> bytes:
    """The content of a private file; raises `SettingsError` (absent, readable by others) or `OutsideError`."""
    check_private(path, what)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SettingsError(f"opening {what} {path}: it does not exist") from None
    except OSError as error:
        raise OutsideError(f"reading {what} {path}: {error.strerror}") from None


def create(path: Path, data: bytes) -> bool:
    """Writes `data` if there is no such file yet; False if there is. Raises `OutsideError`."""
    with _written_aside(path, data) as aside:
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        sync_folder(path.parent)
        return True


def replace(path: Path, data: bytes) -> None:
    """Writes `data` in the place of whatever was there. Raises `OutsideError`."""
    with _written_aside(path, data) as aside:
        aside.replace(path)
        sync_folder(path.parent)


def shred(path: Path, size: int) -> None:
    """Overwrites `size` bytes with random ones, syncs, then removes the name. Nothing to do if the file is gone.

    A copy-on-write file system or a flash drive may keep the old blocks: put keyrings on an encrypted volume.
    Raises `OutsideError`.
    """
    try:
        with path.open("r+b") as file:
            file.write(secrets.token_bytes(size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutsideError(f"destroying {path}: {error.strerror}") from None


def make_folder(path: Path, what: str) -> None:
    """Creates a folder of mode 0700, or checks the one that is there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutsideError(f"creating {what} {path}: {error.strerror}") from None
    check_private(path, what)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock between processes for a read-change-write; the lock file stays behind, empty."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutsideError(f"locking {path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _written_aside(path: Path, data: bytes) -> Iterator[Path]:
    """`data` in a synced file of mode 0600 beside `path`; removed at the end if its name is still there."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield aside
    except OSError as error:
        raise OutsideError(f"writing {path}: {error.strerror}") from None
    finally:
        aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes a new or removed name survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
