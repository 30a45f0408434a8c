"""What comes out for what goes in, over real SQLite: a row per story, the outcomes last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline import metrics
from pipeline.ledger.reading import LedgerReader
from schemas.codec import encode, sha256_hex
from schemas.events import Event
from schemas.ids import derived_id
from tests.contract.ledger.invariants import broken_invariants
from tests.contract.ledger.world import (
    ALICE,
    BOB,
    START_US,
    TRACE,
    TTL_US,
    World,
    cancellation,
    confirmation,
    hint,
    new_id,
    opening,
    refund,
    verdict,
)

Step = Event | float
"""An event is fed in a batch of its own; a number lets so many seconds pass and timers fire."""

PIN = "step_up"
AT_TILL_2: Mapping[str, Any] = {"terminal_id": "till-2"}
AT_CAFE: Mapping[str, Any] = {"merchant_id": "cafe", "terminal_id": "till-3"}
PASSED, NEWER, TAKEN = ("deadline_passed",), ("superseded",), ("duplicate_order",)
GAVE_UP, OTHER, CONFLICT = ("gave_up",), ("terms_mismatch",), ("payer_conflict",)

# story -> (name of the intent, outcome, reasons) in order
ROWS: list[tuple[str, list[Step], list[tuple[str, str, tuple[str, ...]]]]] = [
    ("face", [opening("a"), verdict("a")], [("a", "settled", ())]),
    ("verdict first", [verdict("a"), opening("a")], [("a", "settled", ())]),
    ("pin", [opening("a"), verdict("a", PIN), confirmation("a")], [("a", "settled", ())]),
    ("pin, all reversed but the opening", [opening("a"), confirmation("a"), verdict("a", PIN)], [("a", "settled", ())]),
    ("decline", [opening("a"), verdict("a", "decline", reasons=("velocity",))], [("a", "declined", ("velocity",))]),
    ("cancel", [opening("a"), cancellation("a"), verdict("a")], [("a", "cancelled", GAVE_UP)]),
    (
        "confirm after cancel", [opening("a"), verdict("a", PIN), cancellation("a"), confirmation("a")],
        [("a", "cancelled", GAVE_UP)],
    ),
    ("nobody came", [opening("a"), 19.999_999, 0.000_001], [("a", "expired", PASSED)]),
    ("hinted", [opening("a"), hint("a"), hint("a", "look_here"), 20.0], [("a", "expired", ("look_here",))]),
    ("verdict after the deadline", [opening("a"), 20.0, verdict("a")], [("a", "expired", PASSED)]),
    ("never confirmed", [opening("a"), verdict("a", PIN), 20.0, confirmation("a")], [("a", "expired", PASSED)]),
    (
        "forged confirmation", [opening("a"), verdict("a", PIN), confirmation("a", key=b"x" * 32), 20.0],
        [("a", "expired", PASSED)],
    ),
    (
        "forged, then true", [opening("a"), verdict("a", PIN), confirmation("a", key=b"x" * 32), confirmation("a")],
        [("a", "settled", ())],
    ),
    (
        "confirmed a smaller amount", [opening("a"), verdict("a", PIN), confirmation("a", amount_minor=1), 20.0],
        [("a", "expired", PASSED)],
    ),
    ("verdict of other terms", [opening("a"), verdict("a", amount_minor=1)], [("a", "declined", OTHER)]),
    ("parked verdict of other terms", [verdict("a", payee_id="thief"), opening("a")], [("a", "declined", OTHER)]),
    ("two payers", [opening("a"), verdict("a", PIN), verdict("a", payer=BOB)], [("a", "declined", CONFLICT)]),
    ("two payers parked", [verdict("a", PIN), verdict("a", payer=BOB), opening("a")], [("a", "declined", CONFLICT)]),
    ("two approvals", [opening("a"), verdict("a"), verdict("a", payer=BOB)], [("a", "settled", ())]),
    ("opened too late", [20.0, opening("a"), verdict("a")], [("a", "expired", PASSED)]),
    (
        "superseded", [opening("a"), opening("b", lane_seq=2), verdict("b")],
        [("a", "cancelled", NEWER), ("b", "settled", ())],
    ),
    ("an older one comes late", [opening("b", lane_seq=2), opening("a")], [("a", "declined", NEWER)]),
    ("as new as the newest", [opening("b"), opening("a")], [("a", "declined", NEWER)]),
    (
        "older than one that ended", [opening("b", lane_seq=2), verdict("b"), opening("a")],
        [("b", "settled", ()), ("a", "declined", NEWER)],
    ),
    (
        "other tills do not supersede", [opening("a"), opening("b", lane_seq=2, **AT_TILL_2), verdict("a")],
        [("a", "settled", ())],
    ),
    (
        "order in flight elsewhere", [opening("a", order="o"), opening("b", order="o", **AT_TILL_2)],
        [("b", "declined", TAKEN)],
    ),
    (
        "order settled", [opening("a", order="o"), verdict("a"), opening("b", lane_seq=2, order="o")],
        [("a", "settled", ()), ("b", "declined", TAKEN)],
    ),
    (
        "order cancelled",
        [opening("a", order="o"), cancellation("a"), opening("b", lane_seq=2, order="o"), verdict("b")],
        [("a", "cancelled", GAVE_UP), ("b", "settled", ())],
    ),
    (
        "order superseded", [opening("a", order="o"), opening("b", lane_seq=2, order="o"), verdict("b")],
        [("a", "cancelled", NEWER), ("b", "settled", ())],
    ),
    (
        "order expired",
        [opening("a", order="o"), 20.0, opening("b", lane_seq=2, order="o", expires_at_us=START_US + 2 * TTL_US)],
        [("a", "expired", PASSED)],
    ),
    (
        "order of another merchant",
        [opening("a", order="o"), opening("b", order="o", **AT_CAFE), verdict("a"), verdict("b", **AT_CAFE)],
        [("a", "settled", ()), ("b", "settled", ())],
    ),
    (
        "limit", [opening("a", amount_minor=500_001), verdict("a", amount_minor=500_001)],
        [("a", "declined", ("limit_exceeded",))],
    ),
    (
        "refund in parts", [opening("a"), verdict("a"), refund("a", 1_000), refund("a", 250, key="r2")],
        [("a", "settled", ()), ("a", "refunded", ()), ("a", "refunded", ())],
    ),
    (
        "refund too much", [opening("a"), verdict("a"), refund("a", 1_000), refund("a", 251, key="r2")],
        [("a", "settled", ()), ("a", "refunded", ()), ("a", "refund_refused", ("exceeds_settled",))],
    ),
    (
        "refund twice with one key", [opening("a"), verdict("a"), refund("a", 100), refund("a", 100)],
        [("a", "settled", ()), ("a", "refunded", ())],
    ),
    (
        "refund before settled", [opening("a"), refund("a", 100), refund("a", 100), verdict("a")],
        [("a", "refund_refused", ("not_settled",)), ("a", "settled", ())],
    ),
    (
        "refund in another currency", [opening("a"), verdict("a"), refund("a", 1, currency="EUR")],
        [("a", "settled", ()), ("a", "refund_refused", ("currency_differs",))],
    ),
    ("all repeated", [opening("a"), opening("a"), verdict("a"), verdict("a"), opening("a")], [("a", "settled", ())]),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "one batch"])
def test_a_story_ends_as_its_row_says(
    world: World, steps: list[Step], expected: list[tuple[str, str, tuple[str, ...]]], together: bool
) -> None:
    """Record by record or, between pauses, in one batch: the same outcomes, and the books hold after each step."""
    batch: list[Event] = []
    for step in steps:
        if isinstance(step, float):
            world.feed(*batch)
            batch.clear()
            world.tick(step)
        elif together:
            batch.append(step)
        else:
            world.feed(step)
            assert broken_invariants(world.url) == []
    world.feed(*batch)
    names = {new_id(name): name for name in "ab"}
    assert [(names[s.intent_id], s.outcome, s.reasons) for s in world.settlements()] == expected
    assert broken_invariants(world.url) == []
    assert world.dead() == []


def test_a_settlement_tells_everything_it_rests_on(world: World) -> None:
    """Payer, method, times, receipt, and the hashes of command, verdict, recognition and confirmation as consumed."""
    opened, judged, confirmed = opening("a"), verdict("a", "step_up"), confirmation("a")
    (event,) = world.feed(opened, judged, confirmed)
    assert event.event_id == derived_id(event.intent_id, "outcome")
    assert event.settlement_id == derived_id(event.intent_id, "settlement")
    assert (event.payer_id, event.method, event.captured_at_us, event.decided_at_us) == (
        ALICE, "face_pin", START_US, START_US,
    )  # fmt: skip
    assert (event.amount_minor, event.currency, event.merchant_order_id) == (1_250, "CNY", "order-a")
    assert event.evidence.command_sha256 == sha256_hex(encode(opened))
    assert event.evidence.verdict_sha256 == sha256_hex(encode(judged))
    assert event.evidence.recognition_sha256 == judged.recognition_sha256
    assert event.evidence.confirmation_sha256 == sha256_hex(encode(confirmed))
    assert event.receipt is not None
    assert f"settlement_id={event.settlement_id}" in event.receipt
    assert "amount_minor=1250" in event.receipt
    with LedgerReader(world.url) as ledger:
        (row,) = ledger.intents()
        assert (row.command_sha256, row.verdict_sha256, row.recognition_sha256, row.confirmation_sha256) == (
            event.evidence.command_sha256, event.evidence.verdict_sha256, event.evidence.recognition_sha256,
            event.evidence.confirmation_sha256,
        )  # fmt: skip
        assert [(a.account, a.currency, a.balance_minor) for a in ledger.accounts()] == [
            ("payee:shop-payee", "CNY", 1_250), (f"payer:{ALICE}", "CNY", -1_250),
        ]  # fmt: skip


def test_what_moves_no_money_has_no_receipt(world: World) -> None:
    """A receipt is proof of money: an expiry and a refusal have none, a refund has one of its own."""
    events = world.feed(
        opening("a"), verdict("a"), refund("a", 100), refund("a", 9_999, key="r2"), opening("b", lane_seq=2)
    )
    events += world.tick(20)
    assert [(e.outcome, e.receipt is not None) for e in events] == [
        ("settled", True), ("refunded", True), ("refund_refused", False), ("expired", False),
    ]  # fmt: skip
    assert events[1].event_id == derived_id(events[1].intent_id, "refund", events[1].refund_id or "")


def test_an_outbox_row_carries_trace_and_origin(world: World) -> None:
    """The headers by which a reader follows a payment and settlement recovers its position."""
    world.feed(opening("a"), verdict("a"))
    (row,) = world.store.outbox_after(world.lane, 0, 10)
    headers = dict(row.headers)
    with LedgerReader(world.url) as ledger:
        assert headers == {
            "traceparent": TRACE.encode(),
            "ledger_id": ledger.identity().ledger_id.encode(),
            "incarnation": b"1",
            "lane": b"3",
            "outbox_seq": b"1",
        }
    assert (row.topic, row.key) == ("settlements", b"till-1")


def test_a_limit_holds_across_payments_and_a_refund_makes_room(world: World) -> None:
    """The floor is of the account, not of a payment."""
    outcomes = []
    for n, name in enumerate("abcd", 1):
        big: dict[str, Any] = {"amount_minor": 300_000}
        (event,) = world.feed(opening(name, lane_seq=n, **big), verdict(name, **big))
        outcomes.append((event.outcome, event.reasons))
        if name == "b":
            world.feed(refund("a", 200_000))
    assert outcomes == [
        ("settled", ()),
        ("declined", ("limit_exceeded",)),
        ("settled", ()),
        ("declined", ("limit_exceeded",)),
    ]
    assert broken_invariants(world.url) == []


def test_currencies_of_one_payer_are_separate_accounts(world: World) -> None:
    """Nothing adds yuan to euros: a payer has one account per currency, each with entries from 1."""
    world.feed(opening("a"), verdict("a"), opening("b", lane_seq=2, currency="EUR"), verdict("b", currency="EUR"))
    with LedgerReader(world.url) as ledger:
        assert [(a.account[:5], a.currency, a.seq) for a in ledger.accounts()] == [
            ("payee", "CNY", 1), ("payee", "EUR", 1), ("payer", "CNY", 1), ("payer", "EUR", 1),
        ]  # fmt: skip


def test_a_second_payer_after_settlement_is_an_alert(world: World) -> None:
    """Nobody is charged for it, and a person is told."""
    alerts = metrics.ALERTS.labels("settlement", "payer_conflict_after_settlement")
    before = alerts._value.get()
    world.feed(opening("a"), verdict("a"))
    assert world.feed(verdict("a", payer=BOB)) == []
    assert alerts._value.get() == before + 1


def test_a_forged_confirmation_is_counted(world: World) -> None:
    """Ignored is not unseen."""
    ignored = metrics.REJECTS.labels("settlement", "bad_mac")
    before = ignored._value.get()
    world.feed(opening("a"), verdict("a", "step_up"), confirmation("a", key=b"x" * 32))
    assert ignored._value.get() == before + 1
