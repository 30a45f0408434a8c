"""Keys from keys: HKDF-SHA256 (RFC 5869), and the one encoding of field lists that every MAC and seal here uses.

A list of fields is encoded with each field's length before it, so that no two different lists give the same bytes:
("ab", "c") and ("a", "bc") stay apart.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_CONTEXT = "facepay.v1"


def length_prefixed(*fields: str | bytes) -> bytes:
    """Each field as a 4-byte big-endian length and its bytes (text as UTF-8): injective."""
    out = bytearray()
    for field in fields:
        raw = field.encode() if isinstance(field, str) else field
        out += len(raw).to_bytes(4, "big") + raw
    return bytes(out)


def derive(root: bytes, *info: str | bytes) -> bytes:
    """A 32-byte key for the purpose `info`; knowing it tells nothing of `root` or of other purposes' keys.

    No salt: `root` is a uniformly random 32-byte secret, for which RFC 5869 (3.1) makes it optional.
    """
    if len(root) != KEY_BYTES:
        raise ValueError(f"a root key has {KEY_BYTES} bytes")
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=length_prefixed(_CONTEXT, *info)).derive(root)
