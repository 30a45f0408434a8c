"""Kafka and the ledger's database to a `History`.

The order of reading makes an audit beside a running system sound. Settlements come first: what they name exists by
then, so it is found in whatever is read later. The ledger comes before the topics that it consumes: Kafka's ends are
then at or past what the ledger has consumed. What happens in between can only be missing where `History.read_at_us`
says that it is young.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from pipeline.audit.history import (
    Emission,
    History,
    Input,
    Ledger,
    LedgerAccount,
    LedgerEntry,
    LedgerIntent,
    LedgerLane,
    LedgerTransfer,
    OutboxRow,
    Record,
)
from pipeline.errors import DecodeError
from pipeline.ledger.reading import LedgerReader
from pipeline.ports import Clock, InMessage
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka, Settings
from pipeline.topics import COMMANDS, HINTS, RECOGNITIONS, SETTLEMENTS, VERDICTS
from schemas.codec import decode, sha256_hex
from schemas.events import (
    Cancel,
    Command,
    Confirm,
    Event,
    Hint,
    NoteHint,
    OpenIntent,
    Recognition,
    Refund,
    Settlement,
    Verdict,
)

E = TypeVar("E", bound=Event)

COMMAND_TYPES: tuple[type[Command], ...] = (OpenIntent, Confirm, Cancel, Refund, NoteHint)

SINCE_SLACK_US = 120_000_000
"""How much further back topics are read than intents are judged: Kafka's clock is not the gateway's."""


def load(
    settings: Settings,
    clock: Clock,
    *,
    since_us: int | None = None,
    outages_us: tuple[tuple[int, int], ...] | None = None,
) -> History:
    """Everything recorded, or what was since `since_us` (microseconds UTC). Raises `KafkaUnavailable`, `LedgerError`.

    `outages_us`: from when to when settlement was known to be down; None when nobody knows.
    """
    read_at_us = clock()
    topics = _Topics(settings.kafka, None if since_us is None else max(0, since_us - SINCE_SLACK_US))
    settlements = tuple(topics.records(SETTLEMENTS, Settlement, read_committed=True))
    recognitions = tuple(topics.records(RECOGNITIONS, Recognition))
    ledger = read_ledger(settings.ledger.url)
    verdicts = tuple(topics.records(VERDICTS, Verdict))
    commands: tuple[Record[Command], ...] = tuple(topics.records(COMMANDS, *COMMAND_TYPES))
    hints = tuple(topics.records(HINTS, Hint))
    return History(
        read_at_us=read_at_us,
        commands=commands,
        hints=hints,
        recognitions=recognitions,
        verdicts=verdicts,
        settlements=settlements,
        inputs=tuple(topics.inputs),
        ledger=ledger,
        since_us=since_us,
        outages_us=outages_us,
        undecodable=topics.undecodable,
    )


class _Topics:
    """Reads topics once each, keeps the positions of settlement's inputs, counts what is no event."""

    def __init__(self, kafka: Kafka, since_us: int | None) -> None:
        self._kafka = kafka
        self._since_us = since_us
        self.inputs: list[Input] = []
        self.undecodable = 0

    def records(self, topic: str, *events: type[E], read_committed: bool = False) -> Iterator[Record[E]]:
        """The records of a topic that are one of `events`; others are counted: an agent has them in its dead letter."""
        for message in read_topic(self._kafka, topic, read_committed=read_committed, since_us=self._since_us):
            if topic in {COMMANDS, VERDICTS}:
                self.inputs.append(Input(topic, message.partition, message.offset, message.timestamp_us))
            try:
                event = decode(message.value, *events)
            except DecodeError:
                self.undecodable += 1
                continue
            yield Record(
                topic=topic,
                partition=message.partition,
                offset=message.offset,
                timestamp_us=message.timestamp_us,
                sha256=sha256_hex(message.value or b""),
                event=event,
                emission=_emission(message),
            )


def _emission(message: InMessage) -> Emission | None:
    """Which outbox row a record says it is; None where a header is missing or no number."""
    ledger_id = message.header("ledger_id")
    numbers = [message.header(name) for name in ("incarnation", "lane", "outbox_seq")]
    if ledger_id is None or not all(number is not None and number.isdigit() for number in numbers):
        return None
    incarnation, lane, outbox_seq = (int(number or b"0") for number in numbers)
    return Emission(ledger_id.decode("ascii", "replace"), incarnation, lane, outbox_seq)


def read_ledger(url: str) -> Ledger:
    """One snapshot of the ledger's database. Raises `LedgerError`."""
    with LedgerReader(url) as reader:
        identity = reader.identity()
        return Ledger(
            ledger_id=identity.ledger_id,
            incarnation=identity.incarnation,
            intents=tuple(
                LedgerIntent(
                    intent_id=row.intent_id,
                    state=row.state.value,
                    payee_id=row.payee_id,
                    amount_minor=row.amount_minor,
                    currency=row.currency,
                    opened_at_us=row.opened_at_us,
                    refunded_minor=row.refunded_minor,
                    payer_id=row.payer_id,
                    command_sha256=row.command_sha256,
                    verdict_sha256=row.verdict_sha256,
                    recognition_sha256=row.recognition_sha256,
                    confirmation_sha256=row.confirmation_sha256,
                )
                for row in reader.intents()
            ),
            transfers=tuple(
                LedgerTransfer(row.transfer_id, row.intent_id, row.refund_id, row.currency, row.amount_minor)
                for row in reader.transfers()
            ),
            entries=tuple(
                LedgerEntry(row.account, row.currency, row.transfer_id, row.side, row.amount_minor)
                for row in reader.entries()
            ),
            accounts=tuple(LedgerAccount(row.account, row.currency, row.balance_minor) for row in reader.accounts()),
            outbox=tuple(
                OutboxRow(row.lane, row.seq, row.topic, row.sha256, row.owed_since_us) for row in reader.outbox()
            ),
            lanes=tuple(LedgerLane(row.lane, row.outbox_seq, row.offsets) for row in reader.lane_states()),
        )
