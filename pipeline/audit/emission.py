"""I5: the ledger's input offsets and outbox agree with what was consumed and emitted.

What the ledger owes but has not emitted, or has not consumed yet, is no violation while it is young (`SLACK_US`): an
audit may run beside a system at work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from pipeline.audit.findings import Finding, Violation
from pipeline.audit.history import History, Ledger, OutboxRow, Record
from pipeline.topics import SETTLEMENTS
from schemas.events import Settlement

SLACK_US = 30_000_000


def outbox_and_offsets_agree(history: History) -> Finding:
    """I5 over a history."""
    ledger = history.ledger
    if ledger is None:
        return Finding(0, ())
    checked = len(ledger.outbox) + len(ledger.lanes) + len(history.settlements)
    return Finding.of(
        checked, (*_outbox_is_gapless(ledger), *_emitted_as_owed(history, ledger), *_consumed(history, ledger))
    )


def _outbox_is_gapless(ledger: Ledger) -> Iterator[Violation]:
    rows: dict[int, set[int]] = defaultdict(set)
    for row in ledger.outbox:
        rows[row.lane].add(row.seq)
    for lane in ledger.lanes:
        there = rows[lane.lane]
        # Old rows may have been pruned; between the oldest kept and the lane's number none may be missing.
        wanted = set(range(min(there, default=lane.outbox_seq + 1), lane.outbox_seq + 1))
        for seq in sorted(wanted - there):
            yield Violation("outbox_gap", f"lane {lane.lane}", f"row {seq} of {lane.outbox_seq} is missing")
        for seq in sorted(seq for seq in there if seq > lane.outbox_seq):
            yield Violation("outbox_ahead", f"lane {lane.lane}", f"row {seq} is above the lane's {lane.outbox_seq}")


def _emitted_as_owed(history: History, ledger: Ledger) -> Iterator[Violation]:
    owed = {(row.lane, row.seq): row for row in ledger.outbox if row.topic == SETTLEMENTS}
    oldest = {lane: min(seq for at, seq in owed if at == lane) for lane, _ in owed}
    emitted: dict[tuple[int, int], Record[Settlement]] = {}
    last: dict[int, int] = {}
    for record in history.settlements:
        emission = record.emission
        if emission is None:
            yield Violation("unnumbered", record.event.intent_id, f"{record.position} names no outbox row")
            continue
        if emission.ledger_id != ledger.ledger_id:
            yield Violation("other_ledger", record.event.intent_id, f"{record.position} comes from another ledger")
            continue
        key = (emission.lane, emission.outbox_seq)
        lane = f"lane {emission.lane}"
        if record.partition != emission.lane:
            yield Violation("wrong_lane", lane, f"{record.position} stands on partition {record.partition}")
        if key in emitted:
            detail = f"row {key[1]} stands at {emitted[key].position} and at {record.position}"
            yield Violation("emitted_twice", lane, detail)
        elif key[1] < last.get(key[0], 0):
            yield Violation("out_of_order", lane, f"row {key[1]} follows row {last[key[0]]} at {record.position}")
        emitted.setdefault(key, record)
        last[key[0]] = max(key[1], last.get(key[0], 0))
        yield from _same_bytes(record, owed.get(key), oldest.get(key[0], 0))
    yield from _not_emitted(history, owed, emitted, last)


def _same_bytes(record: Record[Settlement], row: OutboxRow | None, oldest: int) -> Iterator[Violation]:
    emission = record.emission
    if emission is None:
        return
    if row is None and emission.outbox_seq >= oldest:
        detail = f"{record.position} says it is row {emission.outbox_seq}, which the ledger does not have"
        yield Violation("not_owed", f"lane {emission.lane}", detail)
    elif row is not None and row.sha256 != record.sha256:
        detail = f"{record.position} differs from row {row.seq} of the ledger"
        yield Violation("other_bytes", f"lane {emission.lane}", detail)


def _not_emitted(
    history: History,
    owed: Mapping[tuple[int, int], OutboxRow],
    emitted: Mapping[tuple[int, int], Record[Settlement]],
    last: Mapping[int, int],
) -> Iterator[Violation]:
    for key, row in owed.items():
        if key in emitted or not history.in_scope(row.owed_since_us):
            continue
        lane = f"lane {row.lane}"
        if row.seq < last.get(row.lane, 0):
            yield Violation("emission_gap", lane, f"row {row.seq} was left out, row {last[row.lane]} was emitted")
        elif history.read_at_us - row.owed_since_us > SLACK_US:
            late_s = (history.read_at_us - row.owed_since_us) / 1e6
            yield Violation("not_emitted", lane, f"row {row.seq} has been owed for {late_s:.0f} s")


def _consumed(history: History, ledger: Ledger) -> Iterator[Violation]:
    ends: dict[tuple[str, int], int] = {}
    for record in history.inputs:
        key = (record.topic, record.partition)
        ends[key] = max(ends.get(key, 0), record.offset + 1)
    next_offsets = {(topic, lane.lane): at for lane in ledger.lanes for topic, at in lane.next_offsets.items()}
    for (topic, partition), at in next_offsets.items():
        end = ends.get((topic, partition))
        # Without a record of that partition in reach (all older than `since`) there is nothing to compare with.
        if (end is not None or history.since_us is None) and at > (end or 0):
            detail = f"the ledger consumed {topic} up to {at}, Kafka ends at {end or 0}"
            yield Violation("ahead_of_kafka", f"lane {partition}", detail)
    for record in history.inputs:
        at = next_offsets.get((record.topic, record.partition), 0)
        age_us = history.read_at_us - record.timestamp_us
        if record.offset >= at and age_us > SLACK_US:
            detail = f"{record.topic}/{record.partition}@{record.offset} has waited for {age_us / 1e6:.0f} s"
            yield Violation("not_consumed", f"lane {record.partition}", detail)
