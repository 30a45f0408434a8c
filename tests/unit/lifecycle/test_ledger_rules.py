"""Double entry as a table and as laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.ledger import Account, Posting, Transfer, post

FLOOR = -1_000


def transfer(amount: int, currency: str = "CNY") -> Transfer:
    return Transfer("t", "i", None, currency, amount, 0)


# balance before, floor, amount -> balance after, or the refusal
ROWS = [
    (0, FLOOR, 1, -1),
    (0, FLOOR, 1_000, -1_000),
    (0, FLOOR, 1_001, "limit_exceeded"),
    (-999, FLOOR, 1, -1_000),
    (-1_000, FLOOR, 1, "limit_exceeded"),
    (-5_000, FLOOR, 1, "limit_exceeded"),
    (500, 0, 500, 0),
    (-5_000, None, 10**9, -5_000 - 10**9),
]


@pytest.mark.parametrize(("balance", "floor", "amount", "expected"), ROWS)
def test_a_debit_stops_at_the_floor(balance: int, floor: int | None, amount: int, expected: int | str) -> None:
    """A debit goes down to the floor and not below it."""
    posted = post(transfer(amount), Account("payer:a", "CNY", 3, balance, floor), Account("payee:b", "CNY"))
    assert (posted if isinstance(posted, str) else posted.debited.balance_minor) == expected


@pytest.mark.parametrize(
    ("amount", "debit", "credit"),
    [
        (0, Account("a", "CNY"), Account("b", "CNY")),
        (-1, Account("a", "CNY"), Account("b", "CNY")),
        (1, Account("a", "CNY"), Account("a", "CNY")),
        (1, Account("a", "EUR"), Account("b", "CNY")),
        (1, Account("a", "CNY"), Account("b", "EUR")),
    ],
)
def test_what_is_no_transfer_is_the_callers_fault(amount: int, debit: Account, credit: Account) -> None:
    """No amount, one account twice and two currencies are refused loudly."""
    with pytest.raises(ValueError, match="a transfer"):
        post(transfer(amount), debit, credit)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 700)), max_size=40))
def test_debits_equal_credits_and_sequences_have_no_gaps(moves: list[tuple[int, int, int]]) -> None:
    """Whatever moves between four accounts, the sum is 0, no balance is below its floor, and each entry follows the
    one before it by number and by balance."""
    accounts = {n: Account(str(n), "CNY", floor_minor=FLOOR) for n in range(4)}
    last: dict[str, tuple[int, int]] = {}
    for source, target, amount in moves:
        if source == target:
            continue
        posted = post(transfer(amount), accounts[source], accounts[target])
        if not isinstance(posted, Posting):
            continue
        assert posted.debit.amount_minor == posted.credit.amount_minor == amount
        accounts[source], accounts[target] = posted.debited, posted.credited
        for entry in (posted.debit, posted.credit):
            assert (entry.seq - 1, entry.balance_before_minor) == last.get(entry.account, (0, 0))
            last[entry.account] = (entry.seq, entry.balance_after_minor)
    assert sum(account.balance_minor for account in accounts.values()) == 0
    assert all(account.balance_minor >= FLOOR for account in accounts.values())
