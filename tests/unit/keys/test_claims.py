"""Claims: one person one tag, and nothing on the topics that two visits have in common."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SealError, UsageError
from pipeline.keys import claims
from pipeline.keys.claims import (
    Claim,
    ClaimedBy,
    last_four_tag,
    normalised,
    open_claim,
    phone_tag,
    seal_claim,
)
from pipeline.keys.derivation import derive, length_prefixed
from pipeline.keys.keyring import Keyring
from pipeline.keys.seals import AesGcmSeal

NUMBER = "+491711234567"
HERE = {"terminal_id": "till-1", "intent_id": "0197b3a4-0000-7000-8000-000000000001"}


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """A keyring of this module's own."""
    return Keyring.create(tmp_path_factory.mktemp("claims") / "keys")


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("+49 171 1234567", NUMBER),
        ("+49-171-123.45.67", NUMBER),
        (" +49 (171) 123/4567 ", NUMBER),
        ("+1 212 555 0123", "+12125550123"),
        ("0171 1234567", None),
        ("0049 171 1234567", None),
        ("+44 (0)20 7946 0018", None),
        ("+0171123456", None),
        ("+4917112", None),
        ("+4917112345678901", None),
        ("+49 171 123456x", None),
        ("+٤٩١٧١١٢٣٤٥٦٧", None),
        ("+491711234567\n", None),
        ("4567", None),
        ("", None),
    ],
)
def test_one_number_has_one_form(typed: str, number: str | None) -> None:
    """However it is written internationally, a number is one; a national or malformed one is refused, unrepeated."""
    if number is not None:
        assert normalised(typed) == number
        return
    with pytest.raises(UsageError) as refused:
        normalised(typed)
    assert not typed.strip() or typed.strip() not in str(refused.value)


def test_tags_tell_numbers_apart_and_kinds_too(keyring: Keyring) -> None:
    """The same number has the same tags; last four digits are a tag of their own, whichever number they end."""
    other = "+4930994567"
    assert phone_tag(keyring, NUMBER) == phone_tag(keyring, "+49 171 1234567") != phone_tag(keyring, other)
    assert last_four_tag(keyring, NUMBER) == last_four_tag(keyring, other) == last_four_tag(keyring, "4567")
    assert last_four_tag(keyring, "4568") != last_four_tag(keyring, "4567")
    assert claims._tag(keyring, "full_number", "4567") != last_four_tag(keyring, "4567"), "the kinds' keys differ"


@pytest.mark.parametrize("digits", ["456", "45678", "45 7", "٤٥٦٧", "4567\n", "abcd"])
def test_last_four_are_four_digits_or_a_number(keyring: Keyring, digits: str) -> None:
    """Anything else is refused."""
    with pytest.raises(UsageError):
        last_four_tag(keyring, digits)


def test_tags_of_another_installation_differ(keyring: Keyring, tmp_path: Path) -> None:
    """A tag means nothing without the secret that made it."""
    other = Keyring.create(tmp_path / "keys")
    assert phone_tag(keyring, NUMBER) != phone_tag(other, NUMBER)
    assert last_four_tag(keyring, NUMBER) != last_four_tag(other, NUMBER)


@given(kind=st.sampled_from(["last_four", "full_number"]), tag=st.binary(min_size=16, max_size=16))
def test_a_claim_comes_back(keyring: Keyring, kind: ClaimedBy, tag: bytes) -> None:
    """What was sealed opens for the same intent, from texts of one length of which no two are equal."""
    texts = {seal_claim(keyring, kind, tag.hex(), **HERE) for _ in range(3)}
    assert len(texts) == 3
    assert {len(text) for text in texts} == {60}
    assert {open_claim(keyring, text, **HERE) for text in texts} == {Claim(kind, tag.hex())}


@pytest.mark.parametrize("wrong", ["terminal_id", "intent_id", "byte", "cut", "no base64", "another secret"])
def test_a_claim_opens_nowhere_else(keyring: Keyring, tmp_path: Path, wrong: str) -> None:
    """A claim is bound to its intent and terminal, and every bit of it counts."""
    sealed, place, opener = seal_claim(keyring, "last_four", "0" * 32, **HERE), dict(HERE), keyring
    raw = base64.b64decode(sealed)
    match wrong:
        case "byte":
            sealed = base64.b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()
        case "cut":
            sealed = base64.b64encode(raw[:20]).decode()
        case "no base64":
            sealed = "%" + sealed
        case "another secret":
            opener = Keyring.create(tmp_path / "keys")
        case _:
            place[wrong] = "till-2"
    with pytest.raises(SealError, match="claim_broken"):
        open_claim(opener, sealed, **place)


def test_a_claim_of_another_kind_is_none_that_we_know(keyring: Keyring) -> None:
    """What a later version may claim by is refused as what it is, not taken for something else."""
    seal = AesGcmSeal(derive(keyring.secret("claims"), "seal"))
    associated = length_prefixed("facepay.claim.v1", HERE["terminal_id"], HERE["intent_id"])
    for plain in (bytes([2]) + bytes(16), bytes([0]) + bytes(15), b""):
        with pytest.raises(SealError, match="claim_broken"):
            open_claim(keyring, base64.b64encode(seal.seal(plain, associated)).decode(), **HERE)


def test_a_claim_shows_nothing_of_itself(keyring: Keyring) -> None:
    """Neither the tag nor the digits stand in a representation."""
    tag = phone_tag(keyring, NUMBER)
    claim = open_claim(keyring, seal_claim(keyring, "full_number", tag, **HERE), **HERE)
    assert tag not in repr(claim)
    assert claim.kind == "full_number"
