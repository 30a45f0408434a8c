"""The MAC by which settlement knows that the gateway checked a payer's PIN, and for exactly what.

HMAC-SHA256 over intent, verdict, payer, amount, currency and payee under the keyring's `confirmation` secret: a
confirmation cannot be moved to another verdict, raised in amount or turned to another payee on its way through Kafka.
"""

from __future__ import annotations

import hashlib
import hmac

from pipeline.keys.derivation import length_prefixed


def confirmation_mac(
    key: bytes,
    *,
    intent_id: str,
    verdict_id: str,
    payer_id: str,
    amount_minor: int,
    currency: str,
    payee_id: str,
) -> str:
    """64 hexadecimal digits."""
    fields = ("facepay.confirmation.v1", intent_id, verdict_id, payer_id, str(amount_minor), currency, payee_id)
    return hmac.new(key, length_prefixed(*fields), hashlib.sha256).hexdigest()


def verify(
    key: bytes,
    mac: str,
    *,
    intent_id: str,
    verdict_id: str,
    payer_id: str,
    amount_minor: int,
    currency: str,
    payee_id: str,
) -> bool:
    """Whether `mac` is that of these facts, compared in constant time."""
    right = confirmation_mac(
        key,
        intent_id=intent_id,
        verdict_id=verdict_id,
        payer_id=payer_id,
        amount_minor=amount_minor,
        currency=currency,
        payee_id=payee_id,
    )
    return hmac.compare_digest(right.encode(), mac.encode())
