"""One data key per payer and gallery version, wrapped, in a store that can forget.

Templates lie on a compacted topic, in its replicas, in backups and snapshots: nobody can find every copy. So each is
sealed under its payer's data key, 32 random bytes that stand nowhere but here, wrapped under a key-encryption key
(`kek`). `destroy` a payer's keys and every copy of the payer's templates is noise, wherever it lies.

An erased payer's id is never used again: the mark refuses an enrolment that was already under way, and a row that an
older backup brought back. A re-key makes keys of a new gallery version and retires the old ones the same way.

Nothing here trusts a memory of its own over the store: each call asks the database what lives (a process that destroys
a key is not the one that searches), and only the unwrapping is remembered, since a KMS may take milliseconds.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, exists, func, insert, select, update

from pipeline.errors import DataKeyError
from pipeline.gallery.protect.database import Database, data_keys, erased_payers, retired_versions, serialise
from pipeline.gallery.protect.kek import FileKek
from pipeline.keys.derivation import KEY_BYTES, length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.ports import KeyEncryption
from schemas.ids import derived_id

FILE_NAME = "data-keys.db"
_ASKED_AT_ONCE = 1_000
_REWRAPPED_AT_ONCE = 2_000
_REMEMBERED = 4_096
_VERSION_BYTES = 4

_Stored = tuple[str, str, bytes]
"""Id, payer and wrapped key."""


def open_data_keys(keyring: Keyring, url: str | None = None) -> SqlDataKeys:
    """The store at `url` (setting `gallery.data_keys_url`), or the SQLite file in the keyring's folder, with the
    keyring's key-encryption key."""
    return SqlDataKeys(url or f"sqlite:///{(keyring.folder / FILE_NAME).absolute()}", FileKek(keyring))


def rewrap_all(keyring: Keyring, data_keys: SqlDataKeys) -> int:
    """Begins a new version of the key-encryption key, or goes on with one begun before, wraps every living data key
    under it and destroys the older versions. Returns how many keys were wrapped anew."""
    if len(keyring.versions("kek")) == 1:
        keyring.new_version("kek")
    count = data_keys.rewrap()
    for version in keyring.versions("kek"):
        if version < keyring.version("kek"):
            keyring.destroy_version("kek", version)
    return count


class SqlDataKeys:
    """`ports.DataKeys` in SQLite or PostgreSQL; safe for several threads and processes. Its methods raise
    `OutsideError` when the database fails and `SealError` when a key does not unwrap."""

    def __init__(self, url: str, kek: KeyEncryption) -> None:
        self._database = Database(url)
        self._kek = kek
        self._lock = threading.RLock()
        self._unwrapped: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            self._database.close()

    def create(self, payer_id: str, version: int) -> tuple[str, bytes]:
        """See `ports.DataKeys`."""
        made = self.create_many([payer_id], version)
        if payer_id not in made:
            raise DataKeyError(
                "payer_erased",
                "making a data key: this payer was erased; a payer id is never used again, enrol under a new one",
            )
        return made[payer_id]

    def create_many(self, payer_ids: Collection[str], version: int) -> Mapping[str, tuple[str, bytes]]:
        """See `ports.DataKeys`; one transaction."""
        names = {data_key_id(payer_id, version): payer_id for payer_id in payer_ids}
        with self._lock:
            found = self.get(names)
            missing = {name: payer_id for name, payer_id in names.items() if name not in found}
            if not missing:
                return {payer_id: (name, found[name]) for name, payer_id in names.items()}
            fresh = [
                {"data_key_id": name, "payer_id": payer_id, "version": version, "living": 1, "wrapped": wrapped}
                for name, payer_id in missing.items()
                for wrapped in [self._wrap(name, payer_id, secrets.token_bytes(KEY_BYTES))]
            ]
            with self._database.writing() as connection:
                serialise(connection, "payers")
                _check_version(connection, version)
                erased = _erased(connection, missing.values())
                there = {row.data_key_id for row in _in_parts(connection, select(data_keys.c.data_key_id), missing)}
                rows = [row for row in fresh if row["payer_id"] not in erased and row["data_key_id"] not in there]
                if rows:
                    connection.execute(insert(data_keys), rows)
            # Read back: of two that made a key at once, one key stands.
            found = self.get(names)
            return {payer_id: (name, found[name]) for name, payer_id in names.items() if name in found}

    def get(self, data_key_ids: Collection[str]) -> Mapping[str, bytes]:
        """See `ports.DataKeys`. One query per 1,000 ids."""
        with self._lock, self._database.reading() as connection:
            rows = [_stored(row) for row in _in_parts(connection, _living(), data_key_ids)]
        with self._lock:  # a KMS takes its time: no transaction is held open for it
            return {name: self._unwrap(name, payer_id, wrapped) for name, payer_id, wrapped in rows}

    def all(self) -> Mapping[str, bytes]:
        """Every living key by id, as of now."""
        with self._lock, self._database.reading() as connection:
            rows = [_stored(row) for row in connection.execute(_living())]
        return {name: self._opened(name, payer_id, wrapped) for name, payer_id, wrapped in rows}

    def of_payer(self, payer_id: str) -> tuple[str, ...]:
        """See `ports.DataKeys`; the oldest version first."""
        asked = _living().where(data_keys.c.payer_id == payer_id).order_by(data_keys.c.version)
        with self._lock, self._database.reading() as connection:
            return tuple(row.data_key_id for row in connection.execute(asked))

    def destroyed(self, data_key_ids: Collection[str]) -> frozenset[str]:
        """See `ports.DataKeys`."""
        asked = select(data_keys.c.data_key_id)
        with self._lock, self._database.reading() as connection:
            known = {row.data_key_id for row in _in_parts(connection, asked, data_key_ids)}
            living = {row.data_key_id for row in _in_parts(connection, _living(), data_key_ids)}
        return frozenset(known - living)

    def is_erased(self, payer_id: str) -> bool:
        """Whether `destroy` was called for this payer."""
        with self._lock, self._database.reading() as connection:
            return bool(_erased(connection, [payer_id]))

    def destroy(self, payer_id: str) -> int:
        """See `ports.DataKeys`. When it returns, no byte of the wrapped keys is left in SQLite's file or log; raises
        `OutsideError` when that could not be had, then call it again."""
        with self._lock:
            with self._database.writing() as connection:
                serialise(connection, "payers")
                if not _erased(connection, [payer_id]):
                    connection.execute(
                        insert(erased_payers), {"payer_id": payer_id, "erased_at_us": time.time_ns() // 1000}
                    )
                count = _overwrite(connection, data_keys.c.payer_id == payer_id)
            self._database.wipe()
            self._unwrapped.clear()
        return count

    def retire_below(self, version: int) -> int:
        """Destroys every key of a gallery version below `version`, for ever, and marks those versions: none is made
        for them again. Returns how many living keys there were; idempotent."""
        with self._lock:
            with self._database.writing() as connection:
                serialise(connection, "payers")
                there = set(connection.execute(select(retired_versions.c.version)).scalars())
                new = [{"version": old} for old in range(1, version) if old not in there]
                if new:
                    connection.execute(insert(retired_versions), new)
                count = _overwrite(connection, data_keys.c.version < version)
            self._database.wipe()
            self._unwrapped.clear()
        return count

    def counts(self) -> Mapping[int, int]:
        """Number of living keys by gallery version."""
        counted = select(data_keys.c.version, func.count()).where(_lives()).group_by(data_keys.c.version)
        with self._lock, self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(counted)}

    def rewrap(self) -> int:
        """Wraps every living key under the key-encryption key in force; returns how many were under another one.
        Resumable: what was done stays done."""
        after, count = 0, 0
        replace = update(data_keys).where(data_keys.c.seq == bindparam("of_seq")).values(wrapped=bindparam("new"))
        in_force = self._kek.version
        while True:
            part = (
                select(data_keys.c.seq, data_keys.c.data_key_id, data_keys.c.payer_id, data_keys.c.wrapped)
                .where(data_keys.c.seq > after, data_keys.c.living == 1)
                .order_by(data_keys.c.seq)
                .limit(_REWRAPPED_AT_ONCE)
            )
            with self._lock, self._database.writing() as connection:
                serialise(connection, "payers")
                rows = connection.execute(part).all()
                new = [
                    {"of_seq": seq, "new": self._wrap(name, payer_id, self._opened(name, payer_id, wrapped))}
                    for seq, name, payer_id, wrapped in rows
                    if _kek_version(wrapped) != in_force
                ]
                if new:
                    connection.execute(replace, new)
            if not rows:
                break
            after, count = rows[-1].seq, count + len(new)
        with self._lock:
            self._database.wipe()
            self._unwrapped.clear()
        return count

    def _wrap(self, name: str, payer_id: str, key: bytes) -> bytes:
        version, wrapped = self._kek.wrap(key, _associated(name, payer_id))
        return version.to_bytes(_VERSION_BYTES, "big") + wrapped

    def _unwrap(self, name: str, payer_id: str, wrapped: bytes) -> bytes:
        """The key, from memory if exactly these bytes were unwrapped lately."""
        known = self._unwrapped.get(name)
        if known is not None and known[0] == wrapped:
            self._unwrapped.move_to_end(name)
            return known[1]
        key = self._opened(name, payer_id, wrapped)
        self._unwrapped[name] = (wrapped, key)
        if len(self._unwrapped) > _REMEMBERED:
            self._unwrapped.popitem(last=False)
        return key

    def _opened(self, name: str, payer_id: str, wrapped: bytes) -> bytes:
        return self._kek.unwrap(_kek_version(wrapped), wrapped[_VERSION_BYTES:], _associated(name, payer_id))


def data_key_id(payer_id: str, version: int) -> str:
    """The id of a payer's data key for a gallery version."""
    return derived_id(payer_id, "data_key", str(version))


def _associated(name: str, payer_id: str) -> bytes:
    return length_prefixed("facepay.data_key.v1", payer_id, name)


def _kek_version(wrapped: bytes) -> int:
    return int.from_bytes(wrapped[:_VERSION_BYTES], "big")


def _stored(row: Row[Any]) -> _Stored:
    return row.data_key_id, row.payer_id, bytes(row.wrapped)


def _lives() -> ColumnElement[bool]:
    """What a key needs to be used: an older backup that came back is no way around a mark."""
    return and_(
        data_keys.c.living == 1,
        ~exists().where(erased_payers.c.payer_id == data_keys.c.payer_id),
        ~exists().where(retired_versions.c.version == data_keys.c.version),
    )


def _living() -> Select[tuple[str, str, bytes]]:
    return select(data_keys.c.data_key_id, data_keys.c.payer_id, data_keys.c.wrapped).where(_lives())


def _in_parts(connection: Connection, asked: Select[Any], data_key_ids: Collection[str]) -> Iterator[Row[Any]]:
    """The rows of `asked` for these ids."""
    rest = iter(data_key_ids)
    while part := list(islice(rest, _ASKED_AT_ONCE)):
        yield from connection.execute(asked.where(data_keys.c.data_key_id.in_(part)))


def _erased(connection: Connection, payer_ids: Collection[str]) -> frozenset[str]:
    rest, found = iter(payer_ids), set[str]()
    while part := list(islice(rest, _ASKED_AT_ONCE)):
        asked = select(erased_payers.c.payer_id).where(erased_payers.c.payer_id.in_(part))
        found.update(connection.execute(asked).scalars())
    return frozenset(found)


def _check_version(connection: Connection, version: int) -> None:
    retired = select(retired_versions.c.version).where(retired_versions.c.version == version)
    if connection.execute(retired).first() is not None:
        raise DataKeyError(
            "version_retired",
            f"making a data key: gallery version {version} is retired; do it again, under the version in force",
        )


def _overwrite(connection: Connection, which: ColumnElement[bool]) -> int:
    """Zeros in the place of the wrapped keys, length by length; returns how many living ones there were."""
    lengths = select(func.length(data_keys.c.wrapped)).where(which, data_keys.c.living == 1).distinct()
    count = 0
    for length in connection.execute(lengths).scalars().all():
        zeros = (
            update(data_keys)
            .where(which, data_keys.c.living == 1, func.length(data_keys.c.wrapped) == length)
            .values(wrapped=bytes(length), living=0)
        )
        count += connection.execute(zeros).rowcount
    return count
