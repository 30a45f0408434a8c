"""The ledger as auditors read it: one snapshot, no lock, no way to write.

A `LedgerReader` is opened, read and closed: everything it returns is of one moment, that of its first question,
however much settlement writes meanwhile. While it is open, SQLite cannot shorten its write-ahead log: do not keep it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, cast

from sqlalchemy import Row, Select, select
from sqlalchemy.exc import SQLAlchemyError

from pipeline.domain.intents import State
from pipeline.ledger.database import open_reading, refused
from pipeline.ledger.rows import words
from pipeline.ledger.tables import accounts, entries, intents, lanes, meta, offsets, outbox, parked, refunds, transfers
from pipeline.ledger.writing import unpacked
from pipeline.ports import KafkaIdentity, LedgerIdentity
from schemas.codec import sha256_hex

_READ_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane: its owner, the number of its last outbox row, the next offset by topic, its intents opened and ended."""

    lane: int
    owner: str
    owner_epoch: int
    outbox_seq: int
    opened: int
    ended: int
    offsets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class IntentRow:
    """An intent as the ledger keeps it; times in microseconds UTC, money in minor units."""

    intent_id: str
    lane: int
    lane_seq: int
    terminal_id: str
    merchant_id: str
    payee_id: str
    merchant_order_id: str
    amount_minor: int
    currency: str
    opened_at_us: int
    expires_at_us: int
    state: State
    reasons: tuple[str, ...]
    decided_at_us: int | None
    refunded_minor: int
    payer_id: str | None
    method: str | None
    captured_at_us: int | None
    command_sha256: str
    verdict_sha256: str | None
    recognition_sha256: str | None
    confirmation_sha256: str | None
    trace: str


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One movement of money; `refund_id` None is the settlement itself."""

    transfer_id: str
    intent_id: str
    refund_id: str | None
    currency: str
    amount_minor: int
    posted_at_us: int


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One side of a transfer in its account's own sequence."""

    account: str
    currency: str
    seq: int
    transfer_id: str
    side: Literal["debit", "credit"]
    amount_minor: int
    balance_before_minor: int
    balance_after_minor: int
    floor_minor: int | None


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Where an account stands after its entry number `seq`: credits minus debits."""

    account: str
    currency: str
    seq: int
    balance_minor: int


@dataclass(frozen=True, slots=True)
class RefundAnswerRow:
    """The answer to a refund; `refused` is None or the reason."""

    refund_id: str
    intent_id: str
    amount_minor: int
    refused: str | None
    command_sha256: str
    decided_at_us: int


@dataclass(frozen=True, slots=True)
class OwedRow:
    """One record that the ledger owes or owed to Kafka."""

    lane: int
    seq: int
    incarnation: int
    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    owed_since_us: int

    @property
    def sha256(self) -> str:
        """Over the value."""
        return sha256_hex(self.value)


class LedgerReader:
    """See the module; raises `LedgerError`. Use it in a `with` statement."""

    def __init__(self, url: str) -> None:
        self._engine = open_reading(url)
        self._connection = self._engine.connect()
        # The first question opens the snapshot; asked here, so that it is of the moment of opening.
        self._meta = {str(row.name): str(row.value) for row in self._rows(select(meta.c.name, meta.c.value))}

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the snapshot."""
        self._connection.close()
        self._engine.dispose()

    def identity(self) -> LedgerIdentity:
        """Which ledger this is."""
        return LedgerIdentity(self._meta["ledger_id"], int(self._meta["incarnation"]))

    def kafka(self) -> KafkaIdentity | None:
        """Which Kafka it belongs to, None before settlement met one."""
        cluster_id = self._meta.get("cluster_id")
        if cluster_id is None:
            return None
        ids = {n.removeprefix("topic_id:"): v for n, v in self._meta.items() if n.startswith("topic_id:")}
        return KafkaIdentity(cluster_id, ids)

    def lane_states(self) -> list[LaneRow]:
        """All lanes that were ever taken, in order."""
        positions: dict[int, dict[str, int]] = {}
        for row in self._rows(select(offsets)):
            positions.setdefault(row.lane, {})[row.topic] = row.next_offset
        return [
            LaneRow(
                row.lane, row.owner, row.owner_epoch, row.outbox_seq, row.opened, row.ended,
                positions.get(row.lane, {}),
            )
            for row in self._rows(select(lanes).order_by(lanes.c.lane))
        ]  # fmt: skip

    def intents(self, since_us: int = 0) -> Iterator[IntentRow]:
        """Intents opened at or after `since_us`, by lane and `lane_seq`."""
        query = select(intents).where(intents.c.opened_at_us >= since_us)
        for row in self._rows(query.order_by(intents.c.lane, intents.c.lane_seq, intents.c.intent_id)):
            yield IntentRow(
                intent_id=row.intent_id,
                lane=row.lane,
                lane_seq=row.lane_seq,
                terminal_id=row.terminal_id,
                merchant_id=row.merchant_id,
                payee_id=row.payee_id,
                merchant_order_id=row.merchant_order_id,
                amount_minor=row.amount_minor,
                currency=row.currency,
                opened_at_us=row.opened_at_us,
                expires_at_us=row.expires_at_us,
                state=State(row.state),
                reasons=words(row.reasons),
                decided_at_us=row.decided_at_us,
                refunded_minor=row.refunded_minor,
                payer_id=row.payer_id,
                method=row.method,
                captured_at_us=row.captured_at_us,
                command_sha256=row.command_sha256,
                verdict_sha256=row.verdict_sha256,
                recognition_sha256=row.recognition_sha256,
                confirmation_sha256=row.confirmation_sha256,
                trace=row.trace,
            )

    def transfers(self) -> Iterator[TransferRow]:
        """All movements of money, by time."""
        for row in self._rows(select(transfers).order_by(transfers.c.posted_at_us, transfers.c.transfer_id)):
            refund_id = None if row.purpose == "settlement" else row.purpose
            yield TransferRow(
                row.transfer_id, row.intent_id, refund_id, row.currency, row.amount_minor, row.posted_at_us
            )  # fmt: skip

    def entries(self) -> Iterator[EntryRow]:
        """All entries, each account's in its own order."""
        for row in self._rows(select(entries).order_by(entries.c.account, entries.c.currency, entries.c.seq)):
            yield EntryRow(
                row.account, row.currency, row.seq, row.transfer_id, cast("Literal['debit', 'credit']", row.side),
                row.amount_minor, row.balance_before_minor, row.balance_after_minor, row.floor_minor,
            )  # fmt: skip

    def accounts(self) -> Iterator[AccountRow]:
        """All accounts by name."""
        for row in self._rows(select(accounts).order_by(accounts.c.account, accounts.c.currency)):
            yield AccountRow(row.account, row.currency, row.seq, row.balance_minor)

    def refunds(self) -> Iterator[RefundAnswerRow]:
        """All answers to refunds, by time."""
        for row in self._rows(select(refunds).order_by(refunds.c.decided_at_us, refunds.c.refund_id)):
            yield RefundAnswerRow(
                row.refund_id, row.intent_id, row.amount_minor, row.refused, row.command_sha256, row.decided_at_us
            )  # fmt: skip

    def outbox(self, lane: int | None = None) -> Iterator[OwedRow]:
        """What is or was owed to Kafka, of one lane or of all, in order."""
        query = select(outbox).order_by(outbox.c.lane, outbox.c.seq)
        for row in self._rows(query if lane is None else query.where(outbox.c.lane == lane)):
            yield OwedRow(
                row.lane, row.seq, row.incarnation, row.topic, bytes(row.key), bytes(row.value),
                unpacked(row.headers), row.owed_since_us,
            )  # fmt: skip

    def parked(self) -> list[tuple[str, int]]:
        """(intent_id, expires_at_us) of the verdicts that wait for their command."""
        return [(row.intent_id, row.expires_at_us) for row in self._rows(select(parked).order_by(parked.c.intent_id))]

    def _rows(self, query: Select[Any]) -> Iterator[Row[Any]]:
        try:
            yield from self._connection.execution_options(yield_per=_READ_ROWS).execute(query)
        except SQLAlchemyError as error:
            raise refused("reading the ledger", error) from None
