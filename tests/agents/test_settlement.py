"""The settlement agent with real keys: what the gateway confirms it believes, what it signs anybody can check."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents import AGENTS
from agents.settlement import NAME, settlement_store
from pipeline.errors import SettingsError
from pipeline.keys.keyring import Keyring
from pipeline.keys.receipts import receipt_public_key, verify_receipt
from pipeline.keys.seals import AesGcmSeal
from pipeline.ports import InMessage
from pipeline.runtime.deadletters import DeadLetters
from pipeline.settings import Ledger
from schemas.codec import decode, encode
from schemas.events import Confirm, DeadLetter, OpenIntent, Settlement, Verdict
from tests.contract.ledger.world import ALICE, START_US, TestClock, confirmation, opening, verdict

LANE = 2


def record(event: OpenIntent | Verdict | Confirm | bytes, offset: int) -> InMessage:
    topic = "verdicts" if isinstance(event, Verdict) else "commands"
    return InMessage(topic, LANE, offset, b"till-1", event if isinstance(event, bytes) else encode(event))


def test_a_confirmed_payment_gets_a_receipt_that_anybody_can_check(tmp_path: Path) -> None:
    """With the keyring's own secrets, from the gateway's MAC to the public key on the wall."""
    keyring = Keyring.create(tmp_path / "keys")
    dead = DeadLetters(AesGcmSeal(keyring.secret("deadletter")), NAME)
    ledger = Ledger(url=f"sqlite:///{tmp_path / 'ledger.db'}", payer_limit_minor=5_000)
    store = settlement_store(ledger, keyring, dead, clock=TestClock())
    try:
        epoch = store.acquire(LANE, "test").owner_epoch
        forged = confirmation("a", key=os.urandom(32))
        true = confirmation("a", key=keyring.secret("confirmation"))
        store.apply(LANE, epoch, [record(opening("a"), 0), record(verdict("a", "step_up"), 0), record(forged, 1)])
        assert store.outbox_seq(LANE) == 0
        store.apply(LANE, epoch, [record(true, 2), record(b"junk", 3)])
        settled, buried = store.outbox_after(LANE, 0, 10)
    finally:
        store.close()
    event = decode(settled.value, Settlement)
    assert event.receipt is not None
    assert verify_receipt(receipt_public_key(keyring), event.receipt) == {
        "kind": "settled", "intent_id": event.intent_id, "settlement_id": event.settlement_id,
        "terminal_id": "till-1", "merchant_id": "shop", "payee_id": "shop-payee", "merchant_order_id": "order-a",
        "payer_id": ALICE, "amount_minor": 1_250, "currency": "CNY", "method": "face_pin",
        "decided_at_us": START_US,
    }  # fmt: skip
    letter = decode(buried.value, DeadLetter)
    assert (buried.topic, letter.agent, letter.reason, letter.offset) == ("deadletter", "settlement", "not_json", 3)


def test_the_agent_is_listed() -> None:
    """By the name that its metrics and dead letters carry."""
    assert NAME in AGENTS


def test_an_agent_without_its_keys_does_not_start(tmp_path: Path) -> None:
    """It could neither check a confirmation nor sign a receipt."""
    keyring = Keyring.create(tmp_path / "keys")
    dead = DeadLetters(AesGcmSeal(keyring.secret("deadletter")), NAME)
    for path in (tmp_path / "keys").rglob("confirmation*"):
        path.unlink()
    with pytest.raises(SettingsError, match="confirmation"):
        settlement_store(Ledger(url=f"sqlite:///{tmp_path / 'ledger.db'}"), keyring, dead)
    assert not (tmp_path / "ledger.db").exists()
