"""Writes what a batch changed: one statement per table, many rows each.

The order matters to the constraints: intents that end are updated before new ones are inserted (an order id is free
only then), transfers come before their entries, and entries before the accounts that copy them.
"""

from __future__ import annotations

import orjson
from sqlalchemy import Connection, bindparam, delete, insert, update

from pipeline.domain.ledger import Account, Entry
from pipeline.ledger.lane_batch import LaneBatch
from pipeline.ledger.rows import CHANGING, all_values, changing_values
from pipeline.ledger.statements import ManyRows
from pipeline.ledger.tables import accounts, entries, intents, outbox, parked, refunds, terminals, transfers
from pipeline.ports import Emit

_INSERT_INTENTS = ManyRows(insert(intents), [column.name for column in intents.c])
_UPDATE_INTENTS = ManyRows(
    update(intents)
    .where(intents.c.intent_id == bindparam("on_intent_id"))
    .values({name: bindparam(name) for name in CHANGING}),
    ["on_intent_id", *CHANGING],
)
_INSERT_TERMINALS = ManyRows(insert(terminals), ["terminal_id", "lane", "lane_seq"])
_UPDATE_TERMINALS = ManyRows(
    update(terminals)
    .where(terminals.c.terminal_id == bindparam("on_terminal_id"))
    .values(lane_seq=bindparam("lane_seq")),
    ["on_terminal_id", "lane_seq"],
)
_INSERT_TRANSFERS = ManyRows(
    insert(transfers), ["transfer_id", "intent_id", "purpose", "currency", "amount_minor", "posted_at_us"]
)
_INSERT_ENTRIES = ManyRows(insert(entries), [column.name for column in entries.c])
_INSERT_ACCOUNTS = ManyRows(insert(accounts), [column.name for column in accounts.c])
_UPDATE_ACCOUNTS = ManyRows(
    update(accounts)
    .where(accounts.c.account == bindparam("on_account"), accounts.c.currency == bindparam("on_currency"))
    .values(seq=bindparam("seq"), balance_minor=bindparam("balance_minor")),
    ["on_account", "on_currency", "seq", "balance_minor"],
)
_INSERT_REFUNDS = ManyRows(insert(refunds), [column.name for column in refunds.c])
_INSERT_PARKED = ManyRows(insert(parked), [column.name for column in parked.c])
_DELETE_PARKED = ManyRows(
    delete(parked).where(
        parked.c.lane == bindparam("on_lane"),
        parked.c.topic == bindparam("on_topic"),
        parked.c.source_offset == bindparam("on_offset"),
    ),
    ["on_lane", "on_topic", "on_offset"],
)
_INSERT_OUTBOX = ManyRows(insert(outbox), [column.name for column in outbox.c])


def write_batch(connection: Connection, batch: LaneBatch) -> None:
    """Intents, terminals, money, refunds and parked verdicts."""
    changed = [batch.intents[i] for i in batch.changed if i not in batch.new_intents]
    _UPDATE_INTENTS.run(
        connection, [{"on_intent_id": intent.terms.intent_id, **changing_values(intent)} for intent in changed]
    )
    fresh = [batch.intents[i] for i in batch.changed if i in batch.new_intents]
    _INSERT_INTENTS.run(connection, [all_values(intent, batch.lane) for intent in fresh])
    _write_terminals(connection, batch)
    _write_money(connection, batch)
    _INSERT_REFUNDS.run(
        connection,
        [
            {
                "refund_id": row.refund_id,
                "intent_id": row.intent_id,
                "amount_minor": row.amount_minor,
                "refused": row.refused,
                "command_sha256": row.command_sha256,
                "decided_at_us": row.decided_at_us,
            }
            for row in batch.refunds
        ],
    )
    _write_parked(connection, batch)


def write_outbox(connection: Connection, batch: LaneBatch, after_seq: int, incarnation: int) -> int:
    """Rows numbered on from `after_seq`; the number of the last one."""
    _INSERT_OUTBOX.run(
        connection,
        [
            {
                "lane": batch.lane,
                "seq": seq,
                "incarnation": incarnation,
                "topic": emit.topic,
                "key": emit.key,
                "value": emit.value or b"",
                "headers": packed(emit),
                "owed_since_us": batch.now_us,
            }
            for seq, emit in enumerate(batch.emits, after_seq + 1)
        ],
    )
    return after_seq + len(batch.emits)


def packed(emit: Emit) -> str:
    """Headers as text: a JSON list of [name, Latin-1 text]."""
    return orjson.dumps([[name, value.decode("latin-1")] for name, value in emit.headers]).decode()


def unpacked(headers: str) -> tuple[tuple[str, bytes], ...]:
    """The headers that `packed` wrote."""
    return tuple((name, value.encode("latin-1")) for name, value in orjson.loads(headers))


def _write_terminals(connection: Connection, batch: LaneBatch) -> None:
    _INSERT_TERMINALS.run(
        connection,
        [
            {"terminal_id": name, "lane": batch.lane, "lane_seq": batch.terminals[name][1]}
            for name in sorted(batch.new_terminals)
        ],
    )
    _UPDATE_TERMINALS.run(
        connection,
        [
            {"on_terminal_id": name, "lane_seq": batch.terminals[name][1]}
            for name in sorted(batch.changed_terminals - batch.new_terminals)
        ],
    )


def _write_money(connection: Connection, batch: LaneBatch) -> None:
    _INSERT_TRANSFERS.run(
        connection,
        [
            {
                "transfer_id": posting.transfer.transfer_id,
                "intent_id": posting.transfer.intent_id,
                "purpose": posting.transfer.refund_id or "settlement",
                "currency": posting.transfer.currency,
                "amount_minor": posting.transfer.amount_minor,
                "posted_at_us": posting.transfer.posted_at_us,
            }
            for posting in batch.postings
        ],
    )
    written = [entry for posting in batch.postings for entry in (posting.debit, posting.credit)]
    _INSERT_ENTRIES.run(connection, [_entry_values(entry) for entry in written])
    touched = {(entry.account, entry.currency) for entry in written}
    born = {(entry.account, entry.currency) for entry in written if entry.seq == 1}
    _INSERT_ACCOUNTS.run(connection, [_account_values(batch.accounts[key]) for key in sorted(born)])
    _UPDATE_ACCOUNTS.run(
        connection,
        [
            {
                "on_account": account.account,
                "on_currency": account.currency,
                "seq": account.seq,
                "balance_minor": account.balance_minor,
            }
            for account in (batch.accounts[key] for key in sorted(touched - born))
        ],
    )


def _entry_values(entry: Entry) -> dict[str, object]:
    return {
        "account": entry.account,
        "currency": entry.currency,
        "seq": entry.seq,
        "transfer_id": entry.transfer_id,
        "side": entry.side,
        "amount_minor": entry.amount_minor,
        "previous_seq": entry.seq - 1 if entry.seq > 1 else None,
        "balance_before_minor": entry.balance_before_minor,
        "balance_after_minor": entry.balance_after_minor,
        "floor_minor": entry.floor_minor,
    }


def _account_values(account: Account) -> dict[str, object]:
    return {
        "account": account.account,
        "currency": account.currency,
        "seq": account.seq,
        "balance_minor": account.balance_minor,
    }


def _write_parked(connection: Connection, batch: LaneBatch) -> None:
    _DELETE_PARKED.run(
        connection,
        [{"on_lane": batch.lane, "on_topic": park.topic, "on_offset": park.offset} for park in batch.unparked],
    )
    _INSERT_PARKED.run(
        connection,
        [
            {
                "lane": batch.lane,
                "topic": park.topic,
                "source_offset": park.offset,
                "intent_id": park.intent_id,
                "value": park.value,
                "expires_at_us": park.expires_at_us,
            }
            for parks in batch.parked.values()
            for park in parks
            if not park.stored
        ],
    )
