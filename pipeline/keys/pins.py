"""PIN verifiers: enough to check a PIN, as little as possible to find one.

A PIN has 4 to 12 digits, so a hash alone protects nothing: whoever holds it tries all PINs. Hence three layers: the
PIN is first keyed with a pepper from the keyring (HMAC-SHA256), then stretched with scrypt (RFC 7914; N 2^15, r 8, p 1:
32 MiB and some 0.1 s a try), and the verifier travels sealed, bound to its payer, so that one payer's verifier cannot
be put in another's place. Guessing at a terminal is bounded by the gateway's count of failures.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from pipeline.errors import InvalidMessage, UsageError
from pipeline.keys.derivation import derive, length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal

_VERSION = b"\x01"  # names the parameters below, which are never read from a record
_N, _R, _P = 2**15, 8, 1
_MEMORY_BYTES = 64 * 1024 * 1024
_SALT_BYTES, _HASH_BYTES = 16, 32


def pin_pepper(keyring: Keyring) -> bytes:
    """The pepper of this installation (32 bytes)."""
    return derive(keyring.secret("pin"), "pepper")


def make_verifier(pin: str, pepper: bytes) -> bytes:
    """A verifier (49 bytes: version, salt, hash) of a new PIN; raises `UsageError` unless it is 4 to 12 digits."""
    if not re.fullmatch(r"[0-9]{4,12}", pin):
        raise UsageError("setting a PIN: it is not 4 to 12 digits; choose another one")
    salt = secrets.token_bytes(_SALT_BYTES)
    return _VERSION + salt + _stretch(pin, pepper, salt)


def check_pin(pin: str, verifier: bytes, pepper: bytes) -> bool:
    """Whether `pin` is the one of `verifier`; raises `InvalidMessage` `verifier_invalid` for a damaged verifier."""
    if len(verifier) != 1 + _SALT_BYTES + _HASH_BYTES or verifier[:1] != _VERSION:
        raise InvalidMessage("verifier_invalid", "the PIN verifier has another version or length")
    salt, wanted = verifier[1 : 1 + _SALT_BYTES], verifier[1 + _SALT_BYTES :]
    return hmac.compare_digest(_stretch(pin, pepper, salt), wanted)


def seal_verifier(keyring: Keyring, payer_id: str, verifier: bytes) -> bytes:
    """The verifier as it may travel: sealed under the keyring's `pin` secret, bound to its payer."""
    return _seal(keyring).seal(verifier, _bound_to(payer_id))


def open_verifier(keyring: Keyring, payer_id: str, sealed: bytes) -> bytes:
    """The verifier again; raises `SealError` if it was sealed for another payer or another installation."""
    return _seal(keyring).open(sealed, _bound_to(payer_id))


def _seal(keyring: Keyring) -> AesGcmSeal:
    return AesGcmSeal(derive(keyring.secret("pin"), "seal"))


def _bound_to(payer_id: str) -> bytes:
    return length_prefixed("facepay.pin.v1", payer_id)


def _stretch(pin: str, pepper: bytes, salt: bytes) -> bytes:
    keyed = hmac.new(pepper, pin.encode(), hashlib.sha256).digest()
    return hashlib.scrypt(keyed, salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY_BYTES, dklen=_HASH_BYTES)
