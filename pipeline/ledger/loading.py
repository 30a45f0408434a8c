"""Reads what a batch touches, in a handful of statements however many records it has.

Called under the lane's lock. Accounts are shared between lanes and are therefore locked in the order of their names
(on SQLite the whole database is locked anyway).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, Select, bindparam, delete, select, text

from pipeline.domain.ledger import Account, payee_account, payer_account
from pipeline.ledger.lane_batch import LaneBatch, Parked, Rules
from pipeline.ledger.records import Record, judgement
from pipeline.ledger.rows import INTENT_COLUMNS, intent_of
from pipeline.ledger.tables import LIVE_SQL, TAKEN_SQL, accounts, intents, parked, refunds, terminals
from schemas.codec import decode, sha256_hex
from schemas.events import OpenIntent, Refund, Verdict

TIMERS_PER_BATCH = 500
"""So that a mass expiry after an outage comes in transactions of a bounded size."""

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_DUE = (
    select(*INTENT_COLUMNS)
    .where(text(LIVE_SQL), intents.c.lane == bindparam("lane"), intents.c.expires_at_us <= bindparam("now_us"))
    .order_by(intents.c.expires_at_us)
    .limit(TIMERS_PER_BATCH)
)
_BY_ID = select(*INTENT_COLUMNS).where(intents.c.intent_id.in_(_IDS))
_LIVE_OF_TERMINAL = select(*INTENT_COLUMNS).where(text(LIVE_SQL), intents.c.terminal_id.in_(_IDS))
_TERMINALS = select(terminals.c.terminal_id, terminals.c.lane, terminals.c.lane_seq).where(
    terminals.c.terminal_id.in_(_IDS)
)
_ORDERS = select(intents.c.merchant_id, intents.c.merchant_order_id, intents.c.intent_id).where(
    text(TAKEN_SQL),
    intents.c.merchant_id.in_(bindparam("merchants", expanding=True)),
    intents.c.merchant_order_id.in_(_IDS),
)
_PARKED = (
    select(parked.c.topic, parked.c.source_offset, parked.c.intent_id, parked.c.value, parked.c.expires_at_us)
    .where(parked.c.lane == bindparam("lane"), parked.c.intent_id.in_(_IDS))
    .order_by(parked.c.topic, parked.c.source_offset)
)
_PARKED_DUE = delete(parked).where(parked.c.lane == bindparam("on_lane"), parked.c.expires_at_us <= bindparam("now_us"))
_REFUNDS = select(refunds.c.refund_id).where(refunds.c.refund_id.in_(_IDS))
_ACCOUNTS = (
    select(accounts.c.account, accounts.c.currency, accounts.c.seq, accounts.c.balance_minor)
    .where(accounts.c.account.in_(_IDS))
    .order_by(accounts.c.account, accounts.c.currency)
    .with_for_update()
)
_DUE_LANES = (
    select(intents.c.lane)
    .distinct()
    .where(text(LIVE_SQL), intents.c.lane.in_(_IDS), intents.c.expires_at_us <= bindparam("now_us"))
    .union(select(parked.c.lane).where(parked.c.lane.in_(_IDS), parked.c.expires_at_us <= bindparam("now_us")))
)


def lanes_with_due_timers(connection: Connection, lanes: Sequence[int], now_us: int) -> list[int]:
    """Those of `lanes` where an intent or a parked verdict has reached its deadline."""
    return sorted(row[0] for row in connection.execute(_DUE_LANES, {"ids": list(lanes), "now_us": now_us}))


def load_batch(
    connection: Connection, lane: int, now_us: int, rules: Rules, records: Sequence[Record]
) -> tuple[LaneBatch, list[str]]:
    """The working set of `records`, and the intents whose timer is due. Parked verdicts past their terms are gone
    before anything can use them."""
    batch = LaneBatch(lane, now_us, rules)
    forgotten = connection.execute(_PARKED_DUE, {"on_lane": lane, "now_us": now_us}).rowcount
    batch.tally.notes.extend(["parked_expired"] * forgotten)
    due = [row.intent_id for row in _take(batch, connection, _DUE, {"lane": lane, "now_us": now_us})]
    events = [record.event for record in records if record.event is not None]
    if not events:
        return batch, due
    opens = [event for event in events if isinstance(event, OpenIntent)]
    _take(batch, connection, _BY_ID, {"ids": sorted({event.intent_id for event in events})})
    names = sorted({event.terminal_id for event in events})
    for terminal_id, home, lane_seq in connection.execute(_TERMINALS, {"ids": names}):
        batch.terminals[terminal_id] = (home, lane_seq)
    if opens:
        _take(batch, connection, _LIVE_OF_TERMINAL, {"ids": sorted({event.terminal_id for event in opens})})
        orders = {
            "merchants": sorted({event.terms.merchant_id for event in opens}),
            "ids": sorted({event.merchant_order_id for event in opens}),
        }
        for merchant_id, order_id, intent_id in connection.execute(_ORDERS, orders):
            batch.orders[merchant_id, order_id] = intent_id
        _load_parked(batch, connection, [event.intent_id for event in opens])
    asked = sorted({event.refund_id for event in events if isinstance(event, Refund)})
    if asked:
        batch.known_refunds.update(connection.execute(_REFUNDS, {"ids": asked}).scalars())
    _load_accounts(batch, connection, events)
    return batch, due


def _take(batch: LaneBatch, connection: Connection, query: Select[Any], values: dict[str, object]) -> list[Row[Any]]:
    rows = connection.execute(query, values).all()
    for row in rows:
        if row.lane != batch.lane:
            batch.elsewhere.add(row.intent_id)
        elif row.intent_id not in batch.intents:
            intent = batch.intents[row.intent_id] = intent_of(row)
            if intent.live:
                batch.live_of.setdefault(intent.terms.terminal_id, set()).add(row.intent_id)
    return list(rows)


def _load_parked(batch: LaneBatch, connection: Connection, ids: Sequence[str]) -> None:
    for row in connection.execute(_PARKED, {"lane": batch.lane, "ids": sorted(set(ids))}):
        verdict = judgement(decode(row.value, Verdict), sha256_hex(row.value))
        batch.parked.setdefault(row.intent_id, []).append(
            Parked(row.topic, row.source_offset, row.intent_id, row.value, row.expires_at_us, verdict, stored=True)
        )


def _load_accounts(batch: LaneBatch, connection: Connection, events: Iterable[object]) -> None:
    """Every account that a posting of this batch can touch: payers of verdicts, parked or bound; payees of intents."""
    names = {payer_account(event.payer_id) for event in events if isinstance(event, Verdict)}
    names |= {payer_account(park.judgement.payer_id) for parks in batch.parked.values() for park in parks}
    names |= {payee_account(event.terms.payee_id) for event in events if isinstance(event, OpenIntent)}
    for intent in batch.intents.values():
        names.add(payee_account(intent.terms.payee_id))
        if intent.bound is not None:
            names.add(payer_account(intent.bound.payer_id))
    for name, currency, seq, balance_minor in connection.execute(_ACCOUNTS, {"ids": sorted(names)}):
        batch.accounts[name, currency] = Account(name, currency, seq, balance_minor)
