"""Destroyed means that the bytes are gone: searched for in every file that SQLite has, while it is open."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import OutsideError
from pipeline.gallery.protect import database
from pipeline.gallery.protect.data_keys import FILE_NAME, SqlDataKeys, open_data_keys, rewrap_all
from pipeline.keys.keyring import Keyring
from schemas.ids import derived_id

HEAD = 4 + 12
"""What a wrapped key starts with: the version of its key-encryption key, and a nonce."""


class Store:
    """A store with many keys, and what lies on the disk under it."""

    def __init__(self, folder: Path, count: int) -> None:
        self.keyring = Keyring.create(folder)
        self.data_keys: SqlDataKeys = open_data_keys(self.keyring)
        self.payers = [derived_id("payer", str(n)) for n in range(count)]
        for start in range(0, count, 100):
            self.data_keys.create_many(self.payers[start : start + 100], 1)

    def wrapped(self, *payers: str) -> list[bytes]:
        """The wrapped keys of payers, without what all of them have."""
        connection = sqlite3.connect(self.keyring.folder / FILE_NAME)
        rows = dict(connection.execute("SELECT payer_id, wrapped FROM data_keys").fetchall())
        connection.close()
        return [rows[payer][HEAD:] for payer in payers]

    def left(self, *wrapped: bytes) -> int:
        """How many of these bytes' 8-byte pieces stand in any file of the folder."""
        blob = b"".join(path.read_bytes() for path in self.keyring.folder.glob(FILE_NAME + "*"))
        return sum(each[at : at + 8] in blob for each in wrapped for at in range(0, len(each) - 7, 8))


def test_not_one_byte_is_left(tmp_path: Path) -> None:
    """Among thousands of keys made in many transactions, so that pages were split and filled, each destroyed key's
    bytes are found before and are nowhere after; the file and its log are private."""
    store = Store(tmp_path / "keys", 3_000)
    victims = random.Random(1).sample(store.payers, 12)
    gone = store.wrapped(*victims)
    assert store.left(*gone) == 12 * 6, "the search finds what is there"
    for victim, bytes_of in zip(victims, gone, strict=True):
        assert store.data_keys.destroy(victim) == 1
        assert store.left(bytes_of) == 0
    assert (store.keyring.folder / (FILE_NAME + "-wal")).stat().st_size == 0
    assert len(store.data_keys.all()) == 2_988
    modes = {path.stat().st_mode & 0o777 for path in store.keyring.folder.glob(FILE_NAME + "*")}
    assert modes == {0o600}
    store.data_keys.close()


def test_nothing_is_left_of_a_retired_version_or_an_old_wrapping(tmp_path: Path) -> None:
    """The same for a whole gallery at once, whose log is longer than SQLite keeps in memory, and for new wrappings."""
    store = Store(tmp_path / "keys", 2_500)
    old = store.wrapped(*store.payers[::50])
    assert rewrap_all(store.keyring, store.data_keys) == 2_500
    assert store.left(*old) == 0
    wrapped = store.wrapped(*store.payers[::50])
    store.data_keys.create_many(store.payers, 2)
    assert store.left(*wrapped) == 50 * 6
    assert store.data_keys.retire_below(2) == 2_500
    assert store.left(*wrapped) == 0
    store.data_keys.close()


def test_a_reader_that_holds_the_log_open_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process reads an older moment, its bytes cannot go: the key is destroyed, the caller is told to do
    it again, and doing it again wipes them."""
    monkeypatch.setattr(database, "_BUSY_S", 0.2)
    store = Store(tmp_path / "keys", 5)
    (gone,) = store.wrapped(store.payers[0])
    reader = sqlite3.connect(store.keyring.folder / FILE_NAME, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM data_keys").fetchone()
    with pytest.raises(OutsideError, match="do it again"):
        store.data_keys.destroy(store.payers[0])
    assert store.data_keys.of_payer(store.payers[0]) == ()
    reader.execute("COMMIT")
    reader.close()
    assert store.data_keys.destroy(store.payers[0]) == 0
    assert store.left(gone) == 0
    store.data_keys.close()


def test_the_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """Made under a permissive umask, database, log and index of the log are for their owner alone."""
    before = os.umask(0)
    try:
        store = Store(tmp_path / "keys", 1)
        modes = {path.name: path.stat().st_mode & 0o777 for path in store.keyring.folder.glob(FILE_NAME + "*")}
    finally:
        os.umask(before)
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}
    store.data_keys.close()
