"""Receipts that anybody can check: a compact JWS (RFC 7515) signed with Ed25519 (RFC 8037).

The seed is the keyring's `receipt` secret; the public key may be printed on a wall. Only one header is ever accepted,
so that no receipt can choose its own algorithm.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipeline.errors import InvalidMessage
from pipeline.keys.keyring import Keyring

ReceiptField = str | int | None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


_HEADER = _base64url(b'{"alg":"EdDSA","typ":"facepay-receipt"}')


def receipt_public_key(key: Keyring | bytes) -> bytes:
    """The 32 bytes with which receipts of this installation are checked."""
    return _private(key).public_key().public_bytes_raw()


def sign_receipt(key: Keyring | bytes, fields: Mapping[str, ReceiptField]) -> str:
    """A receipt over `fields`, ASCII; Ed25519 is deterministic, so equal fields give equal receipts."""
    signed = f"{_HEADER}.{_base64url(orjson.dumps(dict(fields), option=orjson.OPT_SORT_KEYS))}"
    return f"{signed}.{_base64url(_private(key).sign(signed.encode('ascii')))}"


def verify_receipt(public_key: bytes, receipt: str) -> Mapping[str, ReceiptField]:
    """The fields of a receipt whose signature holds; raises `InvalidMessage` `receipt_invalid`."""
    signed, _, signature = receipt.rpartition(".")
    header, _, payload = signed.partition(".")
    if header != _HEADER:
        raise InvalidMessage("receipt_invalid", "this is no receipt of facepay")
    try:
        raw = base64.b64decode(signature + "=" * (-len(signature) % 4), altchars=b"-_", validate=True)
        if _base64url(raw) != signature:  # several texts may decode to the same bytes: accept the one that was written
            raise ValueError("not canonical")
        Ed25519PublicKey.from_public_bytes(public_key).verify(raw, signed.encode("ascii"))
        fields: Mapping[str, ReceiptField] = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (InvalidSignature, binascii.Error, UnicodeEncodeError, ValueError):
        raise InvalidMessage("receipt_invalid", "the receipt's signature does not hold under this key") from None
    return fields


def _private(key: Keyring | bytes) -> Ed25519PrivateKey:
    return _of_seed(key if isinstance(key, bytes) else key.secret("receipt"))


@lru_cache(maxsize=4)
def _of_seed(seed: bytes) -> Ed25519PrivateKey:
    # Making the key costs more than a signature; whoever signs holds the seed anyway.
    return Ed25519PrivateKey.from_private_bytes(seed)
