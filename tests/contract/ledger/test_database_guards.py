"""What the database itself refuses, should the code ever be wrong: each row is a way to break the books."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.contract.ledger.world import ALICE, World, new_id, opening, refund, verdict

SETTLED, OPEN = new_id("a"), new_id("b")
PAYER, PAYEE = f"payer:{ALICE}", "payee:shop-payee"
TRANSFER = "INSERT INTO transfers (transfer_id, intent_id, purpose, currency, amount_minor, posted_at_us) VALUES "
ENTRY = (
    "INSERT INTO entries (account, currency, seq, transfer_id, side, amount_minor, previous_seq, balance_before_minor,"
    " balance_after_minor, floor_minor) VALUES "
)
SET = "UPDATE intents SET "
OF_SETTLED, OF_OPEN = f"WHERE intent_id = '{SETTLED}'", f"WHERE intent_id = '{OPEN}'"
MOVED = f"{TRANSFER}('t', 'i', 'settlement', 'CNY', 5, 0)"
DEBIT = f"{ENTRY}('{PAYER}', 'CNY', 2, 't', 'debit', 5, 1, -1250, -1255, NULL)"
CREDIT = f"{ENTRY}('{PAYEE}', 'CNY', 2, 't', 'credit', 5, 1, 1250, 1255, NULL)"

EUROS = f"{ENTRY}('{PAYER}', 'EUR', 1, 't', 'debit', 5, NULL, 0, -5, NULL)"
FIRST = f"{ENTRY}('{PAYER}', 'CNY', 1, 't', 'debit', 5, NULL, 0, -5, NULL)"
NOTHING = [
    MOVED.replace("5, 0", "0, 0"),
    DEBIT.replace("5, 1, -1250, -1255", "0, 1, -1250, -1250"),
    CREDIT.replace("5, 1, 1250, 1255", "0, 1, 1250, 1250"),
]

ROWS: list[tuple[str, list[str]]] = [
    ("a transfer without entries", [MOVED]),
    ("a transfer without its credit", [MOVED, DEBIT]),
    ("a transfer without its debit", [MOVED, CREDIT]),
    ("an entry without a transfer", [DEBIT]),
    ("an entry of another amount", [MOVED, DEBIT.replace("5, 1, -1250, -1255", "6, 1, -1250, -1256"), CREDIT]),
    ("an entry in another currency", [MOVED, CREDIT, EUROS]),
    ("two debits", [MOVED, DEBIT, CREDIT.replace("'credit', 5, 1, 1250, 1255", "'debit', 5, 1, 1250, 1245")]),
    ("an entry that does not add up", [MOVED, DEBIT.replace("-1255", "-1254"), CREDIT]),
    ("a credit that takes", [MOVED, DEBIT, CREDIT.replace("1255", "1245")]),
    ("a gap in an account", [MOVED, DEBIT.replace("2, 't', 'debit', 5, 1", "3, 't', 'debit', 5, 2"), CREDIT]),
    ("a number twice", [MOVED, FIRST, CREDIT]),
    ("a predecessor left out", [MOVED, DEBIT.replace("5, 1, -1250", "5, NULL, -1250"), CREDIT]),
    ("another balance than the one before left", [MOVED, DEBIT.replace("-1250, -1255", "0, -5"), CREDIT]),
    ("a debit below the floor", [MOVED, DEBIT.replace("NULL", "-1254"), CREDIT]),
    ("a transfer of nothing", NOTHING),
    ("a settlement twice", [f"{TRANSFER}('t', '{SETTLED}', 'settlement', 'CNY', 5, 0)", DEBIT, CREDIT]),
    ("an account that is not its last entry", ["UPDATE accounts SET balance_minor = 0"]),
    ("a settled intent taken back to open", [SET + "state = 'open' " + OF_SETTLED]),
    ("an outcome without its time", [SET + "state = 'cancelled' " + OF_OPEN]),
    ("settled at the deadline", [SET + "decided_at_us = expires_at_us " + OF_SETTLED]),
    ("settled without a verdict", [SET + "verdict_sha256 = NULL " + OF_SETTLED]),
    ("settled by PIN without confirmation", [SET + "method = 'face_pin' " + OF_SETTLED]),
    ("refunded more than settled", [SET + "refunded_minor = 1251 " + OF_SETTLED]),
    ("refunded what is not settled", [SET + "refunded_minor = 1 " + OF_OPEN]),
    ("one order in flight twice", [SET + "merchant_order_id = 'order-a' " + OF_OPEN]),
    ("an outbox number twice", ["INSERT INTO outbox SELECT * FROM outbox WHERE seq = 1"]),
    ("more ended than opened", ["UPDATE lanes SET ended = opened + 1"]),
]  # fmt: skip


@pytest.fixture
def database(world: World) -> Iterator[sqlite3.Connection]:
    """A ledger with one settled payment and one open intent, seen by somebody who goes past the code."""
    world.feed(opening("a"), verdict("a"), opening("b", lane_seq=2))
    with closing(sqlite3.connect(world.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        yield connection


@pytest.mark.parametrize("statements", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_database_refuses_to_break_the_books(database: sqlite3.Connection, statements: list[str]) -> None:
    """At the statement or at the commit, whatever the code wanted."""
    database.execute("BEGIN")
    with pytest.raises(sqlite3.IntegrityError):  # noqa: PT012 - which of the statements is refused is the database's
        for statement in statements:
            database.execute(statement)
        database.execute("COMMIT")


def test_the_rows_above_fail_for_their_fault_only(database: sqlite3.Connection) -> None:
    """The same statements without a fault are accepted, so each row above shows its own guard."""
    database.execute("BEGIN")
    for statement in (MOVED, DEBIT, CREDIT):
        database.execute(statement)
    database.execute("COMMIT")


def test_the_database_is_as_durable_as_it_is_said(world: World) -> None:
    """Write-ahead log, full sync, foreign keys: read from the store's own connection."""
    world.feed(opening("a"), verdict("a"), refund("a", 1))
    with world.store._engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]
