"""Double entry: a transfer takes an amount from one account and gives the same amount to another, or does nothing.

An account is a name and a currency; its balance is credits minus debits in minor units, so a payer's falls below zero
as they pay, down to a floor. Each account counts its entries from 1 without gaps, and each entry carries the balance
before and after it: the chain can be checked from any point (invariants I2, I3, I6). Transfers never change; money
comes back by another transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["debit", "credit"]


def payer_account(payer_id: str) -> str:
    """The account that a payment debits."""
    return f"payer:{payer_id}"


def payee_account(payee_id: str) -> str:
    """The account that a payment credits."""
    return f"payee:{payee_id}"


@dataclass(frozen=True, slots=True)
class Account:
    """An account after its entry number `seq` (0: no entry yet). `floor_minor` is how low a debit may take it, None
    without limit."""

    account: str
    currency: str
    seq: int = 0
    balance_minor: int = 0
    floor_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement of money. `transfer_id` is derived from what it pays for, so asking twice is the same transfer."""

    transfer_id: str
    intent_id: str
    refund_id: str | None
    currency: str
    amount_minor: int
    posted_at_us: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One side of a transfer in one account's own sequence."""

    account: str
    currency: str
    seq: int
    transfer_id: str
    side: Side
    amount_minor: int
    balance_before_minor: int
    balance_after_minor: int
    floor_minor: int | None


@dataclass(frozen=True, slots=True)
class Posting:
    """A transfer that may be written: its two entries and the two accounts after them."""

    transfer: Transfer
    debit: Entry
    credit: Entry
    debited: Account
    credited: Account


def post(transfer: Transfer, debit: Account, credit: Account) -> Posting | str:
    """The posting of `transfer` from `debit` to `credit`, or the reason of the refusal: `limit_exceeded`.

    Raises `ValueError` where the caller is at fault: an amount that is no amount, one account twice, two currencies.
    """
    if transfer.amount_minor <= 0:
        raise ValueError("a transfer moves a positive amount")
    if debit.account == credit.account:
        raise ValueError("a transfer needs two accounts")
    if not debit.currency == credit.currency == transfer.currency:
        raise ValueError("a transfer has one currency")
    if debit.floor_minor is not None and debit.balance_minor - transfer.amount_minor < debit.floor_minor:
        return "limit_exceeded"
    taken, given = _entry(transfer, debit, "debit"), _entry(transfer, credit, "credit")
    return Posting(transfer, taken, given, _after(debit, taken), _after(credit, given))


def _entry(transfer: Transfer, account: Account, side: Side) -> Entry:
    signed = transfer.amount_minor if side == "credit" else -transfer.amount_minor
    return Entry(
        account.account,
        account.currency,
        account.seq + 1,
        transfer.transfer_id,
        side,
        transfer.amount_minor,
        account.balance_minor,
        account.balance_minor + signed,
        account.floor_minor,
    )


def _after(account: Account, entry: Entry) -> Account:
    return Account(account.account, account.currency, entry.seq, entry.balance_after_minor, account.floor_minor)
