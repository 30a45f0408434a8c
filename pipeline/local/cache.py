"""The per-user cache: where downloads that are the same for every run live, and how processes share it.

The cache is `$FACEPAY_CACHE`, else `$XDG_CACHE_HOME/facepay`, else `~/.cache/facepay`; it belongs to one user (mode
0700) and may be deleted at any time. Files in it appear whole or not at all: they are written under a temporary name
and renamed. Writers of one kind of file take turns with `flock`, which the kernel releases when a holder dies, so a
killed download never blocks the next one. Readers take no lock, because a rename leaves them the file that they have
open.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import OutsideError

_BLOCK_BYTES = 1 << 20


def cache_dir() -> Path:
    """The user's cache folder, created if needed. Raises OutsideError when it cannot be written."""
    chosen = os.environ.get("FACEPAY_CACHE")
    if chosen:
        path = Path(chosen).expanduser().absolute()
    else:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "facepay"
    return private_dir(path)


def private_dir(path: Path) -> Path:
    """Creates `path` (mode 0700, parents too) if it is missing and returns it. Raises OutsideError when that fails."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutsideError(f"The folder {path} cannot be made ({error.strerror}); choose another place.") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutsideError(f"The folder {path} cannot be written; make it writable or choose another place.")
    return path


@contextlib.contextmanager
def one_at_a_time(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds an exclusive lock on the file `path` among processes and threads; calls `waiting` once if another one holds
    it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
