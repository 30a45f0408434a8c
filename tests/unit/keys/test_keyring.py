"""The keyring: private, created once whoever comes first, and able to forget for good."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import SealError, SettingsError
from pipeline.keys import private_files
from pipeline.keys.keyring import SECRETS, Keyring


def test_creating_twice_keeps_every_secret(tmp_path: Path) -> None:
    """`create` is idempotent: the second call finds the secrets of the first, all different."""
    first = Keyring.create(tmp_path / "keys")
    before = {name: first.secret(name) for name in SECRETS} | {"root": first.frame_root(1)}
    second = Keyring.create(tmp_path / "keys")
    assert before == {name: second.secret(name) for name in SECRETS} | {"root": second.frame_root(1)}
    assert len(set(before.values())) == len(SECRETS) + 1
    assert (second.frame_epochs(), second.gallery_version) == ((1,), 1)


def _create(folder: str, out: str) -> None:
    keyring = Keyring.create(Path(folder))
    Path(out).write_bytes(b"".join(keyring.secret(name) for name in SECRETS) + keyring.frame_root(1))


def test_creators_at_once_agree(tmp_path: Path) -> None:
    """Eight processes that create one keyring at the same time all hold the same secrets, and leave no scraps."""
    context = multiprocessing.get_context("spawn")
    outs = [tmp_path / f"out-{i}" for i in range(8)]
    creators = [context.Process(target=_create, args=(str(tmp_path / "keys"), str(out))) for out in outs]
    for creator in creators:
        creator.start()
    for creator in creators:
        creator.join(60)
    assert [creator.exitcode for creator in creators] == [0] * 8
    assert len({out.read_bytes() for out in outs}) == 1
    assert not list((tmp_path / "keys").rglob(".*"))


def test_one_of_many_creators_writes_the_file(tmp_path: Path) -> None:
    """Sixteen threads that create one file at once: one is told that it did, and its bytes are what stands there."""
    for i in range(20):
        path, start = tmp_path / f"file-{i}", threading.Barrier(16)

        def create(n: int, path: Path = path, start: threading.Barrier = start) -> bool:
            start.wait(10)
            return private_files.create(path, bytes([n]))

        with ThreadPoolExecutor(16) as pool:
            created = list(pool.map(create, range(16)))
        assert created.count(True) == 1
        assert path.read_bytes() == bytes([created.index(True)])


def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """Folders have mode 0700 and files 0600 even under a permissive umask."""
    before = os.umask(0)
    try:
        keyring = Keyring.create(tmp_path / "keys")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in keyring.folder.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {p.stat().st_mode & 0o777 for p in (keyring.folder, keyring.folder / "frame")} == {0o700}


@pytest.mark.parametrize(
    ("what", "mode"),
    [(".", 0o750), (".", 0o701), ("frame", 0o755), ("pin.key", 0o640), ("receipt.key", 0o604), ("frame/1.key", 0o644)],
)
def test_what_others_can_read_is_refused(tmp_path: Path, what: str, mode: int) -> None:
    """A folder or file with any group or world access stops the process with one sentence that says what to run."""
    keyring = Keyring.create(tmp_path / "keys")
    path = keyring.folder / what
    path.chmod(mode)
    with pytest.raises(SettingsError, match="lets other users read it; run `chmod") as refused:
        Keyring.open(keyring.folder)
    assert str(path.resolve()) in str(refused.value)


@pytest.mark.parametrize("name", ["confirmation.key", "frame"])
def test_an_incomplete_keyring_is_refused(tmp_path: Path, name: str) -> None:
    """A keyring that lacks a part is not silently completed by `open`."""
    keyring = Keyring.create(tmp_path / "keys")
    (keyring.folder / name).rename(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="does not exist"):
        Keyring.open(keyring.folder)


@pytest.mark.parametrize("name", ["deadletter.key", "frame/1.key", "gallery.1.key"])
def test_a_damaged_secret_is_refused(tmp_path: Path, name: str) -> None:
    """A secret of another length is named, never used."""
    keyring = Keyring.create(tmp_path / "keys")
    (keyring.folder / name).write_bytes(b"short")
    with pytest.raises(SettingsError, match="has 5 bytes instead of 32"):
        Keyring.open(keyring.folder)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    """Opening nothing says which setting to look at, and is wrong use."""
    with pytest.raises(SettingsError, match="FACEPAY_KEYS__DIRECTORY") as refused:
        Keyring.open(tmp_path / "none")
    assert refused.value.exit_code == 2


def test_only_names_of_secrets_are_read(tmp_path: Path) -> None:
    """A name with a path in it never reaches the file system."""
    keyring = Keyring.create(tmp_path / "keys")
    with pytest.raises(ValueError, match="not the name"):
        keyring.secret("../secret")


def test_a_destroyed_epoch_is_gone_for_good(tmp_path: Path) -> None:
    """Its root's bytes are overwritten and unlinked, its number is never used again, doing it twice is fine."""
    keyring = Keyring.create(tmp_path / "keys")
    assert keyring.new_frame_epoch() == 2
    root, path = keyring.frame_root(2), keyring.folder / "frame" / "2.key"
    held = path.open("rb", buffering=0)  # the file's blocks outlive its name while somebody holds it
    keyring.destroy_frame_epoch(2)
    keyring.destroy_frame_epoch(2)
    with held:
        assert held.read() != root
    assert (path.exists(), keyring.has_frame_root(2), keyring.frame_epochs()) == (False, False, (1,))
    with pytest.raises(SealError, match="unknown_epoch"):
        keyring.frame_root(2)
    assert keyring.new_frame_epoch() == 3
    assert Keyring.create(keyring.folder).frame_epochs() == (1, 3)


def test_destroying_what_never_was_says_so(tmp_path: Path) -> None:
    """A mistyped epoch is no success."""
    with pytest.raises(SealError, match="unknown_epoch"):
        Keyring.create(tmp_path / "keys").destroy_frame_epoch(7)


def test_a_destroyed_first_epoch_is_not_made_again(tmp_path: Path) -> None:
    """`create` on a keyring whose only epoch was destroyed does not bring its number back."""
    keyring = Keyring.create(tmp_path / "keys")
    keyring.destroy_frame_epoch(1)
    assert Keyring.create(keyring.folder).frame_epochs() == ()


def test_a_crash_while_destroying_does_not_free_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the root was overwritten: the epoch counts as used, and destroying again finishes the work."""
    keyring = Keyring.create(tmp_path / "keys")
    with monkeypatch.context() as patch:
        patch.setattr(private_files, "shred", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            keyring.destroy_frame_epoch(1)
    keyring.destroy_frame_epoch(1)
    assert (keyring.frame_epochs(), keyring.new_frame_epoch()) == ((), 2)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replacing a file is all or nothing: a failed sync leaves the old content and no scrap."""
    path = tmp_path / "file"
    private_files.replace(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Exception, match="No space left"):
            private_files.replace(path, b"new")
    assert (path.read_bytes(), [p.name for p in tmp_path.iterdir()]) == (b"old", ["file"])
