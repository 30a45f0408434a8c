"""Verdicts that overtake their command wait for it, and not for ever."""

from __future__ import annotations

from pipeline.ledger.reading import LedgerReader
from tests.contract.ledger.world import START_US, TTL_US, World, opening, verdict


def parked(world: World) -> list[tuple[str, int]]:
    with LedgerReader(world.url) as ledger:
        return ledger.parked()


def test_a_parked_verdict_survives_a_restart_and_leaves_when_used(world: World) -> None:
    """The wait is in the database, not in memory."""
    world.feed(verdict("a"))
    assert parked(world) == [(verdict("a").intent_id, START_US + TTL_US)]
    world.store.close()
    world.store = world.open()
    (event,) = world.feed(opening("a"))
    assert event.outcome == "settled"
    assert parked(world) == []


def test_a_parked_verdict_expires_and_leaves_nothing(world: World) -> None:
    """Its own terms end the wait: no row, no outcome, no timer stays."""
    world.feed(verdict("a"))
    assert world.store.due_lanes([world.lane]) == []
    world.clock.now_us += TTL_US
    assert world.store.due_lanes([world.lane]) == [world.lane]
    assert world.apply() == []
    assert parked(world) == []
    assert world.store.due_lanes([world.lane]) == []


def test_a_verdict_past_its_terms_is_not_parked(world: World) -> None:
    """It can settle nothing any more."""
    world.clock.now_us += TTL_US
    world.feed(verdict("a"))
    assert parked(world) == []


def test_a_command_past_its_deadline_does_not_use_a_parked_verdict(world: World) -> None:
    """The deadline has passed when the command comes: expired, never a late charge."""
    world.feed(verdict("a"))
    world.clock.now_us += TTL_US
    (event,) = world.feed(opening("a"))
    assert event.outcome == "expired"
    assert parked(world) == []
