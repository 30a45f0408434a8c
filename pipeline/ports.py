"""The seams between the parts: small protocols and the values that cross them.

`runtime` knows Kafka and these; an agent is a handler that is given what it needs. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from schemas.events import PaymentTerms

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class InMessage:
    """A record as consumed; `timestamp_us` is Kafka's (ms precision), `headers` in their order."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_us: int = 0

    def header(self, name: str) -> bytes | None:
        """The last header of that name, or None."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Emit:
    """A record to send; without `partition` the one partitioner decides by `key`."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """This message can never be processed: to the dead letter with this reason, its neighbours go on."""

    reason: str
    detail: str


HandlerResult = Sequence[Emit] | Reject


class BatchHandler(Protocol):
    """What an at-least-once agent does, whichever loop (Faust, batch) brings it to Kafka.

    `process` gets messages in order and returns one result for each, in the same order. It may run in a worker
    thread, never in two at once. Anything it raises but `Reject` results is unexpected: the process ends with exit
    code 70 and a supervisor restarts it, so that nothing is acknowledged that was not done.
    """

    name: str
    source: str

    def process(self, messages: Sequence[InMessage]) -> Sequence[HandlerResult]:
        """One result per message."""
        ...

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:
        """Records of the last `restore_window_s` before the committed offset of a partition just assigned, to
        rebuild memory (nonces seen) without acting. Called before `process` sees that partition."""
        ...

    def forget(self, partition: int) -> None:
        """The partition was taken away: drop what is remembered of it."""
        ...


P = TypeVar("P")


@runtime_checkable
class PreparingHandler(BatchHandler, Protocol[P]):
    """A `BatchHandler` whose work begins with a part that can run ahead, so that its models never wait for it.

    The batch loop calls `prepare` in a thread of its own, batch after batch in the order of `process_prepared`, while
    the worker is still busy with an earlier batch. `process(messages)` must equal
    `process_prepared(messages, prepare(messages))`: that is what any other loop calls.

    What `prepare` remembers (nonces) only `prepare` may touch; what `process_prepared` remembers (votes) `prepare` may
    at most look at, as a hint that can be old. `restore` and `forget` run while neither of the two does. A batch that
    was prepared is processed, or the process ends.
    """

    def prepare(self, messages: Sequence[InMessage]) -> P:
        """What can be made of a batch without knowing how the batches before it ended: opened, decoded."""
        ...

    def process_prepared(self, messages: Sequence[InMessage], prepared: P) -> Sequence[HandlerResult]:
        """As `process`, of what `prepare` made of the same messages."""
        ...


@dataclass(frozen=True, slots=True)
class LaneState:
    """What the ledger's database knows of a lane at assignment. `offsets`: next offset to apply, by topic; absent =
    never seen."""

    lane: int
    owner_epoch: int
    offsets: Mapping[str, int]
    outbox_seq: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One record the ledger owes to Kafka; `seq` counts on the lane from 1 without gaps."""

    lane: int
    seq: int
    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class KafkaIdentity:
    """Which Kafka a ledger belongs to: cluster id and topic ids (Kafka's own UUIDs) of its topics."""

    cluster_id: str
    topic_ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """Which ledger an emitted record came from; `incarnation` is raised by a recovery."""

    ledger_id: str
    incarnation: int


class LaneStore(Protocol):
    """The ledger as the transactional loop sees it: one lane is one partition number of the lane topics.

    All methods raise `Fenced` when `owner_epoch` is no longer the lane's, and `LedgerError` when the database fails.
    """

    sources: tuple[str, ...]
    """The input topics, co-partitioned: their partition number is the lane."""

    def bind(self, kafka: KafkaIdentity) -> LedgerIdentity:
        """First call: stores the Kafka identity in a new ledger; raises `LedgerMismatch` if an old one belongs
        elsewhere."""
        ...

    def acquire(self, lane: int, owner: str) -> LaneState:
        """Takes a lane: raises its owner epoch, so that every earlier owner is fenced."""
        ...

    def apply(self, lane: int, owner_epoch: int, messages: Sequence[InMessage]) -> None:
        """One database transaction: lock the lane's row, check the epoch and compare-and-set the input offsets,
        apply each message once (those below the stored offset are skipped), fire due timers, write effects, offsets
        and outbox rows. `messages` are of this lane, in order within each topic; empty means timers only. A bad
        record becomes an outbox row for the dead letter."""
        ...

    def due_lanes(self, lanes: Sequence[int]) -> Sequence[int]:
        """Those of `lanes` that have a timer due by the database's clock."""
        ...

    def outbox_after(self, lane: int, seq: int, limit: int) -> Sequence[OutboxRow]:
        """Rows with a higher `seq`, in order."""
        ...

    def outbox_seq(self, lane: int) -> int:
        """The highest `seq` of the lane, 0 if none."""
        ...


class Seal(Protocol):
    """Authenticated encryption with associated data under a named key."""

    def seal(self, plain: bytes, associated: bytes) -> bytes:
        """Nonce (12 bytes), then ciphertext and tag."""
        ...

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """The plain bytes; raises `SealError`."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedFrame:
    """A frame whose seal held: the JPEG and the terms it was sealed for."""

    terms: PaymentTerms
    camera: str
    sequence: int
    captured_at_us: int
    trace: str
    nonce: bytes
    jpeg: bytes = field(repr=False)
    claim: str | None = field(default=None, repr=False)
    """A sealed claim of who the payer is (`keys.claims`), as the intent's opening carried it."""


class FrameOpener(Protocol):
    """Opens sealed frames and remembers nonces (`pipeline.keys.frames`)."""

    def open(self, message: InMessage, now_us: int) -> OpenedFrame:
        """Raises `SealError` with reason `unknown_terminal`, `header_invalid`, `seal_broken`, `wrong_terminal`,
        `stale`, `from_the_future`, `replayed` or `unknown_epoch`. The same nonce at the same (topic, partition,
        offset) is a redelivery and opens again."""
        ...

    def remember(self, message: InMessage) -> None:
        """Notes the nonce of a record seen before a restart, without opening it."""
        ...

    def forget(self, partition: int) -> None:
        """Drops the nonces of a partition that was taken away."""
        ...


Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Match:
    """The best payer and the best other payer of a search; similarities are cosines."""

    payer_id: str
    template_id: str
    similarity: float
    runner_up: float
    """Best similarity of any other payer, -1.0 if there is none."""
    lookalike: bool = False
    """Whether the best payer has a declared or found lookalike, so that a face alone is no proof."""
    searched: Literal["hot", "exact"] = "exact"


class KeyEncryption(Protocol):
    """Wraps data keys under a key-encryption key that never leaves its place: a file keyring, or a KMS."""

    @property
    def version(self) -> int:
        """The version that `wrap` uses now."""
        ...

    def wrap(self, key: bytes, associated: bytes) -> tuple[int, bytes]:
        """The version used and the wrapped key, bound to version and `associated`."""
        ...

    def unwrap(self, version: int, wrapped: bytes, associated: bytes) -> bytes:
        """The key; raises `SealError` `seal_broken` or `unknown_key_version`."""
        ...


class DataKeys(Protocol):
    """One data key per payer and gallery version, in a store that can forget (`gallery.protect.data_keys`)."""

    def create(self, payer_id: str, version: int) -> tuple[str, bytes]:
        """Id and key of the payer for that gallery version, made if there is none. Raises `DataKeyError` for a payer
        whose keys were destroyed, or a version that is retired."""
        ...

    def create_many(self, payer_ids: Collection[str], version: int) -> Mapping[str, tuple[str, bytes]]:
        """As `create` for many payers: id and key by payer. Erased payers are left out."""
        ...

    def get(self, data_key_ids: Collection[str]) -> Mapping[str, bytes]:
        """The living ones among these keys, as of now."""
        ...

    def of_payer(self, payer_id: str) -> tuple[str, ...]:
        """The ids of the payer's living keys."""
        ...

    def destroyed(self, data_key_ids: Collection[str]) -> frozenset[str]:
        """Those of these ids that were keys once and were destroyed."""
        ...

    def destroy(self, payer_id: str) -> int:
        """Destroys every key of a payer, for ever, and marks the payer: no key is made for this id again. Returns how
        many living keys there were; idempotent."""
        ...


class GallerySearch(Protocol):
    """Exact 1:N search over the enrolled gallery (`pipeline.gallery`)."""

    def search(self, probes: Vector) -> Sequence[Match | None]:
        """`probes` float32 (n, d), L2-normalised; one best match each, None when the gallery is empty."""
        ...

    @property
    def size(self) -> int:
        """Number of templates searched."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the gallery was read up to its end once."""
        ...


class PayerSearch(Protocol):
    """Who stands there: the search of an agent (`pipeline.gallery.search`). Its answer is that of an exact search."""

    def search(self, probes: Vector, among: Sequence[Collection[str] | None] | None = None) -> Sequence[Match | None]:
        """`probes` float32 (n, d), L2-normalised; one best match each, None when there is nobody to compare with.
        `among`, one for each probe: the payers that it may be (a claim's candidates), None for everybody."""
        ...

    def offer(self, payer_id: str) -> None:
        """Tells that this payer was recognised just now, so that the next time may be faster; never blocks."""
        ...

    @property
    def size(self) -> int:
        """Number of templates in the gallery."""
        ...

    @property
    def payers(self) -> int:
        """Number of payers in the gallery."""
        ...

    def size_of(self, payer_ids: Collection[str]) -> int:
        """Number of templates of these payers."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the gallery was read up to its end once."""
        ...


class Clock(Protocol):
    """Where a process reads the time: integer microseconds UTC."""

    def __call__(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        ...
