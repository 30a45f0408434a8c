"""Deadlines by the database's clock, read under the lane's lock."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import metrics
from pipeline.errors import LedgerError
from pipeline.ledger import loading
from tests.contract.ledger.invariants import broken_invariants
from tests.contract.ledger.world import START_US, TTL_US, World, opening, verdict


def test_a_lane_is_due_exactly_when_an_intent_is(world: World) -> None:
    """Not a microsecond before its deadline, and not after its outcome."""
    world.feed(opening("a"))
    world.clock.now_us = START_US + TTL_US - 1
    assert world.store.due_lanes([world.lane]) == []
    world.clock.now_us += 1
    assert world.store.due_lanes([world.lane, 7]) == [world.lane]
    assert world.store.due_lanes([7]) == []
    world.apply()
    assert world.store.due_lanes([world.lane]) == []


def test_timers_fire_with_a_batch_too(world: World) -> None:
    """A busy lane does not keep deadlines waiting."""
    world.feed(opening("a"))
    world.clock.now_us += TTL_US
    later: dict[str, Any] = {
        "terminal_id": "till-2",
        "opened_at_us": START_US + TTL_US,
        "expires_at_us": START_US + 2 * TTL_US,
    }
    (event,) = world.feed(opening("b", **later))
    assert (event.intent_id, event.outcome, event.decided_at_us) == (
        opening("a").intent_id,
        "expired",
        START_US + TTL_US,
    )


def test_a_mass_expiry_comes_in_bounded_transactions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage every intent expires once, some per transaction, until no lane is due."""
    monkeypatch.setattr(loading, "_DUE", loading._DUE.limit(4))
    world.feed(*(opening(str(n), terminal_id=f"till-{n}") for n in range(10)))
    world.clock.now_us += 100 * TTL_US
    rounds = []
    while world.store.due_lanes([world.lane]):
        rounds.append([event.outcome for event in world.apply()])
    assert rounds == [["expired"] * 4, ["expired"] * 4, ["expired"] * 2]
    assert broken_invariants(world.url) == []


def test_the_gauges_show_open_intents_and_that_none_is_lost(world: World) -> None:
    """Opened minus ended minus open is 0; an intent that vanished from the table shows at once."""
    world.feed(opening("a"), opening("b", terminal_id="till-2"), verdict("a"))
    world.store.due_lanes([world.lane])
    assert (metrics.OPEN_INTENTS._value.get(), metrics.CONSERVATION._value.get()) == (1, 0)
    with world.store._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM intents WHERE state = 'open'")
    world.clock.now_us += 1_000_000
    world.store.due_lanes([world.lane])
    assert (metrics.OPEN_INTENTS._value.get(), metrics.CONSERVATION._value.get()) == (0, 1)


class Halting:
    """A clock of a process that is stopped for `pause_us` after the n-th time it looked."""

    def __init__(self, looks: int, pause_us: int) -> None:
        self.looks, self.pause_us, self.now_us = looks, pause_us, START_US

    def __call__(self) -> int:
        if self.looks == 0:
            self.now_us += self.pause_us
        self.looks -= 1
        return self.now_us


def test_a_process_that_was_stopped_before_its_commit_does_not_charge_late(world: World) -> None:
    """The clock is read again before the commit: what would be settled at or past its deadline is decided anew."""
    world.store._clock = Halting(1, TTL_US)
    (event,) = world.feed(opening("a"), verdict("a"))
    assert (event.outcome, event.decided_at_us) == ("expired", START_US + TTL_US)
    assert broken_invariants(world.url) == []


def test_a_stop_short_of_the_deadline_changes_nothing(world: World) -> None:
    """The second look is about the deadline, not about speed."""
    world.store._clock = Halting(1, TTL_US - 1)
    (event,) = world.feed(opening("a"), verdict("a"))
    assert event.outcome == "settled"


def test_a_machine_too_slow_for_every_deadline_says_so(world: World) -> None:
    """Ten times overtaken is an error with a reason, not an endless loop."""

    class Racing(Halting):
        def __call__(self) -> int:
            self.now_us += 10
            return self.now_us

    world.store._clock = Racing(0, 0)
    many = range(40)
    # Every look at the clock lets one more of these deadlines pass.
    soon: list[dict[str, Any]] = [
        {"terminal_id": f"till-{n}", "expires_at_us": START_US + 15 + 20 * n, "opened_at_us": START_US} for n in many
    ]
    messages = [
        world.message(event) for n in many for event in (opening(str(n), **soon[n]), verdict(str(n), **soon[n]))
    ]
    with pytest.raises(LedgerError, match="10 times a deadline came before the commit"):
        world.store.apply(world.lane, world.epoch, messages)
    assert world.store.outbox_seq(world.lane) == 0
