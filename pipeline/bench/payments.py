"""Prepared payments for the settlement benchmark: a command and an approving verdict each, and what must come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pipeline.domain.intents import State
from pipeline.ledger.reading import LedgerReader
from pipeline.ports import Emit
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from schemas.codec import decode, encode, sha256_hex
from schemas.events import OpenIntent, PaymentTerms, Settlement, Verdict
from schemas.ids import derived_id

PAYERS, PAYEES = 500, 50
AMOUNT_MINOR = 100
_LIFE_US = 24 * 3_600_000_000
_TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def opens(count: int, topic: str, at_us: int) -> Iterator[Emit]:
    """`count` commands, each of a terminal of its own: a second one of a terminal would supersede the first."""
    for number in range(count):
        terms = _terms(number, at_us)
        event = OpenIntent(
            event_id=derived_id(terms.intent_id, "open"),
            terminal_id=terms.terminal_id,
            intent_id=terms.intent_id,
            trace=_TRACE,
            lane_seq=at_us,
            merchant_order_id=f"order-{number}",
            terms=terms,
        )
        yield _emit(topic, event)


def verdicts(count: int, topic: str, at_us: int) -> Iterator[Emit]:
    """The verdict that approves each of them."""
    for number in range(count):
        terms = _terms(number, at_us)
        event = Verdict(
            event_id=derived_id(terms.intent_id, "verdict"),
            terminal_id=terms.terminal_id,
            intent_id=terms.intent_id,
            trace=_TRACE,
            terms=terms,
            payer_id=derived_id("bench", "payer", str(number % PAYERS)),
            decision="approve",
            methods=(),
            reasons=(),
            score=0.1,
            policy_version="bench",
            features_sha256=sha256_hex(b"features"),
            recognition_sha256=sha256_hex(terms.intent_id.encode()),
            captured_at_us=at_us,
            decided_at_us=at_us,
        )
        yield _emit(topic, event)


def broken(kafka: Kafka, settlements: str, ledger_url: str, count: int) -> list[str]:
    """What is wrong after `count` payments were settled, from Kafka (read committed) and the ledger: nothing lost,
    nothing doubled, debits equal credits."""
    wrong = []
    settled: Counter[str] = Counter()
    for message in read_topic(kafka, settlements, read_committed=True):
        event = decode(message.value, Settlement)
        settled[event.intent_id] += 1
        if event.outcome != "settled" or event.receipt is None:
            wrong.append(f"{event.intent_id} came out as {event.outcome}")
    expected = {_intent_id(number) for number in range(count)}
    wrong += [f"{len(lost)} settlements lost"] if (lost := expected - settled.keys()) else []
    wrong += [f"{len(strange)} settlements of nobody"] if (strange := settled.keys() - expected) else []
    wrong += [f"{len(twice)} settlements doubled"] if (twice := [i for i, n in settled.items() if n > 1]) else []
    with LedgerReader(ledger_url) as ledger:
        paid = Counter(intent.intent_id for intent in ledger.intents() if intent.state is State.SETTLED)
        moved = Counter(transfer.intent_id for transfer in ledger.transfers())
        sides: Counter[str] = Counter()
        for entry in ledger.entries():
            sides[entry.side] += entry.amount_minor
        owed = sum(lane.outbox_seq for lane in ledger.lane_states())
    if set(paid) != expected or moved != paid:
        wrong.append(f"the ledger settled {len(paid)} intents with {moved.total()} transfers, not {count}")
    if not sides["debit"] == sides["credit"] == count * AMOUNT_MINOR:
        wrong.append(f"debits are {sides['debit']} and credits {sides['credit']}, not {count * AMOUNT_MINOR} each")
    if owed != count:
        wrong.append(f"the outbox numbered {owed} records, not {count}")
    return wrong


def _intent_id(number: int) -> str:
    return derived_id("bench", "intent", str(number))


def _terms(number: int, at_us: int) -> PaymentTerms:
    return PaymentTerms(
        intent_id=_intent_id(number),
        terminal_id=f"t-{number}",
        merchant_id="shop",
        payee_id=f"payee-{number % PAYEES}",
        amount_minor=AMOUNT_MINOR,
        currency="CNY",
        opened_at_us=at_us,
        # So late that no round, however slow, lets one expire.
        expires_at_us=at_us + _LIFE_US,
        key_epoch=1,
    )


def _emit(topic: str, event: OpenIntent | Verdict) -> Emit:
    return Emit(topic, event.terminal_id.encode(), encode(event))
