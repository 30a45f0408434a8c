"""Secrets in versions: they begin, wait, come in force and are destroyed for good."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import SealError, SettingsError, UsageError
from pipeline.keys import private_files
from pipeline.keys.keyring import VERSIONED, Keyring

pytestmark = pytest.mark.parametrize("kind", VERSIONED)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keys")


def test_the_highest_version_is_in_force(keyring: Keyring, kind: str) -> None:
    """A new version takes over at once, for who opened the keyring before as well."""
    running = Keyring.open(keyring.folder)
    assert (running.version(kind), keyring.new_version(kind), running.version(kind)) == (1, 2, 2)
    assert running.versions(kind) == (1, 2)
    assert running.secret(f"{kind}.1") != running.secret(f"{kind}.2")


def test_a_waiting_version_is_held_but_not_in_force(keyring: Keyring, kind: str) -> None:
    """Every machine can have it before anybody uses it; in force it counts its age from then on."""
    assert keyring.new_version(kind, waiting=True) == 2
    assert (keyring.versions(kind), keyring.version(kind)) == ((1, 2), 1)
    path = keyring.folder / f"{kind}.2.key"
    os.utime(path, (1, 1))
    assert keyring.made_at(kind, 2) == 1
    for _ in range(2):
        keyring.put_in_force(kind, 2)
        assert keyring.version(kind) == 2
        assert keyring.made_at(kind, 2) > 1_000_000_000
    assert Keyring.open(keyring.folder).version(kind) == 2


def test_a_destroyed_version_is_gone_for_good(keyring: Keyring, kind: str) -> None:
    """Its bytes are overwritten and unlinked, its number is never used again, not by `create` either."""
    keyring.new_version(kind)
    secret, path = keyring.secret(f"{kind}.1"), keyring.folder / f"{kind}.1.key"
    held = path.open("rb", buffering=0)
    for _ in range(2):
        keyring.destroy_version(kind, 1)
    with held:
        assert held.read() != secret
    assert (keyring.versions(kind), keyring.was_destroyed(kind, 1), keyring.was_destroyed(kind, 2)) == (
        (2,), True, False,
    )  # fmt: skip
    with pytest.raises(SettingsError, match="does not exist"):
        keyring.secret(f"{kind}.1")
    again = Keyring.create(keyring.folder)
    assert (again.versions(kind), again.new_version(kind)) == ((2,), 3)


def test_the_version_in_force_is_not_destroyed(keyring: Keyring, kind: str) -> None:
    """Nor one that never was: a mistyped number is no success."""
    with pytest.raises(UsageError, match="in force"):
        keyring.destroy_version(kind, 1)
    keyring.new_version(kind, waiting=True)
    with pytest.raises(UsageError, match="in force"):
        keyring.destroy_version(kind, 1)
    with pytest.raises(SealError, match="unknown_key_version"):
        keyring.destroy_version(kind, 7)


def test_a_crash_while_destroying_does_not_free_the_number(
    keyring: Keyring, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the bytes were overwritten: the number counts as used, and destroying again finishes the work."""
    keyring.new_version(kind, waiting=True)
    with monkeypatch.context() as patch:
        patch.setattr(private_files, "shred", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            keyring.destroy_version(kind, 2)
    keyring.destroy_version(kind, 2)
    assert (keyring.versions(kind), keyring.new_version(kind), keyring.version(kind)) == ((1,), 3, 3)


def test_a_mark_that_a_crash_left_does_not_stop_a_version(keyring: Keyring, kind: str) -> None:
    """Killed between the mark of waiting and the secret: the next version is in force all the same."""
    (keyring.folder / f"{kind}.2.waiting").touch(mode=0o600)
    assert (keyring.versions(kind), keyring.version(kind)) == ((1,), 1)
    assert (keyring.new_version(kind), keyring.version(kind)) == (2, 2)


def test_a_keyring_without_any_version_is_refused(keyring: Keyring, kind: str) -> None:
    """`open` says so; `create` makes the first one only where there never was any."""
    (keyring.folder / f"{kind}.1.key").unlink()
    with pytest.raises(SettingsError, match="does not exist"):
        Keyring.open(keyring.folder)
    assert Keyring.create(keyring.folder).versions(kind) == (1,)


def test_every_version_is_checked_when_opened(keyring: Keyring, kind: str) -> None:
    """A later version that others can read stops the process as the first one does."""
    keyring.new_version(kind)
    (keyring.folder / f"{kind}.2.key").chmod(0o604)
    with pytest.raises(SettingsError, match="lets other users read it"):
        Keyring.open(keyring.folder)
