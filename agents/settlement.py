"""The settlement agent: commands and verdicts in, each outcome out exactly once.

No rule lives here: the lifecycle decides (`pipeline.domain.lifecycle`), the ledger applies and keeps
(`pipeline.ledger.store`), the transactional loop meets Kafka (`pipeline.runtime.transactional_loop`). This gives the
ledger what it needs of keys and settings.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.keys.keyring import Keyring
from pipeline.keys.receipts import sign_receipt
from pipeline.ledger.store import AGENT, SqlLaneStore
from pipeline.ports import Clock
from pipeline.runtime.deadletters import DeadLetters
from pipeline.settings import Ledger

NAME = AGENT


def settlement_store(ledger: Ledger, keyring: Keyring, dead: DeadLetters, clock: Clock | None = None) -> SqlLaneStore:
    """The ledger ready for `TransactionalLoop`; close it when the loop has ended. `clock` None is the database's own.

    Raises `LedgerError` when another instance has it open, and the keyring's error when a secret is missing: an agent
    that could not check a confirmation or sign a receipt must not start.
    """
    confirmation_key, receipt_key = keyring.secret("confirmation"), keyring.secret("receipt")

    def sign(fields: Mapping[str, str | int | None]) -> str:
        return sign_receipt(receipt_key, fields)

    return SqlLaneStore(
        ledger.url,
        confirmation_key=confirmation_key,
        receipt_signer=sign,
        payer_limit_minor=ledger.payer_limit_minor,
        dead=dead.emit,
        clock=clock,
    )
