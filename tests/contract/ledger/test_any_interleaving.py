"""The laws over the real store: any order, repetition, batching, restart, replay and passing of time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ledger.reading import LedgerReader
from pipeline.ports import InMessage
from schemas.events import Event
from tests.contract.ledger.invariants import broken_invariants
from tests.contract.ledger.world import (
    ALICE,
    BOB,
    START_US,
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

NAMES = "abcd"
Step = Event | str | int
"""An event, the word restart or replay, or so many microseconds."""


def at(name: str) -> dict[str, Any]:
    """Two intents on each of two tills."""
    return {"terminal_id": "till-1" if name in "ab" else "till-2"}


names = st.sampled_from(NAMES)
payers = st.sampled_from([ALICE, BOB])
events = st.one_of(
    st.builds(
        lambda n, seq, order: opening(n, lane_seq=seq, order=order, amount_minor=300_000, **at(n)),
        names, st.integers(1, 4), st.sampled_from(["o1", "o2", "o3"]),
    ),
    st.builds(
        lambda n, decision, payer, amount: verdict(n, decision, payer=payer, amount_minor=amount, **at(n)),
        names, st.sampled_from(["approve", "step_up", "decline"]), payers, st.sampled_from([300_000] * 4 + [1]),
    ),
    st.builds(
        lambda n, payer, key: confirmation(n, payer=payer, key=key, amount_minor=300_000, **at(n)),
        names, payers, st.sampled_from([b"k" * 32] * 3 + [b"x" * 32]),
    ),
    st.builds(lambda n: cancellation(n, **at(n)), names),
    st.builds(lambda n: hint(n, **at(n)), names),
    st.builds(
        lambda n, amount, key: refund(n, amount, key=key, **at(n)),
        names, st.integers(1, 300_000), st.sampled_from("xy"),
    ),
)  # fmt: skip
steps = st.one_of(events, events, events, events, st.sampled_from(["restart", "replay"]), st.integers(1, TTL_US))


def play(world: World, batches: list[list[Step]]) -> None:
    """Each inner list is one batch; words and times act between batches."""
    for batch in batches:
        messages: list[InMessage] = []
        for step in batch:
            if isinstance(step, int):
                world.clock.now_us += step
            elif step == "restart":
                world.store.close()
                world.store = world.open()
            elif step == "replay":
                world.apply(*messages)
            elif not isinstance(step, str):
                messages.append(world.message(step))
        world.apply(*messages)
        world.apply(*messages)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(steps, max_size=12), max_size=6))
def test_whatever_happens_the_books_hold_and_each_intent_ends_once(batches: list[list[Step]]) -> None:
    """Debits equal credits, nothing is settled late, one outcome each, the outbox has no gaps: at the end and, after
    the last deadline, with nothing left open."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "ledger.db")
        try:
            play(world, batches)
            assert broken_invariants(world.url) == []
            world.clock.now_us = START_US + 100 * TTL_US
            world.apply()
            assert broken_invariants(world.url) == []
            with LedgerReader(world.url) as ledger:
                assert all(intent.decided_at_us is not None for intent in ledger.intents())
                assert ledger.parked() == []
                paid = [intent for intent in ledger.intents() if intent.state == "settled"]
            assert {intent.payer_id for intent in paid} <= {ALICE, BOB}
            assert len({intent.merchant_order_id for intent in paid}) == len(paid)
            assert {intent.intent_id for intent in paid} <= {new_id(name) for name in NAMES}
        finally:
            world.store.close()
