"""Data keys over SQLite and PostgreSQL: made once, gone for good when destroyed, and never believed from memory."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from pipeline.errors import DataKeyError, OutsideError, SealError, SettingsError
from pipeline.gallery.protect.data_keys import FILE_NAME, SqlDataKeys, data_key_id, open_data_keys, rewrap_all
from pipeline.gallery.protect.kek import FileKek
from pipeline.keys.keyring import Keyring
from schemas.ids import derived_id
from tests.stack import wait_until

Open = Callable[[], SqlDataKeys]


def payer(number: int) -> str:
    return derived_id("payer", str(number))


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keys")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, keyring: Keyring) -> str:
    """An empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{keyring.folder / FILE_NAME}"
    address = str(request.getfixturevalue("postgres"))
    engine = create_engine(address)

    def emptied() -> bool:
        try:
            with engine.begin() as connection:
                for table in ("data_keys", "erased_payers", "retired_versions", "about"):
                    connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
        except OperationalError:
            return False
        return True

    wait_until(emptied, 30, "PostgreSQL to start")
    engine.dispose()
    return address


@pytest.fixture
def opened(url: str, keyring: Keyring) -> Iterator[Open]:
    """Opens the store as one more process would."""
    there: list[SqlDataKeys] = []

    def open_store() -> SqlDataKeys:
        there.append(SqlDataKeys(url, FileKek(keyring)))
        return there[-1]

    yield open_store
    for each in there:
        each.close()


def test_a_payer_has_one_key_for_a_version(opened: Open) -> None:
    """Whoever asks, and however often, gets the same key; other payers and versions have others; all are 32 bytes."""
    one, other = opened(), opened()
    name, key = one.create(payer(1), 1)
    assert (len(key), name) == (32, data_key_id(payer(1), 1))
    assert other.create(payer(1), 1) == one.create(payer(1), 1) == (name, key)
    made = other.create_many([payer(1), payer(2), payer(3)], 2)
    assert len({key, *(each for _, each in made.values())}) == 4
    assert one.of_payer(payer(1)) == (name, made[payer(1)][0])
    assert one.get([name, made[payer(2)][0], "nobody's"]) == {name: key, made[payer(2)][0]: made[payer(2)][1]}
    assert one.all() == {name: key, **dict(made.values())}
    assert one.counts() == {1: 1, 2: 3}


def test_who_makes_a_key_at_once_gets_the_same(opened: Open) -> None:
    """Six instances that make one payer's first key in the same moment all go on with one key."""
    stores, start = [opened() for _ in range(6)], threading.Barrier(6)

    def make(store: SqlDataKeys) -> tuple[str, bytes]:
        start.wait(10)
        return store.create(payer(1), 1)

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(make, stores))) == 1
    assert stores[0].counts() == {1: 1}


def test_a_destroyed_payer_is_gone_for_every_process(opened: Open) -> None:
    """Another process that has used the keys a moment ago gets none; no key is made again; doing it twice is fine;
    everybody else keeps theirs."""
    one, other = opened(), opened()
    names = [one.create(payer(1), version)[0] for version in (1, 2)]
    kept, key = one.create(payer(2), 1)
    assert set(other.get([*names, kept])) == {*names, kept}
    assert [one.destroy(payer(1)), one.destroy(payer(1)), one.destroy(payer(9))] == [2, 0, 0]
    for store in (one, other, opened()):
        assert store.get([*names, kept]) == {kept: key}
        assert store.of_payer(payer(1)) == ()
        assert store.destroyed([*names, kept, "nobody's"]) == frozenset(names)
        assert (store.is_erased(payer(1)), store.is_erased(payer(9)), store.is_erased(payer(2))) == (True, True, False)
        for version in (1, 2, 3):
            with pytest.raises(DataKeyError, match="this payer was erased") as refused:
                store.create(payer(1), version)
            assert refused.value.reason == "payer_erased"
    assert set(other.create_many([payer(1), payer(2)], 1)) == {payer(2)}
    assert other.all() == {kept: key}


def test_an_erasure_wins_against_an_enrolment_at_once(opened: Open) -> None:
    """Of a key made and a payer destroyed in the same moment no living key is left, whichever came first."""
    one, other = opened(), opened()
    for number in range(25):
        start = threading.Barrier(2)

        def enrol(number: int = number, start: threading.Barrier = start) -> None:
            start.wait(10)
            other.create_many([payer(number)], 1)

        with ThreadPoolExecutor(1) as pool:
            enrolling = pool.submit(enrol)
            start.wait(10)
            one.destroy(payer(number))
            enrolling.result(30)
    assert one.all() == other.all() == {}


def test_a_row_that_a_backup_brings_back_is_not_used(opened: Open, url: str) -> None:
    """The marks count, not what stands in the row."""
    store = opened()
    name, _ = store.create(payer(1), 1)
    engine = create_engine(url)
    with engine.begin() as connection:
        backup = connection.execute(text("SELECT wrapped FROM data_keys")).scalar_one()
    store.destroy(payer(1))
    with engine.begin() as connection:
        connection.execute(text("UPDATE data_keys SET wrapped = :wrapped, living = 1"), {"wrapped": backup})
    engine.dispose()
    assert store.get([name]) == store.all() == {}
    assert store.destroyed([name]) == {name}


def test_a_retired_version_is_closed(opened: Open) -> None:
    """Keys below a version are destroyed and none is made for it; the newer ones stay."""
    store = opened()
    old = store.create_many([payer(n) for n in range(5)], 1)
    new = store.create_many([payer(n) for n in range(5)], 2)
    assert [store.retire_below(2), store.retire_below(2)] == [5, 0]
    assert store.all() == dict(new.values())
    assert store.destroyed([name for name, _ in old.values()]) == {name for name, _ in old.values()}
    with pytest.raises(DataKeyError, match="retired") as refused:
        store.create(payer(7), 1)
    assert refused.value.reason == "version_retired"
    assert not store.is_erased(payer(1))


def test_rewrapping_keeps_keys_and_ends_old_backups(opened: Open, keyring: Keyring, url: str) -> None:
    """Under a new key-encryption key every key is what it was; what was wrapped before opens no more; a process that
    was running goes on."""
    store, running = opened(), opened()
    made = store.create_many([payer(n) for n in range(2_100)], 1)
    assert running.get([made[payer(0)][0]])
    store.destroy(payer(3))
    engine = create_engine(url)
    with engine.begin() as connection:
        backup = connection.execute(text("SELECT data_key_id, wrapped FROM data_keys ORDER BY seq LIMIT 1")).one()
    assert rewrap_all(keyring, store) == 2_099
    assert keyring.versions("kek") == (2,)
    alive = {name: key for owner, (name, key) in made.items() if owner != payer(3)}
    assert store.all() == running.all() == opened().all() == alive
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE data_keys SET wrapped = :wrapped WHERE data_key_id = :name"),
            {"wrapped": backup.wrapped, "name": backup.data_key_id},
        )
    engine.dispose()
    with pytest.raises(SealError, match="unknown_key_version"):
        opened().get([backup.data_key_id])


def test_a_wrapped_key_is_bound_to_its_payer_and_id(opened: Open, url: str) -> None:
    """Rows whose wrapped keys were exchanged do not unwrap: nobody gets another payer's key."""
    store = opened()
    names = [store.create(payer(n), 1)[0] for n in (1, 2)]
    engine = create_engine(url)
    with engine.begin() as connection:
        first, second = connection.execute(text("SELECT wrapped FROM data_keys ORDER BY seq")).scalars()
        for name, wrapped in zip(names, (second, first), strict=True):
            connection.execute(
                text("UPDATE data_keys SET wrapped = :wrapped WHERE data_key_id = :name"),
                {"wrapped": wrapped, "name": name},
            )
    engine.dispose()
    with pytest.raises(SealError, match="seal_broken"):
        opened().get(names)


def test_a_store_that_is_not_there_is_one_sentence(keyring: Keyring, tmp_path: Path) -> None:
    """A bad address, a folder that is not there, another schema, a file that others can read: one sentence each."""
    for url, error, said in (
        ("nonsense", SettingsError, "no SQLAlchemy address"),
        ("sqlite://", SettingsError, "keys in memory would be lost"),
        (f"sqlite:///{tmp_path}/no/such/folder/x.db", OutsideError, "the database refused"),
    ):
        with pytest.raises(error, match=said):
            open_data_keys(keyring, url)
    open_data_keys(keyring).close()
    path = keyring.folder / FILE_NAME
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE about SET value = '9'")
    connection.close()
    with pytest.raises(OutsideError, match="schema has version 9"):
        open_data_keys(keyring)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="lets other users read it"):
        open_data_keys(keyring)
