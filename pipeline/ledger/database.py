"""Opens the ledger's database: durable, one writer, its schema in place.

SQLite: write-ahead log with a full sync per commit, foreign keys on, each transaction begun IMMEDIATE so that it
locks before it reads, and an operating-system lock on a file beside the database, held for life: a second instance
refuses to start instead of waiting for ever. `open_reading` takes no lock and cannot write.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from pipeline.errors import LedgerError, SettingsError
from pipeline.ledger.tables import SCHEMA_VERSION, meta, metadata

BUSY_TIMEOUT_S = 5.0

_WRITING = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    # Random ids touch an index page per row: keep those in memory (64 MiB) and copy them back after 32 MiB of log.
    "PRAGMA cache_size=-65536",
    "PRAGMA wal_autocheckpoint=8000",
)
_READING = ("PRAGMA query_only=ON",)


class InstanceLock:
    """Exclusive use of one SQLite file, until `release` or the end of the process."""

    def __init__(self, database: Path) -> None:
        path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(
                f"opening the ledger {database}: its lock file cannot be made ({error.strerror}); use a folder that"
                " exists and may be written"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise LedgerError(
                f"opening the ledger {database}: another settlement instance (process {holder}) has it open; stop"
                " that one, or use PostgreSQL for more than one instance"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode("ascii"), 0)

    def release(self) -> None:
        """Lets the next instance in."""
        os.close(self._file)


def open_writing(url: str) -> tuple[Engine, InstanceLock | None]:
    """The engine of the one settlement instance, schema created or checked; raises `LedgerError`."""
    address = _address(url)
    path = _sqlite_path(address)
    lock = InstanceLock(path) if path is not None else None
    try:
        if path is not None:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine = _engine(address, path, writing=True)
        with engine.begin() as connection:
            _create_or_check(connection, url=address.render_as_string(hide_password=True))
    except (SQLAlchemyError, OSError) as error:
        if lock is not None:
            lock.release()
        raise refused(f"opening the ledger {address.render_as_string(hide_password=True)}", error) from None
    except LedgerError:
        if lock is not None:
            lock.release()
        raise
    return engine, lock


def open_reading(url: str) -> Engine:
    """An engine that cannot write and needs no lock; raises `LedgerError` when there is no ledger."""
    address = _address(url)
    path = _sqlite_path(address)
    shown = address.render_as_string(hide_password=True)
    if path is not None and not path.is_file():
        raise LedgerError(f"reading the ledger {shown}: no such file; start the settlement agent once, or pass another")
    try:
        engine = _engine(address, path, writing=False)
        with engine.begin() as connection:
            _check_version(connection, shown)
    except SQLAlchemyError as error:
        raise refused(f"reading the ledger {shown}", error) from None
    return engine


def refused(attempt: str, error: Exception) -> LedgerError:
    """The error of a database as one sentence, without the statement and without values."""
    cause = getattr(error, "orig", None) or error
    first = str(cause).strip().splitlines()[0] if str(cause).strip() else "no reason given"
    return LedgerError(f"{attempt}: the database refused ({type(cause).__name__}: {first}); see the database's log")


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise SettingsError(
            "opening the ledger: its address is no SQLAlchemy address; write sqlite:///FILE or postgresql+psycopg://..."
        ) from None
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise SettingsError("opening the ledger: a ledger in memory forgets money; write sqlite:///FILE")
    if address.get_backend_name() == "sqlite" and address.query:
        raise SettingsError("opening the ledger: its SQLite address takes no options after `?`; write sqlite:///FILE")
    return address


def _sqlite_path(address: URL) -> Path | None:
    if address.get_backend_name() != "sqlite":
        return None
    return Path(cast("str", address.database))


def _engine(address: URL, path: Path | None, *, writing: bool) -> Engine:
    if path is None:
        options = {} if writing else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return create_engine(address, hide_parameters=True, pool_pre_ping=True, execution_options=options)

    def connect() -> sqlite3.Connection:
        target = f"file:{_quoted(path)}?mode={'rw' if writing else 'ro'}"
        return sqlite3.connect(
            target, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False,
            cached_statements=256,
        )  # fmt: skip

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool, hide_parameters=True)
    _configure(engine, _WRITING if writing else _READING)
    _begin_with(engine, "BEGIN IMMEDIATE" if writing else "BEGIN")
    return engine


def _quoted(path: Path) -> str:
    """A path inside an SQLite address: `?`, `#` and `%` are not its syntax."""
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _configure(engine: Engine, pragmas: tuple[str, ...]) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        for pragma in (*pragmas, "PRAGMA foreign_keys=ON"):
            connection.execute(pragma)


def _begin_with(engine: Engine, statement: str) -> None:
    begin: Callable[[Connection], object] = lambda connection: connection.exec_driver_sql(statement)  # noqa: E731
    event.listen(engine, "begin", begin)


def _create_or_check(connection: Connection, url: str) -> None:
    if inspect(connection).has_table(meta.name):
        _check_version(connection, url)
        return
    metadata.create_all(connection)
    first = {"schema_version": SCHEMA_VERSION, "ledger_id": str(uuid.uuid4()), "incarnation": "1"}
    connection.execute(insert(meta), [{"name": name, "value": value} for name, value in first.items()])


def _check_version(connection: Connection, url: str) -> None:
    found = connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).scalar()
    if found != SCHEMA_VERSION:
        raise LedgerError(
            f"opening the ledger {url}: its schema has version {found}, this program needs {SCHEMA_VERSION}; use the"
            " program that made it, or migrate it"
        )
