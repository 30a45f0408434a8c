"""Derivation, seals, tokens, credentials, confirmations, PINs and receipts."""

from __future__ import annotations

import base64
import multiprocessing
import string
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidMessage, SealError, SettingsError, UsageError
from pipeline.keys import private_files
from pipeline.keys.confirmations import confirmation_mac, verify
from pipeline.keys.credentials import CameraCredentials, TerminalCredentials, provision, provision_camera
from pipeline.keys.derivation import derive, length_prefixed
from pipeline.keys.devices import Camera, camera_token, is_camera_token
from pipeline.keys.keyring import Keyring
from pipeline.keys.pins import check_pin, make_verifier, open_verifier, pin_pepper, seal_verifier
from pipeline.keys.receipts import receipt_public_key, sign_receipt, verify_receipt
from pipeline.keys.seals import AesGcmSeal
from pipeline.keys.terminals import Terminal, TerminalRegistry, is_terminal_token, terminal_token

ROOT = bytes(range(32))
CAMERA = Camera("cam-1", "t-1", registration="ab" * 16)
READ = {"terminal": TerminalCredentials.read, "camera": CameraCredentials.read}


# --- derivation -----------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=6), max_size=5), st.lists(st.binary(max_size=6), max_size=5))
def test_field_lists_are_encoded_injectively(one: list[bytes], other: list[bytes]) -> None:
    """Two lists give the same bytes only if they are the same list."""
    assert (length_prefixed(*one) == length_prefixed(*other)) == (one == other)


def test_a_derived_key_is_pinned() -> None:
    """HKDF-SHA256 with this context and encoding, for ever: another value would orphan all that was sealed before."""
    assert derive(ROOT, "frame", "t-1").hex() == "4ccf9fb04b8c435aeda28ff9b22345e37a4b7564c87f85a5d8d08d35760ef5ed"


def test_purposes_have_different_keys() -> None:
    """Keys differ by purpose and by how the purpose is cut into parts."""
    keys = {derive(ROOT, *info) for info in (("a",), ("b",), ("a", "b"), ("ab",), ("a", ""), ())}
    assert len(keys) == 6


def test_a_root_of_another_length_is_refused() -> None:
    """A truncated root would weaken every key derived from it."""
    with pytest.raises(ValueError, match="32 bytes"):
        derive(b"short", "a")


# --- seals ----------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_a_seal_opens_to_what_was_sealed(plain: bytes, associated: bytes) -> None:
    """Sealing then opening is the identity, 28 bytes longer on the way."""
    seal = AesGcmSeal(ROOT)
    sealed = seal.seal(plain, associated)
    assert seal.open(sealed, associated) == plain
    assert len(sealed) == len(plain) + 28


@pytest.mark.parametrize(
    ("key", "cut", "associated"),
    [(ROOT[::-1], 0, b"a"), (ROOT, 1, b"a"), (ROOT, 0, b"b"), (ROOT, 20, b"a")],
    ids=["other key", "cut", "other facts", "no tag"],
)
def test_a_seal_that_does_not_hold(key: bytes, cut: int, associated: bytes) -> None:
    """Another key, other facts or fewer bytes: `seal_broken`."""
    sealed = AesGcmSeal(ROOT).seal(b"plain", b"a")
    with pytest.raises(SealError, match=r"^seal_broken"):
        AesGcmSeal(key).open(sealed[: len(sealed) - cut], associated)


# --- terminals ------------------------------------------------------------------------------------------------------


def test_a_registry_sees_what_another_process_added(keyring: Keyring, registry: TerminalRegistry) -> None:
    """An open registry notices terminals added and changed by another one."""
    assert [terminal.terminal_id for terminal in registry.all()] == ["t-1", "t-2"]
    assert registry.get("t-3") is None
    TerminalRegistry(keyring.folder).add(Terminal("t-3", "shop", "payee-2", "EUR"))
    TerminalRegistry(keyring.folder).add(Terminal("t-1", "shop", "payee-9", "EUR"))
    found = registry.get("t-3"), registry.get("t-1")
    assert [terminal.payee_id for terminal in found if terminal] == ["payee-2", "payee-9"]


def _add(folder: str, first: int) -> None:
    for i in range(first, first + 10):
        TerminalRegistry(Path(folder)).add(Terminal(f"t-{i}", "shop", "payee", "CNY"))


def test_terminals_added_at_once_are_all_kept(keyring: Keyring) -> None:
    """Four processes that add ten terminals each leave forty."""
    context = multiprocessing.get_context("spawn")
    adders = [context.Process(target=_add, args=(str(keyring.folder), 100 * i)) for i in range(4)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(60)
    assert len(TerminalRegistry(keyring.folder).all()) == 40


@pytest.mark.parametrize(
    "terminal",
    [Terminal("", "s", "p", "CNY"), Terminal("a b", "s", "p", "CNY"), Terminal("t", "s", "p", "yuan")],
)
def test_a_malformed_terminal_is_refused(registry: TerminalRegistry, terminal: Terminal) -> None:
    """A terminal whose names or currency no event could carry is not registered."""
    with pytest.raises(SettingsError, match="changing the terminal registry"):
        registry.add(terminal)
    assert len(registry.all()) == 2


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"terminals": [{}]}', b'{"terminals": 3}'])
def test_a_damaged_registry_is_refused(keyring: Keyring, registry: TerminalRegistry, content: bytes) -> None:
    """A registry that cannot be read is an error, never an empty one."""
    (keyring.folder / "terminals.json").write_bytes(content)
    with pytest.raises(SettingsError, match="it is damaged"):
        registry.get("t-1")


def test_a_token_is_its_terminal_s_only(keyring: Keyring) -> None:
    """A token holds for its own terminal; anything else, text that is no ASCII included, does not."""
    token = terminal_token(keyring, "t-1")
    assert is_terminal_token(keyring, "t-1", token)
    assert not any(is_terminal_token(keyring, "t-1", t) for t in (terminal_token(keyring, "t-2"), "", token[:-1], "ü"))


# --- credentials ----------------------------------------------------------------------------------------------------


def test_credentials_survive_a_file(keyring: Keyring, tmp_path: Path) -> None:
    """Written and read again they are the same; the file is private and a representation shows no key."""
    keyring.new_frame_epoch()
    terminal, camera = provision(keyring, "t-1"), provision_camera(keyring, CAMERA, (1, 2))
    terminal.write(tmp_path / "t-1.json")
    camera.write(tmp_path / "cam-1.json")
    assert TerminalCredentials.read(tmp_path / "t-1.json") == terminal
    assert CameraCredentials.read(tmp_path / "cam-1.json") == camera
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.json")} == {0o600}
    assert camera.frame_keys[2].hex() in (tmp_path / "cam-1.json").read_text()
    for secret in (terminal.token, camera.token, camera.frame_keys[1].hex(), repr(camera.frame_keys[1])):
        assert secret not in repr(terminal) + repr(camera)


def test_credentials_hold_no_root(keyring: Keyring) -> None:
    """Neither a root nor another lane's key can be found in a camera's credentials."""
    one, other = (provision_camera(keyring, replace(CAMERA, terminal_id=lane), [1]) for lane in ("t-1", "t-2"))
    assert len({one.frame_keys[1], other.frame_keys[1], keyring.frame_root(1)}) == 3


def test_a_terminal_holds_no_frame_key(keyring: Keyring, tmp_path: Path) -> None:
    """A stolen terminal opens no frame of its lane: only its cameras have the keys."""
    provision(keyring, "t-1").write(tmp_path / "t-1.json")
    key = provision_camera(keyring, CAMERA, [1]).frame_keys[1]
    assert key.hex() not in (tmp_path / "t-1.json").read_text()


def test_every_token_is_another_one(keyring: Keyring) -> None:
    """A terminal's and a camera's tokens differ, also of one name, of another registration and of another camera; a
    camera that was never registered has no token that holds."""
    cameras = [Camera(name, "t-1", registration=drawn * 32) for name in ("t-1", "t-2") for drawn in "ab"]
    terminals = ("t-1", "t-2")
    tokens = [camera_token(keyring, camera) for camera in cameras] + [terminal_token(keyring, t) for t in terminals]
    assert len(set(tokens)) == len(tokens)
    for camera in cameras:
        held = [token for token in [*tokens, "", "ü"] if is_camera_token(keyring, camera, token)]
        assert held == [camera_token(keyring, camera)]
    for terminal in terminals:
        assert [t for t in tokens if is_terminal_token(keyring, terminal, t)] == [terminal_token(keyring, terminal)]
    stranger = Camera("cam-9", "t-1")
    assert not is_camera_token(keyring, stranger, camera_token(keyring, stranger))


@pytest.mark.parametrize(
    ("whose", "content"),
    [
        ("terminal", b""),
        ("terminal", b"{}"),
        ("terminal", b'{"terminal_id":"t","token":"x"}'),
        ("terminal", b'{"terminal_id":"t","token":"%s","camera_id":"c","frame_keys":{}}' % (b"a" * 64)),
        ("camera", b""),
        ("camera", b"[]"),
        ("camera", b'{"terminal_id":"t","token":"%s"}' % (b"a" * 64)),
        ("camera", b'{"camera_id":"c","terminal_id":"t","token":"%s","frame_keys":{"1":"x"}}' % (b"a" * 64)),
    ],
)
def test_damaged_credentials_are_refused(tmp_path: Path, whose: str, content: bytes) -> None:
    """A file of something else, or the other kind's, says to provision the terminal or the camera again."""
    path = tmp_path / "t.json"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"provision the {whose} again"):
        READ[whose](path)


def test_a_terminal_s_file_of_before_still_holds(keyring: Keyring, tmp_path: Path) -> None:
    """Files that were provisioned when terminals had frame keys too are read, and the keys are left alone."""
    wanted = provision(keyring, "t-1")
    file = {"terminal_id": "t-1", "token": wanted.token, "frame_keys": {"1": "ab" * 32}}
    private_files.replace(tmp_path / "t-1.json", orjson.dumps(file))
    assert TerminalCredentials.read(tmp_path / "t-1.json") == wanted


def test_credentials_others_can_read_are_refused(keyring: Keyring, tmp_path: Path) -> None:
    """A credentials file with group access is as good as published."""
    provision_camera(keyring, CAMERA, [1]).write(tmp_path / "cam-1.json")
    (tmp_path / "cam-1.json").chmod(0o640)
    with pytest.raises(SettingsError, match="lets other users read it"):
        CameraCredentials.read(tmp_path / "cam-1.json")


def test_provisioning_an_epoch_that_is_not_there(keyring: Keyring) -> None:
    """A camera cannot be given keys of an epoch without a root."""
    with pytest.raises(SealError, match=r"^unknown_epoch"):
        provision_camera(keyring, CAMERA, [1, 2])


# --- confirmations --------------------------------------------------------------------------------------------------

FACTS = {
    "intent_id": "i",
    "verdict_id": "v",
    "payer_id": "p",
    "amount_minor": 100,
    "currency": "CNY",
    "payee_id": "shop",
}


def test_a_confirmation_holds_for_its_facts() -> None:
    """The MAC of these facts under this key, and no other key's."""
    mac = confirmation_mac(ROOT, **FACTS)  # type: ignore[arg-type]
    assert verify(ROOT, mac, **FACTS)  # type: ignore[arg-type]
    assert not verify(ROOT[::-1], mac, **FACTS)  # type: ignore[arg-type]


@pytest.mark.parametrize("changed", sorted(FACTS))
def test_a_confirmation_covers_each_fact(changed: str) -> None:
    """Changing any one fact breaks the MAC."""
    other = {**FACTS, changed: 1 if changed == "amount_minor" else "x"}
    assert not verify(ROOT, confirmation_mac(ROOT, **FACTS), **other)  # type: ignore[arg-type]


# --- PINs -----------------------------------------------------------------------------------------------------------


def test_a_pin_is_checked(keyring: Keyring) -> None:
    """The right PIN holds, a wrong one and another installation's pepper do not; verifiers of one PIN differ."""
    pepper = pin_pepper(keyring)
    verifier = make_verifier("012345", pepper)
    assert check_pin("012345", verifier, pepper)
    assert not check_pin("012346", verifier, pepper)
    assert not check_pin("012345", verifier, ROOT)
    assert make_verifier("012345", pepper) != verifier


@pytest.mark.parametrize("pin", ["", "123", "1" * 13, "12a4", "1234\n", "١٢٣٤"])
def test_what_is_no_pin_is_refused(pin: str) -> None:
    """Only 4 to 12 ASCII digits make a PIN, and the refusal does not repeat it."""
    with pytest.raises(UsageError, match="4 to 12 digits") as refused:
        make_verifier(pin, ROOT)
    assert not pin or pin not in str(refused.value)


@pytest.mark.parametrize("damage", [lambda v: v[:-1], lambda v: b"\x02" + v[1:], lambda v: v[:0]])
def test_a_damaged_verifier_is_no_wrong_pin(damage: object) -> None:
    """A verifier of another version or length is an error, not an answer about the PIN."""
    assert callable(damage)
    with pytest.raises(InvalidMessage, match="verifier_invalid"):
        check_pin("1234", damage(make_verifier("1234", ROOT)), ROOT)


def test_a_verifier_is_bound_to_its_payer(keyring: Keyring) -> None:
    """One payer's sealed verifier does not open in another payer's profile."""
    sealed = seal_verifier(keyring, "payer-1", b"verifier")
    assert open_verifier(keyring, "payer-1", sealed) == b"verifier"
    with pytest.raises(SealError, match=r"^seal_broken"):
        open_verifier(keyring, "payer-2", sealed)


# --- receipts -------------------------------------------------------------------------------------------------------


def test_a_receipt_is_checked_with_the_public_key(keyring: Keyring) -> None:
    """Anybody with the public key reads the fields; equal fields give equal receipts."""
    receipt = sign_receipt(keyring, {"settlement_id": "s", "amount_minor": 5, "payer_id": None})
    assert receipt == sign_receipt(
        keyring.secret("receipt"), {"payer_id": None, "amount_minor": 5, "settlement_id": "s"}
    )
    assert verify_receipt(receipt_public_key(keyring), receipt) == {
        "settlement_id": "s",
        "amount_minor": 5,
        "payer_id": None,
    }


@given(st.data())
def test_a_changed_receipt_is_refused(data: st.DataObject) -> None:
    """Changing any one character of a receipt breaks it, and the error does not repeat its content."""
    receipt = sign_receipt(ROOT, {"amount_minor": 5})
    at = data.draw(st.integers(0, len(receipt) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != receipt[at]))
    with pytest.raises(InvalidMessage, match="receipt_invalid"):
        verify_receipt(receipt_public_key(ROOT), receipt[:at] + other + receipt[at + 1 :])


def test_a_receipt_has_one_spelling() -> None:
    """Base64 leaves spare bits in the last character of a signature: setting them does not give a second receipt."""
    receipt = sign_receipt(ROOT, {"amount_minor": 5})
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    sibling = alphabet[alphabet.index(receipt[-1]) ^ 1]
    with pytest.raises(InvalidMessage, match="receipt_invalid"):
        verify_receipt(receipt_public_key(ROOT), receipt[:-1] + sibling)


def test_a_receipt_cannot_choose_its_kind() -> None:
    """Something else signed with the same key, under another header, is no receipt."""
    header = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"invoice"}').rstrip(b"=").decode()
    signed = f"{header}.{sign_receipt(ROOT, {'amount_minor': 5}).split('.')[1]}"
    signature = Ed25519PrivateKey.from_private_bytes(ROOT).sign(signed.encode())
    other = f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises(InvalidMessage, match="receipt_invalid"):
        verify_receipt(receipt_public_key(ROOT), other)


@pytest.mark.parametrize("receipt", ["", "..", "a.b.c", "é.é.é"])
def test_what_is_no_receipt_is_refused(receipt: str) -> None:
    """Text that is no receipt, or one that names another algorithm, is refused."""
    with pytest.raises(InvalidMessage, match="receipt_invalid"):
        verify_receipt(receipt_public_key(ROOT), receipt)


def test_a_receipt_of_another_key_is_refused() -> None:
    """A receipt signed with another installation's key does not pass."""
    with pytest.raises(InvalidMessage, match="receipt_invalid"):
        verify_receipt(receipt_public_key(ROOT), sign_receipt(ROOT[::-1], {"amount_minor": 5}))
