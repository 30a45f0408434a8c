"""What was recorded, as values: each event with its position and hash, and the ledger's rows.

Everything that judges (`invariants`, `timeline`) takes a `History`, so that a test can write one by hand and corrupt
it. Times are microseconds UTC, money is minor units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from schemas.events import Command, Event, Hint, Recognition, Settlement, Verdict

E_co = TypeVar("E_co", bound=Event, covariant=True)

FINAL_OUTCOMES = frozenset({"settled", "declined", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class Emission:
    """Which outbox row a settlement record says it is (its headers)."""

    ledger_id: str
    incarnation: int
    lane: int
    outbox_seq: int


@dataclass(frozen=True, slots=True)
class Record(Generic[E_co]):
    """One event on a topic. `sha256` is over the bytes as consumed, `timestamp_us` is Kafka's."""

    topic: str
    partition: int
    offset: int
    timestamp_us: int
    sha256: str
    event: E_co
    emission: Emission | None = None

    @property
    def position(self) -> str:
        """Topic, partition and offset, as a person writes them."""
        return f"{self.topic}/{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Input:
    """The position of a record that settlement must consume, whether it can be decoded or not."""

    topic: str
    partition: int
    offset: int
    timestamp_us: int


@dataclass(frozen=True, slots=True)
class LedgerIntent:
    """The ledger's row of an intent: what decided it, by hash."""

    intent_id: str
    state: str
    payee_id: str
    amount_minor: int
    currency: str
    opened_at_us: int
    refunded_minor: int = 0
    payer_id: str | None = None
    command_sha256: str | None = None
    verdict_sha256: str | None = None
    recognition_sha256: str | None = None
    confirmation_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerTransfer:
    """One movement of money; `refund_id` None is the settlement itself."""

    transfer_id: str
    intent_id: str
    refund_id: str | None
    currency: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One side of a transfer in one account."""

    account: str
    currency: str
    transfer_id: str
    side: Literal["debit", "credit"]
    amount_minor: int


@dataclass(frozen=True, slots=True)
class LedgerAccount:
    """Where an account stands: credits minus debits."""

    account: str
    currency: str
    balance_minor: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One record the ledger owes to Kafka; `sha256` is over its value, `owed_since_us` 0 where the row does not say."""

    lane: int
    seq: int
    topic: str
    sha256: str
    owed_since_us: int = 0


@dataclass(frozen=True, slots=True)
class LedgerLane:
    """How far a lane has come: the number of its last outbox row, the next offset to apply by topic."""

    lane: int
    outbox_seq: int
    next_offsets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger's database as read in one go."""

    ledger_id: str
    incarnation: int
    intents: tuple[LedgerIntent, ...] = ()
    transfers: tuple[LedgerTransfer, ...] = ()
    entries: tuple[LedgerEntry, ...] = ()
    accounts: tuple[LedgerAccount, ...] = ()
    outbox: tuple[OutboxRow, ...] = ()
    lanes: tuple[LedgerLane, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Everything an audit looks at.

    `read_at_us` is when reading began: what is younger may still be on its way. `since_us` is None for a whole history,
    else intents opened before it are out of scope, because their evidence may not have been read. `outages_us` says
    from when to when settlement could not decide; None when nobody knows, which allows every outcome the longer bound.
    """

    read_at_us: int
    commands: tuple[Record[Command], ...] = ()
    hints: tuple[Record[Hint], ...] = ()
    recognitions: tuple[Record[Recognition], ...] = ()
    verdicts: tuple[Record[Verdict], ...] = ()
    settlements: tuple[Record[Settlement], ...] = ()
    inputs: tuple[Input, ...] = ()
    ledger: Ledger | None = None
    since_us: int | None = None
    outages_us: tuple[tuple[int, int], ...] | None = None
    undecodable: int = 0

    def in_scope(self, opened_at_us: int) -> bool:
        """Whether an intent opened then was read with all of its evidence."""
        return self.since_us is None or opened_at_us >= self.since_us
