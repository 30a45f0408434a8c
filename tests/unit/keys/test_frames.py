"""Frames: what opens, and each attack with the reason it is refused for."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SealError
from pipeline.keys.credentials import provision_camera
from pipeline.keys.devices import Camera
from pipeline.keys.frames import FRAME_HEADER, MAX_JPEG_BYTES, TERMS_HEADER, FrameSealer
from pipeline.ports import Emit
from schemas.events import PaymentTerms
from schemas.ids import derived_id
from tests.unit.keys.frame_world import JPEG, NOW_US, SECOND, TERMS, TRACE, World, consumed, with_header


def test_a_frame_opens_to_what_was_sealed(world: World) -> None:
    """An untouched frame opens to the picture, the terms and what the camera said of it."""
    emit = world.seal()
    frame = world.opener.open(consumed(emit), NOW_US)
    assert (frame.jpeg, frame.terms) == (JPEG, TERMS)
    assert (frame.camera, frame.sequence, frame.captured_at_us, frame.trace) == ("cam-1", 7, NOW_US, TRACE)


def test_the_record_is_a_cloud_event_that_shows_no_picture(world: World) -> None:
    """The record follows CloudEvents' binary mode, is keyed by terminal, and holds no byte run of the picture."""
    emit = world.seal()
    headers = dict(emit.headers)
    assert (emit.topic, emit.key, emit.partition) == ("frames", b"t-1", None)
    assert (headers["ce_specversion"], headers["ce_type"]) == (b"1.0", b"facepay.frame")
    assert (headers["content-type"], headers["ce_source"]) == (b"image/jpeg", b"cam-1")
    assert headers["ce_time"] == b"2027-01-15T08:00:00.000000+00:00"
    assert emit.value is not None
    assert not any(JPEG[i : i + 8] in emit.value for i in range(0, len(JPEG) - 8, 8))
    assert "jpeg" not in repr(world.opener.open(consumed(emit), NOW_US)), "a log line must not show the picture"


def test_the_seal_is_what_the_module_says(world: World) -> None:
    """A second implementation, from the docstring alone, opens the frame: AES-256-GCM over the picture, its associated
    data the length-prefixed key and sealed headers as they stand in the record."""
    emit = world.seal()
    fields = [b"facepay.frame.v1", emit.key]
    for name, value in emit.headers:
        fields += [name.encode(), value] if name != "traceparent" else []
    associated = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    key = provision_camera(world.keyring, Camera("cam-1", "t-1"), [1]).frame_keys[1]
    assert emit.value is not None
    assert AESGCM(key).decrypt(emit.value[:12], emit.value[12:], associated) == JPEG


def _facts_of(emit: Emit) -> dict[str, object]:
    facts: dict[str, object] = orjson.loads(dict(emit.headers)[FRAME_HEADER])
    return facts


def test_a_claim_travels_with_the_frame(world: World) -> None:
    """What the lease claimed is in the frame that opens; a frame without one opens to none, also when its camera is
    older than claims and says nothing of them."""
    claim = base64.b64encode(bytes(45)).decode()
    frame = world.opener.open(consumed(world.seal(claim=claim)), NOW_US)
    assert frame.claim == claim
    assert claim not in repr(frame)
    assert world.opener.open(consumed(world.seal(), offset=42), NOW_US).claim is None
    assert world.opener.open(consumed(_by_an_older_camera(world), offset=43), NOW_US).claim is None


def _by_an_older_camera(world: World) -> Emit:
    """A frame whose facts have no field for a claim, sealed as such."""
    emit = world.seal()
    facts = {name: value for name, value in _facts_of(emit).items() if name != "claim"}
    emit = with_header(emit, FRAME_HEADER, lambda _: orjson.dumps(facts))
    fields = [b"facepay.frame.v1", emit.key]
    for name, value in emit.headers:
        fields += [name.encode(), value] if name != "traceparent" else []
    associated = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    key = provision_camera(world.keyring, Camera("cam-1", "t-1"), [1]).frame_keys[1]
    return replace(emit, value=bytes(12) + AESGCM(key).encrypt(bytes(12), JPEG, associated))


def _other_claim(claim: str | None) -> Callable[[World], Emit]:
    def attack(world: World) -> Emit:
        emit = world.seal(claim="QUFB")
        facts = {**_facts_of(emit), "claim": claim}
        return with_header(emit, FRAME_HEADER, lambda _: orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))

    return attack


def _changed_terms(**changes: object) -> Callable[[World], Emit]:
    def attack(world: World) -> Emit:
        genuine = world.seal()
        other = dict(world.seal(replace(TERMS, **changes)).headers)[TERMS_HEADER]  # type: ignore[arg-type]
        return with_header(genuine, TERMS_HEADER, lambda _: other)

    return attack


def _under_key_of_t2(world: World) -> Emit:
    """t-2's cameras seal terms of t-1 and say that t-1 sealed them."""
    stolen = provision_camera(world.keyring, Camera("cam-1", "t-2"), [1])
    sealer = FrameSealer(replace(stolen, terminal_id="t-1"))
    return sealer.seal(JPEG, TERMS, sequence=1, captured_at_us=NOW_US, trace=TRACE)


def _after_destruction(world: World) -> Emit:
    emit = world.seal()
    world.opener.open(consumed(world.seal()), NOW_US)  # the derived key is in memory by now
    world.keyring.destroy_frame_epoch(1)
    return emit


def _without(name: str) -> Callable[[World], Emit]:
    def attack(world: World) -> Emit:
        emit = world.seal()
        return replace(emit, headers=tuple(h for h in emit.headers if h[0] != name))

    return attack


def _set(name: str, value: bytes) -> Callable[[World], Emit]:
    return lambda world: with_header(world.seal(), name, lambda _: value)


def _doubled_terms(world: World) -> Emit:
    emit = world.seal()
    return replace(emit, headers=(*emit.headers, (TERMS_HEADER, dict(emit.headers)[TERMS_HEADER])))


def _swapped_picture(world: World) -> Emit:
    return replace(world.seal(), value=world.seal(replace(TERMS, amount_minor=1)).value)


def _captured(offset_us: int, terms: PaymentTerms = TERMS) -> Callable[[World], Emit]:
    return lambda world: world.seal(terms, NOW_US + offset_us)


def _unregistered(world: World) -> Emit:
    return world.seal(replace(TERMS, terminal_id="t-9"))


def _removed(world: World) -> Emit:
    """A camera that was registered a moment ago, and whose frames opened."""
    emit = world.seal()
    world.opener.open(consumed(world.seal()), NOW_US)
    world.devices.remove("cam-1")
    return emit


def _moved(world: World) -> Emit:
    emit = world.seal()
    world.devices.add(Camera("cam-1", "t-2"))
    return emit


def _unknown_epoch(world: World) -> Emit:
    return with_header(world.seal(), TERMS_HEADER, lambda v: v.replace(b'"key_epoch":1', b'"key_epoch":9'))


LONG_OPEN = replace(TERMS, opened_at_us=NOW_US - 60 * SECOND)

ATTACKS: list[tuple[str, Callable[[World], Emit], str]] = [
    ("amount lowered", _changed_terms(amount_minor=1), "seal_broken"),
    ("payee changed", _changed_terms(payee_id="thief"), "seal_broken"),
    ("expiry moved", _changed_terms(expires_at_us=NOW_US + 60 * SECOND), "seal_broken"),
    ("another intent", _changed_terms(intent_id=derived_id("another")), "seal_broken"),
    ("picture of another payment", _swapped_picture, "seal_broken"),
    ("picture cut", lambda w: replace(w.seal(), value=(w.seal().value or b"")[:-1]), "seal_broken"),
    ("capture time moved", _set(FRAME_HEADER, b'{"camera":"cam-1","captured_at_us":%d,"sequence":7,"terminal_id":"t-1"}'
                                % (NOW_US - 1)), "seal_broken"),
    ("another claim", _other_claim("QkJC"), "seal_broken"),
    ("claim taken out", _other_claim(None), "seal_broken"),
    ("claim malformed", _other_claim("?"), "header_invalid"),
    ("id changed", _set("ce_id", b"x"), "seal_broken"),
    ("sealed with another terminal's key", _under_key_of_t2, "seal_broken"),
    ("sent as another terminal's", lambda w: replace(w.seal(), key=b"t-2"), "wrong_terminal"),
    ("another sealer named", _set(FRAME_HEADER, b'{"camera":"cam-1","captured_at_us":1,"sequence":7,'
                                  b'"terminal_id":"t-2"}'), "wrong_terminal"),
    ("terms of another terminal", _changed_terms(terminal_id="t-2"), "wrong_terminal"),
    ("terminal not registered", _unregistered, "unknown_terminal"),
    ("camera not registered", lambda w: w.seal(camera_id="cam-9"), "unknown_camera"),
    ("camera of another lane", lambda w: w.seal(camera_id="cam-2"), "unknown_camera"),
    ("camera removed", _removed, "unknown_camera"),
    ("camera moved to another lane", _moved, "unknown_camera"),
    ("another camera named", lambda w: with_header(w.seal(camera_id="cam-9"), FRAME_HEADER,
                                                   lambda v: v.replace(b"cam-9", b"cam-1")), "seal_broken"),
    ("epoch never was", _unknown_epoch, "unknown_epoch"),
    ("epoch destroyed", _after_destruction, "unknown_epoch"),
    ("captured long ago", _captured(-10 * SECOND - 1, LONG_OPEN), "stale"),
    ("captured before the intent", _captured(-5 * SECOND - 1), "stale"),
    ("captured after expiry", _captured(SECOND, replace(TERMS, expires_at_us=NOW_US)), "stale"),
    ("captured in the future", _captured(2 * SECOND + 1), "from_the_future"),
    ("no terms", _without(TERMS_HEADER), "header_invalid"),
    ("no capture facts", _without(FRAME_HEADER), "header_invalid"),
    ("no trace", _without("traceparent"), "header_invalid"),
    ("trace malformed", _set("traceparent", b"00-0-0-0"), "header_invalid"),
    ("trace with a line feed", _set("traceparent", TRACE.encode() + b"\n"), "header_invalid"),
    ("terms twice", _doubled_terms, "header_invalid"),
    ("terms are no JSON", _set(TERMS_HEADER, b"{"), "header_invalid"),
    ("terms lack fields", _set(TERMS_HEADER, b"{}"), "header_invalid"),
    ("terms padded without end", lambda w: with_header(w.seal(), TERMS_HEADER, lambda v: v + b" " * 5000),
     "header_invalid"),
    ("another type of event", _set("ce_type", b"other"), "header_invalid"),
    ("another type of content", _set("content-type", b"image/png"), "header_invalid"),
    ("no value", lambda w: replace(w.seal(), value=None), "header_invalid"),
    ("a value shorter than a seal", lambda w: replace(w.seal(), value=b"x" * 27), "header_invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "reason"), [row[1:] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
def test_each_attack_has_its_reason(world: World, attack: Callable[[World], Emit], reason: str) -> None:
    """Each manipulation is refused, and for its own reason."""
    made = attack(world)
    with pytest.raises(SealError) as refused:
        world.opener.open(consumed(made), NOW_US)
    assert refused.value.reason == reason


def test_a_record_without_a_key_is_refused(world: World) -> None:
    """A record that names no terminal by its key opens for none."""
    with pytest.raises(SealError, match=r"^header_invalid"):
        world.opener.open(replace(consumed(world.seal()), key=None), NOW_US)


def test_the_borders_of_the_times_are_open(world: World) -> None:
    """A frame exactly at the oldest age, the first and last moment of the intent, or the largest skew opens."""
    at_most = replace(TERMS, opened_at_us=NOW_US - 10 * SECOND, expires_at_us=NOW_US + 2 * SECOND)
    for offset, moved_us in enumerate((-10 * SECOND, 2 * SECOND)):
        world.opener.open(consumed(world.seal(at_most, NOW_US + moved_us), offset=offset), NOW_US)


@pytest.mark.parametrize(
    ("terms", "jpeg", "camera", "reason"),
    [
        (replace(TERMS, terminal_id="t-2"), JPEG, "c", "wrong_terminal"),
        (replace(TERMS, key_epoch=2), JPEG, "c", "unknown_epoch"),
        (TERMS, b"x" * (MAX_JPEG_BYTES + 1), "c", "too_large"),
        (TERMS, JPEG, "not a name", "header_invalid"),
    ],
)
def test_the_sealer_refuses_what_could_not_be_opened(
    world: World, terms: PaymentTerms, jpeg: bytes, camera: str, reason: str
) -> None:
    """A camera learns at once that its terms, epoch, size or name are wrong."""
    with pytest.raises(SealError, match=rf"^{reason}"):
        world.sealer(camera_id=camera).seal(jpeg, terms, sequence=0, captured_at_us=NOW_US, trace=TRACE)


def test_each_frame_has_its_own_nonce(world: World) -> None:
    """The same picture and terms sealed again give other bytes: nonces are drawn for each frame."""
    sealer = world.sealer()
    values = {sealer.seal(JPEG, TERMS, sequence=1, captured_at_us=NOW_US, trace=TRACE).value for _ in range(500)}
    assert len({(value or b"")[:12] for value in values}) == 500


def test_a_new_epoch_has_other_keys_and_the_old_one_still_opens(world: World) -> None:
    """Frames of two epochs open side by side until the old root is destroyed."""
    old = world.seal()
    epoch = world.keyring.new_frame_epoch()
    new = world.seal(replace(TERMS, key_epoch=epoch))
    world.opener.open(consumed(old, offset=1), NOW_US)
    world.opener.open(consumed(new, offset=2), NOW_US)
    world.keyring.destroy_frame_epoch(1)
    world.opener.open(consumed(new, offset=2), NOW_US)
    with pytest.raises(SealError, match=r"^unknown_epoch"):
        world.opener.open(consumed(old, offset=1), NOW_US)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_refused(world: World, data: st.DataObject) -> None:
    """One bit flipped anywhere in the key, the value, a sealed header or its name: the frame does not open."""
    emit = world.seal()
    names = [name for name, _ in emit.headers if name != "traceparent"]
    where = data.draw(st.sampled_from(["key", "value", *names, *(f"name of {name}" for name in names)]))

    def flip(raw: bytes) -> bytes:
        bit = data.draw(st.integers(0, len(raw) * 8 - 1))
        return raw[: bit // 8] + bytes([raw[bit // 8] ^ (1 << bit % 8)]) + raw[bit // 8 + 1 :]

    if where == "key":
        emit = replace(emit, key=flip(emit.key))
    elif where == "value":
        emit = replace(emit, value=flip(emit.value or b""))
    elif where.startswith("name of "):
        named = where.removeprefix("name of ")
        renamed = flip(named.encode()).decode("latin-1")
        emit = replace(emit, headers=tuple((renamed if k == named else k, v) for k, v in emit.headers))
    else:
        emit = with_header(emit, where, flip)
    with pytest.raises(SealError):
        world.opener.open(consumed(emit), NOW_US)
