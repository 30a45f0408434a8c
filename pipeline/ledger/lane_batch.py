"""One batch of one lane, applied in memory between the loading of what it touches and the writing of what it changed.

The database's rows come in (`loading`), the lifecycle and the ledger's rules decide over each record in order, and
what is to be written piles up here (`writing`). Nothing is visible to anyone before the transaction commits, metrics
included: `Tally` is counted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.domain import ledger
from pipeline.domain.intents import (
    Answered,
    Cancellation,
    Confirmation,
    Decision,
    Effect,
    HintNoted,
    Input,
    Intent,
    Judgement,
    Opening,
    RefundAsked,
    State,
    Superseded,
    Tick,
)
from pipeline.domain.lifecycle import decide
from pipeline.keys import confirmations
from pipeline.ledger.outcomes import ReceiptSigner, final_outcome, refund_answer, refund_transfer_id, settlement_id
from pipeline.ledger.records import Record, judgement
from pipeline.ports import Emit, InMessage
from schemas.codec import encode
from schemas.events import Cancel, Confirm, NoteHint, OpenIntent, Refund, Settlement, Verdict

DeadLetterOf = Callable[[InMessage, str, str, int], Emit]
"""(record, reason, detail, now_us) to the record for the dead letter topic (`runtime.deadletters`)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a batch is decided with."""

    settlements: str
    confirmation_key: bytes = field(repr=False)
    sign: ReceiptSigner
    dead: DeadLetterOf
    payer_limit_minor: int


@dataclass(slots=True)
class Parked:
    """A verdict that overtook its command; `stored` when it has a row already."""

    topic: str
    offset: int
    intent_id: str
    value: bytes
    expires_at_us: int
    judgement: Judgement
    stored: bool


@dataclass(frozen=True, slots=True)
class RefundRow:
    """The answer to a refund."""

    refund_id: str
    intent_id: str
    amount_minor: int
    refused: str | None
    command_sha256: str
    decided_at_us: int


@dataclass(slots=True)
class Tally:
    """What to count once the batch is committed."""

    notes: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    since_capture_us: list[int] = field(default_factory=list)


@dataclass(slots=True)
class LaneBatch:
    """The working set; see the module. `now_us` is the database's clock, read under the lane's lock."""

    lane: int
    now_us: int
    rules: Rules
    intents: dict[str, Intent] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    """Intents of other lanes that this batch's records name."""
    terminals: dict[str, tuple[int, int]] = field(default_factory=dict)
    """terminal_id to (lane, highest lane_seq)."""
    live_of: dict[str, set[str]] = field(default_factory=dict)
    orders: dict[tuple[str, str], str] = field(default_factory=dict)
    """(merchant_id, merchant_order_id) to the intent that has it in flight or settled."""
    accounts: dict[tuple[str, str], ledger.Account] = field(default_factory=dict)
    parked: dict[str, list[Parked]] = field(default_factory=dict)
    known_refunds: set[str] = field(default_factory=set)

    new_intents: set[str] = field(default_factory=set)
    changed: dict[str, None] = field(default_factory=dict)
    new_terminals: set[str] = field(default_factory=set)
    changed_terminals: set[str] = field(default_factory=set)
    postings: list[ledger.Posting] = field(default_factory=list)
    refunds: list[RefundRow] = field(default_factory=list)
    unparked: list[Parked] = field(default_factory=list)
    emits: list[Emit] = field(default_factory=list)
    ended: int = 0
    settled_before_us: int | None = None
    """The earliest deadline of what this batch settles: at or past it, the batch must not commit."""
    tally: Tally = field(default_factory=Tally)

    def handle(self, record: Record) -> None:
        """Applies one record, in the order in which records come."""
        event = record.event
        if event is None:
            fault = record.fault
            self._bury(record, fault.reason if fault else "unknown", fault.detail if fault else "no reason was kept")
            return
        home = self.terminals.get(event.terminal_id)
        if event.intent_id in self.elsewhere or (home is not None and home[0] != self.lane):
            self._bury(record, "wrong_lane", "its terminal lives on another lane: a producer has another partitioner")
            return
        known = self.intents.get(event.intent_id)
        if known is not None and known.terms.terminal_id != event.terminal_id:
            self._bury(record, "wrong_terminal", "its intent belongs to another terminal")
            return
        match event:
            case OpenIntent():
                self._open(event, record.sha256)
            case Verdict():
                self._judge(event, record)
            case Confirm():
                self._confirm(event, record.sha256)
            case Cancel():
                self._step(event.intent_id, Cancellation(event.reason))
            case NoteHint():
                self._step(event.intent_id, HintNoted(event.code))
            case Refund():
                self._refund(event, record)

    def fire(self, intent_id: str) -> None:
        """A timer: expires the intent if it is due."""
        self._step(intent_id, Tick())

    def account(self, name: str, currency: str, floor_minor: int | None) -> ledger.Account:
        """An account as it stands in this batch, new if it has no entry yet, with the floor in force now."""
        found = self.accounts.get((name, currency))
        if found is None:
            return ledger.Account(name, currency, floor_minor=floor_minor)
        return ledger.Account(name, currency, found.seq, found.balance_minor, floor_minor)

    def _open(self, event: OpenIntent, sha256: str) -> None:
        newest = self.terminals.get(event.terminal_id, (self.lane, 0))[1]
        order = (event.terms.merchant_id, event.merchant_order_id)
        first = event.intent_id not in self.intents
        if first and event.lane_seq > newest:
            for older in sorted(self.live_of.get(event.terminal_id, ())):
                self._step(older, Superseded())
            self._show(event.terminal_id, event.lane_seq)
        if first:
            self.new_intents.add(event.intent_id)
        self._step(
            event.intent_id,
            Opening(
                terms=event.terms,
                lane_seq=event.lane_seq,
                merchant_order_id=event.merchant_order_id,
                trace=event.trace,
                command_sha256=sha256,
                newest_lane_seq=newest,
                order_taken=order in self.orders,
            ),
        )
        waiting = self.parked.pop(event.intent_id, [])
        if first and self.intents[event.intent_id].live:
            self.orders[order] = event.intent_id
            self.live_of.setdefault(event.terminal_id, set()).add(event.intent_id)
        for park in waiting:
            if park.stored:
                self.unparked.append(park)
            self._step(event.intent_id, park.judgement)

    def _show(self, terminal_id: str, lane_seq: int) -> None:
        """The terminal's highest lane_seq is a new one."""
        if terminal_id in self.terminals:
            self.changed_terminals.add(terminal_id)
        else:
            self.new_terminals.add(terminal_id)
        self.terminals[terminal_id] = (self.lane, lane_seq)

    def _judge(self, event: Verdict, record: Record) -> None:
        verdict = judgement(event, record.sha256)
        decision = self._step(event.intent_id, verdict)
        if Effect.PARK in decision.effects:
            message = record.message
            self.parked.setdefault(event.intent_id, []).append(
                Parked(
                    message.topic, message.offset, event.intent_id, message.value or b"", event.terms.expires_at_us,
                    verdict, stored=False,
                )
            )  # fmt: skip

    def _confirm(self, event: Confirm, sha256: str) -> None:
        intent = self.intents.get(event.intent_id)
        holds = intent is not None and confirmations.verify(
            self.rules.confirmation_key,
            event.mac,
            intent_id=event.intent_id,
            verdict_id=event.verdict_id,
            payer_id=event.payer_id,
            amount_minor=intent.terms.amount_minor,
            currency=intent.terms.currency,
            payee_id=intent.terms.payee_id,
        )
        self._step(event.intent_id, Confirmation(event.verdict_id, event.payer_id, event.method, sha256, mac_ok=holds))

    def _refund(self, event: Refund, record: Record) -> None:
        if event.refund_id in self.known_refunds:
            self.tally.notes.append("refund_repeated")
            return
        if event.intent_id not in self.intents:
            self._bury(record, "unknown_intent", "a refund of an intent that this ledger has never seen")
            return
        decision = self._step(event.intent_id, RefundAsked(event.refund_id, event.amount_minor, event.currency))
        answer, intent = decision.refund, decision.intent
        if answer is None or intent is None:
            return
        self.known_refunds.add(event.refund_id)
        self.refunds.append(
            RefundRow(
                event.refund_id, event.intent_id, event.amount_minor, answer.refused, record.sha256, self.now_us
            )
        )  # fmt: skip
        if answer.refused is None and intent.bound is not None:
            transfer = ledger.Transfer(
                refund_transfer_id(event.intent_id, event.refund_id), event.intent_id, event.refund_id,
                event.currency, event.amount_minor, self.now_us,
            )  # fmt: skip
            self._post(
                transfer,
                self.account(ledger.payee_account(intent.terms.payee_id), event.currency, None),
                self.account(
                    ledger.payer_account(intent.bound.payer_id), event.currency, -self.rules.payer_limit_minor
                ),
            )
        self._announce(refund_answer(intent, event, answer, record.sha256, self.now_us, self.rules.sign))

    def _step(self, intent_id: str, happened: Input) -> Decision:
        """One decision and all that follows from it at the same moment."""
        before = self.intents.get(intent_id)
        decision = decide(before, happened, self.now_us)
        if decision.note is not None:
            alert = Effect.ALERT in decision.effects
            (self.tally.alerts if alert else self.tally.notes).append(decision.note)
        intent = decision.intent
        if intent is None or intent is before:
            return decision
        if Effect.POST in decision.effects:
            # Authorising lasts as long as the ledger needs to answer: no time passes and nothing is written between.
            self.intents[intent_id] = intent
            return self._step(intent_id, Answered(self._settle(intent)))
        self.intents[intent_id] = intent
        self.changed[intent_id] = None
        if Effect.ANNOUNCE in decision.effects:
            self._ended(intent)
        return decision

    def _settle(self, intent: Intent) -> str | None:
        """Asks the ledger: None when the money moves, else the reason why it does not."""
        if intent.bound is None:
            return "no_payer"
        terms = intent.terms
        transfer = ledger.Transfer(
            settlement_id(terms.intent_id), terms.intent_id, None, terms.currency, terms.amount_minor, self.now_us
        )
        return self._post(
            transfer,
            self.account(
                ledger.payer_account(intent.bound.payer_id), terms.currency, -self.rules.payer_limit_minor
            ),
            self.account(ledger.payee_account(terms.payee_id), terms.currency, None),
        )  # fmt: skip

    def _post(self, transfer: ledger.Transfer, debit: ledger.Account, credit: ledger.Account) -> str | None:
        posting = ledger.post(transfer, debit, credit)
        if isinstance(posting, str):
            return posting
        self.postings.append(posting)
        for account in (posting.debited, posting.credited):
            self.accounts[account.account, account.currency] = account
        return None

    def _ended(self, intent: Intent) -> None:
        terms = intent.terms
        self.ended += 1
        self.live_of.get(terms.terminal_id, set()).discard(terms.intent_id)
        order = (terms.merchant_id, intent.merchant_order_id)
        if intent.state is State.SETTLED:
            due = terms.expires_at_us
            self.settled_before_us = due if self.settled_before_us is None else min(due, self.settled_before_us)
            if intent.bound is not None:
                self.tally.since_capture_us.append(self.now_us - intent.bound.captured_at_us)
        elif self.orders.get(order) == terms.intent_id:
            del self.orders[order]
        self._announce(final_outcome(intent, self.rules.sign))

    def _announce(self, event: Settlement) -> None:
        self.tally.outcomes.append(event.outcome)
        headers = (("traceparent", event.trace.encode()),)
        self.emits.append(Emit(self.rules.settlements, event.terminal_id.encode(), encode(event), headers))

    def _bury(self, record: Record, reason: str, detail: str) -> None:
        self.tally.dead.append(reason)
        self.emits.append(self.rules.dead(record.message, reason, detail, self.now_us))
