"""Many rows by one prepared statement, without paying SQLAlchemy for each row.

A Core statement is compiled once per database and then run as `executemany` of plain tuples. The columns here (text,
integers, bytes) need no conversion on their way in, on SQLite as on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Insert, Update
from sqlalchemy.sql.dml import Delete

Values = Mapping[str, object]


class ManyRows:
    """An insert, update or delete that is run for many rows; each row names every parameter, `columns` says which."""

    def __init__(self, statement: Insert | Update | Delete, columns: Sequence[str]) -> None:
        self._statement = statement
        self._columns = list(columns)
        self._prepared: dict[str, tuple[str, Callable[[Values], Any]]] = {}

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """One round of `executemany`; nothing when there are no rows."""
        if not rows:
            return
        name = connection.dialect.name
        if name not in self._prepared:
            self._prepared[name] = self._prepare(connection)
        sql, pick = self._prepared[name]
        connection.exec_driver_sql(sql, [pick(row) for row in rows])

    def _prepare(self, connection: Connection) -> tuple[str, Callable[[Values], Any]]:
        keys = self._columns if isinstance(self._statement, Insert) else None
        compiled = self._statement.compile(dialect=connection.dialect, column_keys=keys)
        positions: Sequence[str] | None = getattr(compiled, "positiontup", None)
        return str(compiled), dict if positions is None else itemgetter(*positions)
