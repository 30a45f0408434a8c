"""The ledger as auditors read it."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from pipeline.domain.intents import State
from pipeline.ledger.reading import LedgerReader
from tests.contract.ledger.world import ALICE, START_US, World, new_id, opening, refund, verdict


def test_everything_the_ledger_knows_can_be_read(world: World) -> None:
    """Lanes, intents, transfers, entries, accounts, refunds and the outbox of a payment with a refund."""
    world.feed(opening("a"), verdict("a"), refund("a", 250), refund("a", 9_999, key="r2"))
    with LedgerReader(world.url) as ledger:
        (lane,) = ledger.lane_states()
        (intent,) = ledger.intents()
        paid, back = ledger.transfers()
        granted, refused = sorted(ledger.refunds(), key=lambda row: row.refused or "")
        assert (lane.lane, lane.owner, lane.owner_epoch, lane.outbox_seq, dict(lane.offsets)) == (
            3, "test", 1, 3, {"commands": 3, "verdicts": 1},
        )  # fmt: skip
        assert (intent.state, intent.payer_id, intent.refunded_minor, intent.decided_at_us) == (
            State.SETTLED, ALICE, 250, START_US,
        )  # fmt: skip
        assert {(t.intent_id, t.refund_id, t.amount_minor) for t in (paid, back)} == {
            (new_id("a"), None, 1_250), (new_id("a"), granted.refund_id, 250),
        }  # fmt: skip
        assert (granted.refused, refused.refused) == (None, "exceeds_settled")
        assert [(e.account[:5], e.seq, e.side, e.balance_after_minor) for e in ledger.entries()] == [
            ("payee", 1, "credit", 1_250), ("payee", 2, "debit", 1_000),
            ("payer", 1, "debit", -1_250), ("payer", 2, "credit", -1_000),
        ]  # fmt: skip
        assert [(row.lane, row.seq, row.topic, row.owed_since_us) for row in ledger.outbox(3)] == [
            (3, n, "settlements", START_US) for n in (1, 2, 3)
        ]
        assert list(ledger.outbox(4)) == []
        assert list(ledger.intents(since_us=START_US + 1)) == []


def test_a_reader_sees_one_moment(world: World) -> None:
    """What settlement writes meanwhile belongs to the next reader."""
    world.feed(opening("a"), verdict("a"))
    with LedgerReader(world.url) as ledger:
        world.feed(opening("b", lane_seq=2), verdict("b"))
        assert (len(list(ledger.intents())), len(list(ledger.outbox())), len(list(ledger.entries()))) == (1, 1, 2)
    with LedgerReader(world.url) as ledger:
        assert len(list(ledger.intents())) == 2


def test_a_reader_cannot_write(world: World) -> None:
    """An audit that changes what it audits is none."""
    with LedgerReader(world.url) as ledger, pytest.raises(OperationalError, match="readonly"):
        ledger._connection.execute(text("DELETE FROM intents"))
