"""I2 and I3: the books balance, nothing is paid beyond what was agreed, and every settlement moved money once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from pipeline.audit.findings import Finding, Violation
from pipeline.audit.history import History, Ledger, LedgerEntry, LedgerTransfer
from pipeline.audit.outcomes import openings
from schemas.codec import sha256_hex
from schemas.events import Settlement


def books_balance(history: History) -> Finding:
    """I2: debits equal credits (per transfer and currency), each account is the sum of its entries, settled is at most
    what was authorised, refunded at most what was settled."""
    ledger = history.ledger
    if ledger is None:
        return Finding(0, ())
    checked = len(ledger.transfers) + len(ledger.accounts) + len(ledger.intents)
    return Finding.of(checked, (*_transfers_balance(ledger), *_accounts_add_up(ledger), *_amounts(history, ledger)))


def _transfers_balance(ledger: Ledger) -> Iterator[Violation]:
    sides: dict[str, list[LedgerEntry]] = defaultdict(list)
    for entry in ledger.entries:
        sides[entry.transfer_id].append(entry)
    known = {transfer.transfer_id for transfer in ledger.transfers}
    for transfer in ledger.transfers:
        entries = sides.get(transfer.transfer_id, [])
        debit = sum(e.amount_minor for e in entries if e.side == "debit")
        credit = sum(e.amount_minor for e in entries if e.side == "credit")
        if not debit == credit == transfer.amount_minor:
            detail = f"it moves {transfer.amount_minor}, its entries debit {debit} and credit {credit}"
            yield Violation("unbalanced_transfer", transfer.transfer_id, detail)
        if any(entry.currency != transfer.currency for entry in entries):
            yield Violation("mixed_currencies", transfer.transfer_id, f"not all entries are in {transfer.currency}")
    for transfer_id in sides.keys() - known:
        yield Violation("entry_without_transfer", transfer_id, f"{len(sides[transfer_id])} entries name no transfer")


def _accounts_add_up(ledger: Ledger) -> Iterator[Violation]:
    sums: Counter[tuple[str, str]] = Counter()
    for entry in ledger.entries:
        sums[entry.account, entry.currency] += entry.amount_minor if entry.side == "credit" else -entry.amount_minor
    stated = {(account.account, account.currency): account.balance_minor for account in ledger.accounts}
    for key in sums.keys() | stated.keys():
        if sums.get(key, 0) != stated.get(key, 0):
            detail = f"it states {stated.get(key, 0)}, its entries sum to {sums.get(key, 0)} {key[1]}"
            yield Violation("account_differs", _pseudonym(key[0]), detail)


def _amounts(history: History, ledger: Ledger) -> Iterator[Violation]:
    agreed = {intent_id: record.event.terms for intent_id, record in openings(history).items()}
    settled, refunded = _moved(ledger)
    for intent in ledger.intents:
        paid = settled.get(intent.intent_id, 0)
        authorised = agreed[intent.intent_id].amount_minor if intent.intent_id in agreed else intent.amount_minor
        if paid > authorised:
            yield Violation("settled_above_authorised", intent.intent_id, f"settled {paid} of {authorised}")
        if refunded.get(intent.intent_id, 0) > paid:
            detail = f"refunded {refunded[intent.intent_id]} of {paid} settled"
            yield Violation("refunded_above_settled", intent.intent_id, detail)
    announced: Counter[str] = Counter()
    for record in history.settlements:
        if record.event.outcome == "settled":
            announced[record.event.intent_id] += record.event.amount_minor
    for intent_id, amount in announced.items():
        if amount != settled.get(intent_id, 0):
            detail = f"Kafka says {amount} was settled, the ledger moved {settled.get(intent_id, 0)}"
            yield Violation("announced_differs", intent_id, detail)


def _moved(ledger: Ledger) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """What was settled and what was refunded, by intent."""
    settled: Counter[str] = Counter()
    refunded: Counter[str] = Counter()
    for transfer in ledger.transfers:
        (settled if transfer.refund_id is None else refunded)[transfer.intent_id] += transfer.amount_minor
    return settled, refunded


def one_effect_per_settlement(history: History) -> Finding:
    """I3: a settlement id has one effect in the ledger and one record on Kafka, about the same money."""
    ledger = history.ledger
    if ledger is None:
        return Finding(0, ())
    return Finding.of(len(ledger.transfers), (*_effects_once(ledger), *_effects_announced(history, ledger)))


def _effects_once(ledger: Ledger) -> Iterator[Violation]:
    ids = Counter(transfer.transfer_id for transfer in ledger.transfers)
    for transfer_id, count in ids.items():
        if count > 1:
            yield Violation("several_effects", transfer_id, f"the ledger moved money {count} times for it")
    purposes = Counter((transfer.intent_id, transfer.refund_id) for transfer in ledger.transfers)
    for (intent_id, refund_id), count in purposes.items():
        if count > 1:
            what = "its settlement" if refund_id is None else f"refund {refund_id}"
            yield Violation("several_effects", intent_id, f"the ledger moved money {count} times for {what}")
    for transfer_id, count in Counter(entry.transfer_id for entry in ledger.entries).items():
        if count > 2:
            yield Violation("several_effects", transfer_id, f"it has {count} entries instead of a debit and a credit")


def _effects_announced(history: History, ledger: Ledger) -> Iterator[Violation]:
    transfers = {(transfer.intent_id, transfer.refund_id): transfer for transfer in ledger.transfers}
    records: Counter[tuple[str, str | None]] = Counter()
    for record in history.settlements:
        event = record.event
        if event.outcome not in {"settled", "refunded"}:
            continue
        key = (event.intent_id, event.refund_id if event.outcome == "refunded" else None)
        transfer = transfers.get(key)
        records[key] += 1
        if transfer is None:
            yield Violation("no_effect", event.intent_id, f"{record.position} ({event.outcome}) moved no money")
        elif not _tells(event, transfer):
            yield Violation("other_effect", event.intent_id, f"{record.position} tells other money than was moved")
    for (intent_id, refund_id), count in records.items():
        if count > 1:
            what = "its settlement" if refund_id is None else f"refund {refund_id}"
            yield Violation("announced_twice", intent_id, f"{count} records tell {what}")


def _tells(event: Settlement, transfer: LedgerTransfer) -> bool:
    """Whether an event is about this movement of money."""
    return (event.amount_minor, event.currency) == (transfer.amount_minor, transfer.currency) and (
        event.outcome == "refunded" or event.settlement_id == transfer.transfer_id
    )


def _pseudonym(account: str) -> str:
    """An account's kind and a hash of its name: payers are not named in an audit."""
    kind, _, name = account.partition(":")
    return f"{kind}:{sha256_hex(name.encode())[:12]}"
