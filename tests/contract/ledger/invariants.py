"""What must hold of a ledger at any moment, from the database alone: I1 to I3, I5 and I6 as far as it can tell."""

from __future__ import annotations

from collections import Counter

from pipeline.domain.intents import State
from pipeline.ledger.reading import LedgerReader
from schemas.codec import decode
from schemas.events import Settlement

FINAL_OUTCOMES = {"settled", "declined", "expired", "cancelled"}


def broken_invariants(url: str, settlements: str = "settlements") -> list[str]:
    """Sentences about what is wrong; empty when all is well."""
    with LedgerReader(url) as ledger:
        return [*_outcomes(ledger, settlements), *_books(ledger), *_outbox(ledger)]


def _outcomes(ledger: LedgerReader, settlements: str) -> list[str]:
    finals: Counter[str] = Counter()
    for row in ledger.outbox():
        if row.topic == settlements:
            event = decode(row.value, Settlement)
            finals[event.intent_id] += event.outcome in FINAL_OUTCOMES
    wrong = []
    for intent in ledger.intents():
        ended = intent.decided_at_us is not None
        if finals[intent.intent_id] != ended:
            wrong.append(f"{intent.intent_id} is {intent.state} and has {finals[intent.intent_id]} outcomes")
        if intent.state is State.SETTLED and (intent.decided_at_us or 0) >= intent.expires_at_us:
            wrong.append(f"{intent.intent_id} was settled late")
    wrong += [f"{intent_id} has {count} outcomes" for intent_id, count in finals.items() if count > 1]
    return wrong


def _books(ledger: LedgerReader) -> list[str]:
    wrong = []
    balances: Counter[tuple[str, str]] = Counter()
    at: dict[tuple[str, str], tuple[int, int]] = {}
    sides: dict[str, list[tuple[str, int]]] = {}
    for entry in ledger.entries():
        key = (entry.account, entry.currency)
        if (entry.seq - 1, entry.balance_before_minor) != at.get(key, (0, 0)):
            wrong.append(f"{key} has a gap before entry {entry.seq}")
        at[key] = (entry.seq, entry.balance_after_minor)
        balances[key] += entry.amount_minor if entry.side == "credit" else -entry.amount_minor
        sides.setdefault(entry.transfer_id, []).append((entry.side, entry.amount_minor))
    settled = {i.intent_id: i for i in ledger.intents() if i.state is State.SETTLED}
    moved: Counter[str] = Counter()
    refunded: Counter[str] = Counter()
    for transfer in ledger.transfers():
        if sorted(sides.pop(transfer.transfer_id, [])) != [
            ("credit", transfer.amount_minor), ("debit", transfer.amount_minor),
        ]:  # fmt: skip
            wrong.append(f"transfer {transfer.transfer_id} is not balanced")
        (moved if transfer.refund_id is None else refunded)[transfer.intent_id] += transfer.amount_minor
    wrong += [f"entries of no transfer {transfer_id}" for transfer_id in sides]
    if sum(balances.values()) != 0:
        wrong.append("debits differ from credits")
    wrong += [
        f"{account.account} states another balance"
        for account in ledger.accounts()
        if account.balance_minor != balances[account.account, account.currency]
    ]
    if moved != Counter({i.intent_id: i.amount_minor for i in settled.values()}):
        wrong.append("what moved is not what was settled")
    if +refunded != +Counter({i.intent_id: i.refunded_minor for i in settled.values()}):
        wrong.append("what was refunded is not what the intents say")
    return wrong


def _outbox(ledger: LedgerReader) -> list[str]:
    wrong = []
    rows: dict[int, list[int]] = {}
    for row in ledger.outbox():
        rows.setdefault(row.lane, []).append(row.seq)
    counts = Counter(intent.lane for intent in ledger.intents())
    ended = Counter(intent.lane for intent in ledger.intents() if intent.decided_at_us is not None)
    for lane in ledger.lane_states():
        if rows.get(lane.lane, []) != list(range(1, lane.outbox_seq + 1)):
            wrong.append(f"the outbox of lane {lane.lane} has gaps")
        if (lane.opened, lane.ended) != (counts[lane.lane], ended[lane.lane]):
            wrong.append(f"lane {lane.lane} counted {lane.opened} opened and {lane.ended} ended")
    return wrong
