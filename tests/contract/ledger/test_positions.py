"""Each input is applied once: owner epochs, stored offsets, and what a replay, a hole or a stranger does to them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from pipeline import metrics
from pipeline.errors import Fenced, LedgerError
from pipeline.ledger.reading import LedgerReader
from pipeline.ports import InMessage
from schemas.events import Event
from tests.contract.ledger.invariants import broken_invariants
from tests.contract.ledger.world import World, cancellation, opening, refund, verdict


def dump(world: World) -> list[str]:
    """The whole database as text."""
    with closing(sqlite3.connect(world.path)) as connection:
        return list(connection.iterdump())


def at(message: InMessage, offset: int) -> InMessage:
    return InMessage(message.topic, message.partition, offset, message.key, message.value)


def test_a_replay_of_any_batch_changes_nothing(world: World) -> None:
    """At-least-once delivery up to here: what is below the stored offsets leaves the database byte for byte."""
    events: list[Event | bytes] = [
        opening("a"),
        verdict("a"),
        refund("a", 100),
        opening("b", lane_seq=2),
        verdict("c"),
        b"junk",
    ]
    messages = [world.message(event) for event in events]
    world.apply(*messages)
    before = dump(world)
    world.apply(*messages)
    world.apply(*messages[2:4])
    for message in messages:
        world.apply(message)
    assert dump(world) == before


def test_an_overlapping_batch_applies_its_new_part(world: World) -> None:
    """A rewind that goes on past the stored position continues exactly there."""
    first, second, third = (world.message(event) for event in (opening("a"), verdict("a"), refund("a", 100)))
    world.apply(first, second)
    assert [event.outcome for event in world.apply(first, second, third)] == ["refunded"]
    assert broken_invariants(world.url) == []


def test_the_database_says_where_to_go_on(world: World) -> None:
    """A new owner is told the next offset of each topic and the last outbox row."""
    world.feed(opening("a"), verdict("a"), refund("a", 100))
    state = world.store.acquire(world.lane, "next")
    assert (state.owner_epoch, dict(state.offsets), state.outbox_seq) == (2, {"commands": 2, "verdicts": 1}, 2)
    empty = world.store.acquire(5, "next")
    assert (empty.owner_epoch, dict(empty.offsets), empty.outbox_seq) == (1, {}, 0)


def test_a_hole_is_accepted_and_counted(world: World) -> None:
    """Kafka's offsets have holes (transaction markers, retention): what comes after one is applied."""
    gaps = metrics.REJECTS.labels("settlement", "offset_gap")
    before = gaps._value.get()
    world.feed(opening("a"))
    world.next_offset["commands"] = 9
    assert [event.outcome for event in world.feed(cancellation("a"))] == ["cancelled"]
    assert gaps._value.get() == before + 1
    with LedgerReader(world.url) as ledger:
        assert dict(ledger.lane_states()[0].offsets) == {"commands": 10}


def test_one_record_twice_in_a_batch_is_applied_once(world: World) -> None:
    """A redelivery may sit beside its original."""
    opened, judged = world.message(opening("a")), world.message(verdict("a"))
    assert [event.outcome for event in world.apply(opened, opened, judged, judged)] == ["settled"]


def test_records_out_of_order_are_refused_whole(world: World) -> None:
    """Skipping the lower one would lose it: the batch fails and nothing of it is written."""
    first, second = world.message(opening("a")), world.message(cancellation("a"))
    third = world.message(opening("b", lane_seq=2))
    with pytest.raises(LedgerError, match="in order"):
        world.apply(third, first, second)
    assert world.store.outbox_seq(world.lane) == 0
    assert [event.outcome for event in world.apply(first, second, third)] == ["cancelled"]


def test_a_record_of_another_partition_is_refused(world: World) -> None:
    """Its offset would be stored for the wrong lane."""
    message = world.message(opening("a"))
    with pytest.raises(LedgerError, match="partition 4"):
        world.apply(InMessage(message.topic, 4, message.offset, message.key, message.value))


def test_an_earlier_owner_is_fenced(world: World) -> None:
    """A zombie with an old epoch writes nothing, not even timers."""
    old = world.epoch
    world.store.acquire(world.lane, "successor")
    before = dump(world)
    for messages in ([world.message(opening("a"))], []):
        with pytest.raises(Fenced, match="this process must end"):
            world.store.apply(world.lane, old, messages)
    assert dump(world) == before


def test_a_lane_that_nobody_took_is_fenced(world: World) -> None:
    """No epoch, no money."""
    with pytest.raises(Fenced, match="no owner"):
        world.store.apply(6, 1, [])


@pytest.mark.parametrize("elsewhere", [7, 0])
def test_offsets_that_somebody_else_moved_fence_the_owner(world: World, elsewhere: int) -> None:
    """Compare-and-set: the owner goes on only from the offsets that it left, whatever the epoch says."""
    world.feed(opening("a"))
    with closing(sqlite3.connect(world.path)) as connection:
        connection.execute("UPDATE offsets SET next_offset = ?", (elsewhere,))
        connection.commit()
    with pytest.raises(Fenced, match="somebody else writes"):
        world.feed(cancellation("a"))


def test_the_outbox_is_read_in_order_and_in_parts(world: World) -> None:
    """Rows after a position, at most so many, numbered from 1 per lane."""
    world.feed(*(event for n in range(1, 6) for event in (opening(str(n), lane_seq=n), verdict(str(n)))))
    assert world.store.outbox_seq(world.lane) == 5
    assert [row.seq for row in world.store.outbox_after(world.lane, 0, 3)] == [1, 2, 3]
    assert [row.seq for row in world.store.outbox_after(world.lane, 3, 3)] == [4, 5]
    assert world.store.outbox_after(world.lane, 5, 3) == []
    assert world.store.outbox_seq(5) == 0
