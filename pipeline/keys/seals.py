"""Authenticated encryption under one key: AES-256-GCM with a random nonce (NIST SP 800-38D).

A sealed value is the nonce (12 bytes), then the ciphertext and its tag (16 bytes). The nonce is random, so one key
must not seal more than 2^32 values (SP 800-38D, 8.3); what each key here seals is counted where it is used.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipeline.errors import SealError

NONCE_BYTES = 12
TAG_BYTES = 16


class AesGcmSeal:
    """`ports.Seal` under a 32-byte key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, associated: bytes) -> bytes:
        """Nonce, ciphertext and tag of `plain`, bound to `associated`, which is not stored."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """The plain bytes; raises `SealError` `seal_broken` if key, bytes or `associated` differ."""
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise SealError("seal_broken", f"a sealed value of {len(sealed)} bytes is too short")
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
        except InvalidTag:
            raise SealError("seal_broken", "the seal does not hold for this key and these facts") from None
