"""A small true history, written by hand: five payments on two lanes, with the ledger that they must have left.

`clean()` breaks no promise; the tests corrupt it one fact at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

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
from schemas.codec import encode, sha256_hex
from schemas.events import (
    Cancel,
    Confirm,
    Event,
    Evidence,
    OpenIntent,
    PaymentTerms,
    Recognition,
    Refund,
    Settlement,
    Verdict,
)
from schemas.ids import derived_id

E = TypeVar("E", bound=Event)

START_US = 1_764_000_000_000_000
SECOND_US = 1_000_000
LEDGER_ID = derived_id("ledger")
HASH = "0" * 64

FACE, PIN, DECLINED, EXPIRED, CANCELLED, OPEN = (
    derived_id("intent", name) for name in ("face", "pin", "declined", "expired", "cancelled", "open")
)
PAYER = derived_id("payer", "one")
OTHER_PAYER = derived_id("payer", "two")


@dataclass
class Story:
    """Collects what happens, in order, as the system would have recorded it."""

    commands: list[Record[Any]] = field(default_factory=list)
    recognitions: list[Record[Recognition]] = field(default_factory=list)
    verdicts: list[Record[Verdict]] = field(default_factory=list)
    settlements: list[Record[Settlement]] = field(default_factory=list)
    intents: list[LedgerIntent] = field(default_factory=list)
    transfers: list[LedgerTransfer] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    now_us: int = START_US

    def put(self, into: list[Record[E]], topic: str, lane: int, event: E, emission: Emission | None = None) -> str:
        """Appends a record and returns the hash of its bytes."""
        offset = sum(1 for record in into if record.partition == lane)
        digest = sha256_hex(encode(event))
        into.append(Record(topic, lane, offset, self.now_us, digest, event, emission))
        self.now_us += SECOND_US // 10
        return digest

    def open(self, intent_id: str, lane: int, amount_minor: int = 1500) -> tuple[OpenIntent, str]:
        """A terminal asks for a payment."""
        terms = PaymentTerms(
            intent_id=intent_id,
            terminal_id=f"lane-{lane}",
            merchant_id="shop",
            payee_id="shop-main",
            amount_minor=amount_minor,
            currency="CNY",
            opened_at_us=self.now_us,
            expires_at_us=self.now_us + 20 * SECOND_US,
            key_epoch=1,
        )
        event = OpenIntent(
            **self.identity(terms, "open"),
            lane_seq=self.now_us,
            merchant_order_id=f"order-{intent_id[:8]}",
            terms=terms,
        )
        return event, self.put(self.commands, "commands", lane, event)

    def identity(self, terms: PaymentTerms, what: str) -> dict[str, Any]:
        """The fields that each event has."""
        return {
            "event_id": derived_id(terms.intent_id, what),
            "terminal_id": terms.terminal_id,
            "intent_id": terms.intent_id,
            "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        }

    def judge(self, terms: PaymentTerms, lane: int, decision: Any, payer_id: str = PAYER) -> tuple[Verdict, str, str]:
        """Somebody is recognised and judged; returns the verdict, its hash and the recognition's."""
        captured_at_us = self.now_us
        recognition = Recognition(
            **self.identity(terms, "recognition"),
            terms=terms,
            payer_id=payer_id,
            similarity=0.7,
            margin=0.4,
            threshold=0.475,
            frames_used=1,
            frames_seen=2,
            gallery_size=30,
            model_sha256=HASH,
            captured_at_us=captured_at_us,
            recognised_at_us=captured_at_us + 50_000,
        )
        recognised = self.put(self.recognitions, "recognitions", 0, recognition)
        verdict = Verdict(
            **self.identity(terms, "verdict"),
            terms=terms,
            payer_id=payer_id,
            decision=decision,
            methods=("pin",) if decision == "step_up" else (),
            reasons=() if decision == "approve" else ("amount_high",),
            score=0.1,
            policy_version="rules-1",
            features_sha256=HASH,
            recognition_sha256=recognised,
            captured_at_us=captured_at_us,
            decided_at_us=self.now_us,
        )
        return verdict, self.put(self.verdicts, "verdicts", lane, verdict), recognised

    def confirm(self, verdict: Verdict, lane: int) -> str:
        """The payer enters the PIN."""
        event = Confirm(
            **self.identity(verdict.terms, "confirm"),
            verdict_id=verdict.event_id,
            payer_id=verdict.payer_id,
            method="pin",
            mac=HASH,
            confirmed_at_us=self.now_us,
        )
        return self.put(self.commands, "commands", lane, event)

    def end(
        self,
        opening: OpenIntent,
        lane: int,
        outcome: Any,
        evidence: Evidence,
        *,
        payer_id: str | None = None,
        method: Any = None,
        decided_at_us: int | None = None,
    ) -> None:
        """Settlement decides: row, outbox, record and, where settled, the money."""
        terms, at_us = opening.terms, decided_at_us or self.now_us
        paid = derived_id(terms.intent_id, "settlement") if outcome == "settled" else None
        event = Settlement(
            **self.identity(terms, "outcome"),
            outcome=outcome,
            reasons=() if outcome == "settled" else ("because",),
            merchant_id=terms.merchant_id,
            payee_id=terms.payee_id,
            merchant_order_id=opening.merchant_order_id,
            amount_minor=terms.amount_minor,
            currency=terms.currency,
            payer_id=payer_id,
            method=method,
            settlement_id=paid,
            opened_at_us=terms.opened_at_us,
            expires_at_us=terms.expires_at_us,
            decided_at_us=at_us,
            evidence=evidence,
        )
        self.emit(event, lane)
        if paid is not None and payer_id is not None:
            self.move(paid, terms.intent_id, None, terms.amount_minor, f"payer:{payer_id}", "payee:shop-main")
        self.keep(terms, outcome, evidence, payer_id)

    def keep(
        self, terms: PaymentTerms, state: str, evidence: Evidence, payer_id: str | None, refunded: int = 0
    ) -> None:
        """The ledger's row of an intent."""
        self.intents = [row for row in self.intents if row.intent_id != terms.intent_id]
        self.intents.append(
            LedgerIntent(
                intent_id=terms.intent_id,
                state=state,
                payee_id=terms.payee_id,
                amount_minor=terms.amount_minor,
                currency=terms.currency,
                opened_at_us=terms.opened_at_us,
                refunded_minor=refunded,
                payer_id=payer_id,
                command_sha256=evidence.command_sha256,
                verdict_sha256=evidence.verdict_sha256,
                recognition_sha256=evidence.recognition_sha256,
                confirmation_sha256=evidence.confirmation_sha256,
            )
        )

    def emit(self, event: Settlement, lane: int) -> None:
        """An outbox row and its record."""
        seq = sum(1 for row in self.outbox if row.lane == lane) + 1
        self.outbox.append(OutboxRow(lane, seq, "settlements", sha256_hex(encode(event)), event.decided_at_us))
        self.put(self.settlements, "settlements", lane, event, Emission(LEDGER_ID, 1, lane, seq))

    def move(
        self, transfer_id: str, intent_id: str, refund_id: str | None, amount: int, debit: str, credit: str
    ) -> None:
        """A transfer with its two entries."""
        self.transfers.append(LedgerTransfer(transfer_id, intent_id, refund_id, "CNY", amount))
        self.entries.append(LedgerEntry(debit, "CNY", transfer_id, "debit", amount))
        self.entries.append(LedgerEntry(credit, "CNY", transfer_id, "credit", amount))

    def history(self) -> History:
        """Everything so far, read a second after the last event."""
        balances: dict[str, int] = {}
        for entry in self.entries:
            signed = entry.amount_minor if entry.side == "credit" else -entry.amount_minor
            balances[entry.account] = balances.get(entry.account, 0) + signed
        inputs = [Input(r.topic, r.partition, r.offset, r.timestamp_us) for r in (*self.commands, *self.verdicts)]
        lanes = []
        for lane in (0, 1):
            ends = {
                topic: sum(1 for at in inputs if (at.topic, at.partition) == (topic, lane))
                for topic in ("commands", "verdicts")
            }
            lanes.append(LedgerLane(lane, sum(1 for row in self.outbox if row.lane == lane), ends))
        ledger = Ledger(
            ledger_id=LEDGER_ID,
            incarnation=1,
            intents=tuple(self.intents),
            transfers=tuple(self.transfers),
            entries=tuple(self.entries),
            accounts=tuple(LedgerAccount(name, "CNY", balance) for name, balance in balances.items()),
            outbox=tuple(self.outbox),
            lanes=tuple(lanes),
        )
        return History(
            read_at_us=self.now_us + SECOND_US,
            commands=tuple(self.commands),
            recognitions=tuple(self.recognitions),
            verdicts=tuple(self.verdicts),
            settlements=tuple(self.settlements),
            inputs=tuple(inputs),
            ledger=ledger,
            outages_us=(),
        )


def clean() -> History:
    """Settled by face; settled with a PIN and refunded in part; declined; expired; cancelled; and one still open."""
    story = Story()
    opening, command = story.open(FACE, 0)
    verdict, judged, recognised = story.judge(opening.terms, 0, "approve")
    evidence = Evidence(command_sha256=command, verdict_sha256=judged, recognition_sha256=recognised)
    story.end(opening, 0, "settled", evidence, payer_id=PAYER, method="face")

    opening, command = story.open(PIN, 1, amount_minor=30_000)
    verdict, judged, recognised = story.judge(opening.terms, 1, "step_up")
    confirmed = story.confirm(verdict, 1)
    evidence = Evidence(
        command_sha256=command,
        verdict_sha256=judged,
        recognition_sha256=recognised,
        confirmation_sha256=confirmed,
    )
    story.end(opening, 1, "settled", evidence, payer_id=PAYER, method="face_pin")
    _refund(story, opening, 10_000)
    story.keep(opening.terms, "settled", evidence, PAYER, refunded=10_000)

    opening, command = story.open(DECLINED, 0, amount_minor=700_000)
    _, judged, recognised = story.judge(opening.terms, 0, "decline")
    evidence = Evidence(command_sha256=command, verdict_sha256=judged, recognition_sha256=recognised)
    story.end(opening, 0, "declined", evidence, payer_id=PAYER)

    opening, command = story.open(EXPIRED, 0)
    story.now_us = opening.terms.expires_at_us + SECOND_US // 2
    story.end(opening, 0, "expired", Evidence(command_sha256=command))

    opening, command = story.open(CANCELLED, 1)
    story.put(
        story.commands,
        "commands",
        1,
        Cancel(**story.identity(opening.terms, "cancel"), reason="another_way", cancelled_at_us=story.now_us),
    )
    story.end(opening, 1, "cancelled", Evidence(command_sha256=command))

    opening, command = story.open(OPEN, 0)
    story.keep(opening.terms, "open", Evidence(command_sha256=command), None)
    return story.history()


def _refund(story: Story, opening: OpenIntent, amount_minor: int) -> None:
    terms, refund_id = opening.terms, derived_id(opening.intent_id, "asked", "1")
    command = Refund(
        **story.identity(terms, "refund-command"),
        refund_id=refund_id,
        amount_minor=amount_minor,
        currency=terms.currency,
        requested_at_us=story.now_us,
    )
    digest = story.put(story.commands, "commands", 1, command)
    transfer_id = derived_id(terms.intent_id, "refund", refund_id)
    story.emit(
        Settlement(
            **{**story.identity(terms, "refund"), "event_id": transfer_id},
            outcome="refunded",
            reasons=(),
            merchant_id=terms.merchant_id,
            payee_id=terms.payee_id,
            merchant_order_id=opening.merchant_order_id,
            amount_minor=amount_minor,
            currency=terms.currency,
            payer_id=PAYER,
            method="face_pin",
            refund_id=refund_id,
            opened_at_us=terms.opened_at_us,
            expires_at_us=terms.expires_at_us,
            decided_at_us=story.now_us,
            evidence=Evidence(command_sha256=digest),
        ),
        1,
    )
    story.move(transfer_id, terms.intent_id, refund_id, amount_minor, "payee:shop-main", f"payer:{PAYER}")
