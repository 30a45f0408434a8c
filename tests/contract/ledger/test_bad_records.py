"""Records that can never be applied go to the dead letter with their reason; their neighbours go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.ports import InMessage
from schemas.codec import encode
from schemas.events import Event
from tests.contract.ledger.invariants import broken_invariants
from tests.contract.ledger.world import World, cancellation, opening, refund, terms_of, verdict

MIXED = encode(replace(opening("x"), terms=terms_of("other")))

# what, its topic, its key, its event or bytes -> reason
ROWS: list[tuple[str, str, str, Event | bytes, str]] = [
    ("not JSON", "commands", "till-1", b"\xff\x00", "not_json"),
    ("a list", "commands", "till-1", b"[]", "wrong_type"),
    ("a verdict among commands", "commands", "till-1", verdict("x"), "wrong_event"),
    ("a command among verdicts", "verdicts", "till-1", opening("x"), "wrong_event"),
    ("a wrong type", "commands", "till-1", encode(opening("x")).replace(b":1250,", b':"1250",'), "invalid_field"),
    ("another key", "commands", "till-2", opening("x"), "key_mismatch"),
    ("another topic", "frames", "till-1", opening("x"), "wrong_topic"),
    ("terms of another intent", "commands", "till-1", MIXED, "terms_inconsistent"),
    ("another terminal's intent", "commands", "till-9", cancellation("known", terminal_id="till-9"), "wrong_terminal"),
    ("a refund of nothing", "commands", "till-1", refund("x", 1), "unknown_intent"),
]  # fmt: skip


@pytest.mark.parametrize(("topic", "key", "event", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_bad_record_is_buried_and_its_neighbours_go_on(
    world: World, topic: str, key: str, event: Event | bytes, reason: str
) -> None:
    """In the middle of a batch, before a good payment's second half."""
    world.feed(opening("known"))
    good, bad = world.message(opening("a", lane_seq=2)), world.message(event, topic=topic, key=key)
    judged = world.message(verdict("a"))
    outcomes = [event.outcome for event in world.apply(good, bad, judged)]
    assert outcomes == ["cancelled", "settled"]
    assert world.dead() == [reason]
    assert broken_invariants(world.url) == []


def test_an_empty_record_is_buried(world: World) -> None:
    """A null value on a topic that has no tombstones."""
    world.apply(InMessage("commands", world.lane, 0, b"till-1", None))
    assert world.dead() == ["empty"]


def test_a_terminal_on_two_lanes_is_buried(world: World) -> None:
    """A producer with another partitioner sends a terminal's record to a lane that cannot see its intents."""
    world.feed(opening("a"))
    epoch = world.store.acquire(4, "test").owner_epoch
    for event in (opening("b", lane_seq=2), cancellation("a"), verdict("a")):
        message = world.message(event)
        world.store.apply(4, epoch, [InMessage(message.topic, 4, message.offset, message.key, message.value)])
    assert [row.value for row in world.store.outbox_after(4, 0, 10)] == [b"wrong_lane"] * 3
    assert broken_invariants(world.url) == []
