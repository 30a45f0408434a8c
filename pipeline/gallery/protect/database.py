"""The database of data keys: its tables, and how it is opened so that what is destroyed leaves no byte behind.

On SQLite a wrapped key stands in the database file, and for a while in the write-ahead log. Nothing else may hold a
copy, so:

* `secure_delete` overwrites freed cells with zeros, and temporary tables stay in memory;
* rows are only appended, by a rising number: a leaf page of the table is never split, so that no page keeps an old copy
  of a cell in its unused part. The indexes hold ids only;
* a key is destroyed by writing zeros over it in place: the row keeps its length and stays as the mark. For that the
  version of the key-encryption key stands in the same blob, and `living` is 1 or 0, which SQLite stores in no byte;
* after it the log is checkpointed into the file and truncated (`wipe`).

PostgreSQL serves several instances. It keeps old row versions until VACUUM, and its log and backups for longer: there
only a new key-encryption key (`facepay keys rewrap`) makes the leftovers worthless.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from pipeline.errors import OutsideError, SettingsError
from pipeline.keys import private_files

SCHEMA_VERSION = "1"
_BUSY_S = 10.0
_WHAT = "the store of data keys"

metadata = MetaData()

about = Table("about", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

# One row per payer and gallery version. `wrapped`: the version of the key-encryption key (4 bytes, big-endian) and what
# it made of the key; zeros of the same length once destroyed.
data_keys = Table(
    "data_keys",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("data_key_id", Text, nullable=False),
    Column("payer_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("living", SmallInteger, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Index("data_keys_id", "data_key_id", unique=True),
    Index("data_keys_payer", "payer_id", "version", unique=True),
)

# Payers whose keys were destroyed: none is made for them again, and a row that an old backup brings back is not used.
erased_payers = Table(
    "erased_payers",
    metadata,
    Column("payer_id", Text, primary_key=True),
    Column("erased_at_us", BigInteger, nullable=False),
)

# Gallery versions that a re-key went past.
retired_versions = Table(
    "retired_versions", metadata, Column("version", Integer, primary_key=True, autoincrement=False)
)


class Database:
    """Transactions for reading and for writing; raises `SettingsError` for a bad address, `OutsideError` for a database
    that refuses."""

    def __init__(self, url: str) -> None:
        address = _address(url)
        self.path = Path(cast("str", address.database)) if address.get_backend_name() == "sqlite" else None
        self.shown = address.render_as_string(hide_password=True)
        with self._asking("opening"):
            if self.path is None:
                self._reading = self._writing = create_engine(address, hide_parameters=True, pool_pre_ping=True)
            else:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                private_files.check_private(self.path, _WHAT)
                self._reading = _sqlite(self.path, begin="BEGIN")
                self._writing = _sqlite(self.path, begin="BEGIN IMMEDIATE")
            with self._writing.begin() as connection:
                serialise(connection, "schema")
                _create_or_check(connection, self.shown)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees one moment."""
        with self._asking("reading"), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end of the block; on SQLite it locks before it reads."""
        with self._asking("writing"), self._writing.begin() as connection:
            yield connection

    def wipe(self) -> None:
        """Returns when no old page is left in SQLite's write-ahead log; raises `OutsideError` when somebody held it
        open for too long. Nothing to do on PostgreSQL."""
        if self.path is None:
            return
        deadline = time.monotonic() + _BUSY_S
        with self._asking("truncating the log of"):
            while True:
                raw = self._writing.raw_connection()
                try:
                    busy = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                finally:
                    raw.close()
                if not busy:
                    return
                if time.monotonic() > deadline:
                    raise OutsideError(
                        f"destroying in {_WHAT} {self.shown}: the key is destroyed, but another process kept the "
                        "write-ahead log open, which may still hold its bytes; do it again"
                    )

    def close(self) -> None:
        """Closes every connection."""
        self._reading.dispose()
        self._writing.dispose()

    @contextmanager
    def _asking(self, attempt: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            cause = getattr(error, "orig", None) or error
            first = (str(cause).strip() or "no reason given").splitlines()[0]
            raise OutsideError(
                f"{attempt} {_WHAT} {self.shown}: the database refused ({type(cause).__name__}: {first}); see that it "
                "runs, exists and may be written"
            ) from None


def serialise(connection: Connection, name: str) -> None:
    """Until the transaction ends, nobody else is past this line with that name (SQLite has one writer anyway)."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"facepay.data_keys.{name}", 0))))


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise SettingsError(
            f"opening {_WHAT}: its address is no SQLAlchemy address; write sqlite:///FILE or postgresql+psycopg://..."
        ) from None
    if address.get_backend_name() == "sqlite" and (address.query or address.database in (None, "", ":memory:")):
        raise SettingsError(f"opening {_WHAT}: keys in memory would be lost; write sqlite:///FILE without options")
    return address


def _sqlite(path: Path, *, begin: str) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        for pragma in (
            "secure_delete=ON", "journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY", "cache_size=-65536"
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _create_or_check(connection: Connection, shown: str) -> None:
    if not inspect(connection).has_table(about.name):
        metadata.create_all(connection)
        connection.execute(insert(about), {"name": "schema_version", "value": SCHEMA_VERSION})
    found = connection.execute(select(about.c.value).where(about.c.name == "schema_version")).scalar()
    if found != SCHEMA_VERSION:
        raise OutsideError(
            f"opening {_WHAT} {shown}: its schema has version {found}, this program needs {SCHEMA_VERSION}; use the "
            "program that made it"
        )
