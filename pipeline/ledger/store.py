"""`ports.LaneStore` over SQL: each input applied once, each outcome owed to Kafka once.

One `apply` is one database transaction: it locks the lane's row, checks the owner's epoch, compares the stored input
offsets with those this owner last saw, decides (`lane_batch`), and writes effects, offsets and outbox rows under
conditions that fail when anything has moved. The clock is read under the lock; and once more before the commit: a
batch that would settle something whose deadline has come meanwhile is thrown away and decided again, so a process
that was stopped in between cannot charge late.

Offsets: a record below the stored position was applied before and is skipped. A hole above it is accepted and
counted (`offset_gap`): Kafka's offsets have holes of their own. Records out of order are the caller's fault.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, extract, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from pipeline import metrics
from pipeline.errors import Fenced, LedgerError, LedgerMismatch
from pipeline.ledger.database import open_writing, refused
from pipeline.ledger.lane_batch import DeadLetterOf, LaneBatch, Rules, Tally
from pipeline.ledger.loading import lanes_with_due_timers, load_batch
from pipeline.ledger.outcomes import ReceiptSigner
from pipeline.ledger.records import Record, read_record
from pipeline.ledger.tables import LIVE_SQL, intents, lanes, meta, offsets, outbox
from pipeline.ledger.writing import unpacked, write_batch, write_outbox
from pipeline.ports import Clock, InMessage, KafkaIdentity, LaneState, LedgerIdentity, OutboxRow
from pipeline.topics import COMMANDS, SETTLEMENTS, VERDICTS

AGENT = "settlement"
DECIDED_AGAIN = 10
"""How often a batch may be overtaken by a deadline before its commit: each time something more has expired."""

COUNTED_EVERY_US = 1_000_000
"""How often the gauges of open intents are read from the database."""

_LANE = select(lanes.c.owner_epoch, lanes.c.outbox_seq).where(lanes.c.lane == bindparam("lane")).with_for_update()
_OFFSETS = select(offsets.c.topic, offsets.c.next_offset).where(offsets.c.lane == bindparam("lane"))
_MOVE_OFFSET = (
    update(offsets)
    .where(
        offsets.c.lane == bindparam("on_lane"),
        offsets.c.topic == bindparam("on_topic"),
        offsets.c.next_offset == bindparam("was"),
    )
    .values(next_offset=bindparam("next_offset"))
)
_MOVE_LANE = (
    update(lanes)
    .where(
        lanes.c.lane == bindparam("on_lane"),
        lanes.c.owner_epoch == bindparam("epoch"),
        lanes.c.outbox_seq == bindparam("was"),
    )
    .values(
        outbox_seq=bindparam("seq"),
        opened=lanes.c.opened + bindparam("more_opened"),
        ended=lanes.c.ended + bindparam("more_ended"),
    )
)
_OUTBOX = (
    select(outbox.c.seq, outbox.c.incarnation, outbox.c.topic, outbox.c.key, outbox.c.value, outbox.c.headers)
    .where(outbox.c.lane == bindparam("lane"), outbox.c.seq > bindparam("after"))
    .order_by(outbox.c.seq)
    .limit(bindparam("rows"))
)


@dataclass(frozen=True, slots=True)
class _Held:
    """What this process last knew of a lane it took."""

    owner_epoch: int
    offsets: Mapping[str, int]


class SqlLaneStore:
    """See the module. `clock` is the database's: without one, SQLite reads its host's, PostgreSQL its own. Open it
    once per process; `close` lets the next instance in."""

    def __init__(
        self,
        url: str,
        *,
        confirmation_key: bytes,
        receipt_signer: ReceiptSigner,
        payer_limit_minor: int,
        dead: DeadLetterOf,
        clock: Clock | None = None,
        commands: str = COMMANDS,
        verdicts: str = VERDICTS,
        settlements: str = SETTLEMENTS,
    ) -> None:
        self.sources: tuple[str, ...] = (commands, verdicts)
        self._rules = Rules(
            settlements=settlements,
            confirmation_key=confirmation_key,
            sign=receipt_signer,
            dead=dead,
            payer_limit_minor=payer_limit_minor,
        )
        self._engine, self._lock = open_writing(url)
        self._clock = clock
        self._held: dict[int, _Held] = {}
        self._counted_at_us = 0
        self._identity = self._read_identity()

    def close(self) -> None:
        """Closes the database and lets the next instance in."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def bind(self, kafka: KafkaIdentity) -> LedgerIdentity:
        """See `ports.LaneStore`. Topics that the ledger has not met yet are added; known ones may not change."""
        wanted = {"cluster_id": kafka.cluster_id}
        wanted |= {f"topic_id:{topic}": topic_id for topic, topic_id in kafka.topic_ids.items()}
        with self._transaction("binding the ledger to Kafka") as connection:
            known = {str(name): str(value) for name, value in connection.execute(select(meta.c.name, meta.c.value))}
            for name in sorted(name for name in known if name == "cluster_id" or name.startswith("topic_id:")):
                if wanted.get(name) != known[name]:
                    raise LedgerMismatch(
                        f"binding the ledger to Kafka: it belongs to {name.replace('topic_id:', 'topic ')} with the id"
                        f" {known[name]}, Kafka has {wanted.get(name, 'none')}; use the ledger of this cluster"
                        " (FACEPAY_LEDGER__URL)"
                    )
            fresh = [{"name": name, "value": value} for name, value in sorted(wanted.items()) if name not in known]
            if fresh:
                connection.execute(insert(meta), fresh)
        return self._identity

    def acquire(self, lane: int, owner: str) -> LaneState:
        """See `ports.LaneStore`."""
        with self._transaction(f"taking lane {lane}") as connection:
            row = connection.execute(_LANE, {"lane": lane}).one_or_none()
            if row is None:
                connection.execute(
                    insert(lanes),
                    {"lane": lane, "owner": owner, "owner_epoch": 1, "outbox_seq": 0, "opened": 0, "ended": 0},
                )
                state = LaneState(lane, 1, {}, 0)
            else:
                connection.execute(
                    update(lanes).where(lanes.c.lane == lane).values(owner=owner, owner_epoch=row.owner_epoch + 1)
                )
                state = LaneState(lane, row.owner_epoch + 1, _stored_offsets(connection, lane), row.outbox_seq)
        self._held[lane] = _Held(state.owner_epoch, state.offsets)
        return state

    def apply(self, lane: int, owner_epoch: int, messages: Sequence[InMessage]) -> None:
        """See `ports.LaneStore`."""
        for message in messages:
            if message.partition != lane:
                raise LedgerError(
                    f"applying records to lane {lane}: one is of partition {message.partition}; hand each lane its own"
                )
        commands, verdicts = self.sources
        records = [read_record(message, commands=commands, verdicts=verdicts) for message in messages]
        for _ in range(DECIDED_AGAIN):
            tally = self._apply_once(lane, owner_epoch, records)
            if tally is not None:
                _count(tally)
                return
        raise LedgerError(
            f"applying {len(records)} records to lane {lane}: {DECIDED_AGAIN} times a deadline came before the commit;"
            " the database or this machine is too slow for the deadlines in use"
        )

    def due_lanes(self, lanes: Sequence[int]) -> Sequence[int]:
        """See `ports.LaneStore`."""
        with self._transaction("looking for due timers") as connection:
            now_us = self._now_us(connection)
            if abs(now_us - self._counted_at_us) >= COUNTED_EVERY_US:
                self._counted_at_us = now_us
                _count_open(connection)
            return lanes_with_due_timers(connection, lanes, now_us)

    def outbox_after(self, lane: int, seq: int, limit: int) -> Sequence[OutboxRow]:
        """See `ports.LaneStore`. Headers: those of the record, then ledger_id, incarnation, lane and outbox_seq."""
        ledger_id = self._identity.ledger_id.encode()
        with self._transaction(f"reading the outbox of lane {lane}") as connection:
            rows = connection.execute(_OUTBOX, {"lane": lane, "after": seq, "rows": limit}).all()
        return [
            OutboxRow(
                lane,
                row.seq,
                row.topic,
                bytes(row.key),
                bytes(row.value),
                (
                    *unpacked(row.headers),
                    ("ledger_id", ledger_id),
                    ("incarnation", b"%d" % row.incarnation),
                    ("lane", b"%d" % lane),
                    ("outbox_seq", b"%d" % row.seq),
                ),
            )
            for row in rows
        ]

    def outbox_seq(self, lane: int) -> int:
        """See `ports.LaneStore`."""
        with self._transaction(f"reading the outbox of lane {lane}") as connection:
            row = connection.execute(_LANE, {"lane": lane}).one_or_none()
        return 0 if row is None else int(row.outbox_seq)

    def _apply_once(self, lane: int, owner_epoch: int, records: Sequence[Record]) -> Tally | None:
        """One transaction; None when a deadline overtook it and nothing was written."""
        with self._transaction(f"applying {len(records)} records to lane {lane}") as connection:
            row = connection.execute(_LANE, {"lane": lane}).one_or_none()
            if row is None or row.owner_epoch != owner_epoch:
                raise Fenced(
                    f"applying records to lane {lane} with owner epoch {owner_epoch}: the lane has"
                    f" {'no owner' if row is None else f'epoch {row.owner_epoch}'}; this process must end"
                )
            stored = _stored_offsets(connection, lane)
            self._compare(lane, owner_epoch, stored)
            fresh, after, gaps = _not_yet_applied(records, stored, lane)
            now_us = self._now_us(connection)
            batch, due = load_batch(connection, lane, now_us, self._rules, fresh)
            batch.tally.notes.extend(["offset_gap"] * gaps)
            for record in fresh:
                batch.handle(record)
            for intent_id in due:
                batch.fire(intent_id)
            write_batch(connection, batch)
            _move_offsets(connection, lane, stored, after)
            self._move_lane(connection, lane, owner_epoch, row.outbox_seq, batch)
            if batch.settled_before_us is not None and self._now_us(connection) >= batch.settled_before_us:
                connection.rollback()
                return None
        self._held[lane] = _Held(owner_epoch, {**stored, **after})
        return batch.tally

    def _compare(self, lane: int, owner_epoch: int, stored: Mapping[str, int]) -> None:
        held = self._held.get(lane)
        if held is not None and held.owner_epoch == owner_epoch and held.offsets != stored:
            raise Fenced(
                f"applying records to lane {lane} with owner epoch {owner_epoch}: its offsets are {dict(stored)}, this"
                f" owner left them at {dict(held.offsets)}; somebody else writes, this process must end"
            )

    def _move_lane(
        self, connection: Connection, lane: int, owner_epoch: int, outbox_seq: int, batch: LaneBatch
    ) -> None:
        if not (batch.emits or batch.new_intents or batch.ended):
            return
        last = write_outbox(connection, batch, outbox_seq, self._identity.incarnation)
        moved = connection.execute(
            _MOVE_LANE,
            {
                "on_lane": lane,
                "epoch": owner_epoch,
                "was": outbox_seq,
                "seq": last,
                "more_opened": len(batch.new_intents),
                "more_ended": batch.ended,
            },
        ).rowcount
        if moved != 1:
            raise Fenced(f"applying records to lane {lane}: its row moved while it was locked; this process must end")

    def _now_us(self, connection: Connection) -> int:
        if self._clock is not None:
            return self._clock()
        if connection.dialect.name == "sqlite":
            return time.time_ns() // 1_000
        return int(connection.execute(select(extract("epoch", func.clock_timestamp()) * 1_000_000)).scalar_one())

    def _read_identity(self) -> LedgerIdentity:
        with self._transaction("reading the ledger's identity") as connection:
            known = {str(name): str(value) for name, value in connection.execute(select(meta.c.name, meta.c.value))}
        return LedgerIdentity(known["ledger_id"], int(known["incarnation"]))

    @contextmanager
    def _transaction(self, attempt: str) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise refused(attempt, error) from None


def _stored_offsets(connection: Connection, lane: int) -> dict[str, int]:
    return {str(topic): int(offset) for topic, offset in connection.execute(_OFFSETS, {"lane": lane})}


def _not_yet_applied(
    records: Sequence[Record], stored: Mapping[str, int], lane: int
) -> tuple[list[Record], dict[str, int], int]:
    """The records at or above the stored offsets, the next offset of each topic after them, and the holes met."""
    fresh: list[Record] = []
    after: dict[str, int] = {}
    gaps = 0
    for record in records:
        topic, offset = record.message.topic, record.message.offset
        if offset < stored.get(topic, 0):
            continue
        expected = after.get(topic, stored.get(topic))
        if expected is not None and offset < expected:
            if offset == expected - 1:
                continue
            raise LedgerError(
                f"applying records to lane {lane}: offset {offset} of {topic} came after {expected - 1}; hand over the"
                " records of a topic in order"
            )
        gaps += expected is not None and offset > expected
        after[topic] = offset + 1
        fresh.append(record)
    return fresh, after, gaps


def _move_offsets(connection: Connection, lane: int, stored: Mapping[str, int], after: Mapping[str, int]) -> None:
    for topic, next_offset in after.items():
        if topic not in stored:
            connection.execute(insert(offsets), {"lane": lane, "topic": topic, "next_offset": next_offset})
            continue
        moved = connection.execute(
            _MOVE_OFFSET,
            {"on_lane": lane, "on_topic": topic, "was": stored[topic], "next_offset": next_offset},
        ).rowcount
        if moved != 1:
            raise Fenced(f"applying records to lane {lane}: the offset of {topic} moved; this process must end")


def _count_open(connection: Connection) -> None:
    """Conservation: what the lanes counted as opened and not ended must be what is open."""
    opened, ended = connection.execute(select(func.sum(lanes.c.opened), func.sum(lanes.c.ended))).one()
    still_open = connection.execute(select(func.count()).select_from(intents).where(text(LIVE_SQL))).scalar_one()
    metrics.OPEN_INTENTS.set(still_open)
    metrics.CONSERVATION.set((opened or 0) - (ended or 0) - still_open)


def _count(tally: Tally) -> None:
    for note in tally.notes:
        metrics.REJECTS.labels(AGENT, note).inc()
    for alert in tally.alerts:
        metrics.ALERTS.labels(AGENT, alert).inc()
    for outcome in tally.outcomes:
        metrics.OUTCOMES.labels(outcome).inc()
    for reason in tally.dead:
        metrics.DEAD.labels(AGENT, reason).inc()
    for waited_us in tally.since_capture_us:
        metrics.SINCE_CAPTURE.labels("settlement").observe(max(waited_us, 0) / 1e6)
