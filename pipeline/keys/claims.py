"""Claims: who a payer says to be, by a phone number or its last four digits, so that fewer faces are compared.

A number is kept nowhere. Enrolment turns it into tags (HMAC-SHA256 under keys derived from the keyring's `claims`
secret, cut to 128 bits) that are sealed within a template; a terminal's claim becomes the same tag at the gateway and
travels sealed to the embedding agent, which compares tags. The two kinds of tag have keys of their own, so a tag of
four digits never equals one of a number. Ten thousand tags of four digits, or all numbers of a country, can be tried by
whoever holds the secret, and by nobody else: the secret is what protects them.

A sealed claim is AES-256-GCM with a random nonce over kind and tag, bound to intent and terminal: two visits of one
person show nothing in common on the topics, both kinds have one length, and a claim copied to another intent does not
open. One installation seals at most 2^32 claims under one secret (SP 800-38D, 8.3).

Numbers are taken in the international form of ITU-T E.164: "+", the country code and the subscriber's number, 8 to 15
digits together. Spaces, hyphens, dots, slashes and brackets between digits are left out. A national form ("0171 ...",
"+44 (0)20 ...") is refused rather than guessed at: one person must have one tag wherever they type their number.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from pipeline.errors import SealError, UsageError
from pipeline.keys.derivation import derive, length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal

ClaimedBy = Literal["last_four", "full_number"]
"""What was claimed: four digits, which many people share, or a number, which one person should have."""

TAG_BYTES: Final = 16
TAG_PATTERN: Final = r"^[0-9a-f]{32}\Z"

_NUMBER = re.compile(r"\+[1-9][0-9]{7,14}")
_BETWEEN_DIGITS = re.compile(r"[ \-./()]")
_FOUR_DIGITS = re.compile(r"[0-9]{4}")
_TRUNK_PREFIX = "(0)"
_KINDS: Final[tuple[ClaimedBy, ...]] = ("last_four", "full_number")


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that opened; `tag` is hexadecimal, as `phone_tag` and `last_four_tag` write it."""

    kind: ClaimedBy
    tag: str = field(repr=False)


def normalised(number: str) -> str:
    """The number as "+" and 8 to 15 digits; raises `UsageError`, which does not repeat it."""
    digits = _BETWEEN_DIGITS.sub("", number) if _TRUNK_PREFIX not in number else ""
    if not _NUMBER.fullmatch(digits):
        raise UsageError(
            "reading a phone number: it is not in the international form; write + and the country code, then the "
            "number without its leading 0, 8 to 15 digits together"
        )
    return digits


def phone_tag(keyring: Keyring, number: str) -> str:
    """The tag of a number, 32 hexadecimal digits; raises `UsageError` for one that is not in international form."""
    return _tag(keyring, "full_number", normalised(number))


def last_four_tag(keyring: Keyring, number: str) -> str:
    """The tag of four digits, or of a number's last four, 32 hexadecimal digits; raises `UsageError` for anything
    else."""
    return _tag(keyring, "last_four", number if _FOUR_DIGITS.fullmatch(number) else normalised(number)[-4:])


def seal_claim(keyring: Keyring, kind: ClaimedBy, tag: str, *, terminal_id: str, intent_id: str) -> str:
    """The claim as base64, for one intent of one terminal; a different text each time."""
    plain = bytes([_KINDS.index(kind)]) + bytes.fromhex(tag)
    sealed = _seal(keyring).seal(plain, _associated(terminal_id, intent_id))
    return base64.b64encode(sealed).decode("ascii")


def open_claim(keyring: Keyring, sealed: str, *, terminal_id: str, intent_id: str) -> Claim:
    """The claim of that intent; raises `SealError` `claim_broken` for a text that was not sealed for it."""
    try:
        plain = _seal(keyring).open(base64.b64decode(sealed, validate=True), _associated(terminal_id, intent_id))
    except (binascii.Error, SealError):
        plain = b""
    if len(plain) != 1 + TAG_BYTES or plain[0] >= len(_KINDS):
        raise SealError("claim_broken", "the claim was not sealed for this intent and terminal")
    return Claim(_KINDS[plain[0]], plain[1:].hex())


def _tag(keyring: Keyring, kind: ClaimedBy, digits: str) -> str:
    key = derive(keyring.secret("claims"), "tag", kind)
    return hmac.digest(key, digits.encode("ascii"), "sha256")[:TAG_BYTES].hex()


def _seal(keyring: Keyring) -> AesGcmSeal:
    return AesGcmSeal(derive(keyring.secret("claims"), "seal"))


def _associated(terminal_id: str, intent_id: str) -> bytes:
    return length_prefixed("facepay.claim.v1", terminal_id, intent_id)
