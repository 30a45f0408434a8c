"""Sealed frames: a picture that carries its payment, in CloudEvents binary mode (Kafka protocol binding, 3.2).

The record's key is the terminal, its value AES-256-GCM over the JPEG, its headers are

    ce_specversion, ce_type, ce_source, ce_id, ce_time, content-type     CloudEvents
    facepay-terms    PaymentTerms as JSON
    facepay-frame    FrameFacts as JSON: terminal, camera, sequence, capture time, a sealed claim if there is one
    traceparent      W3C; the only one that is not sealed, since each hop may set its own span

The key and all headers but the last are the seal's associated data, byte for byte as they stand in the record: whoever
changes amount, payee, expiry, capture time or terminal breaks the seal. So a frame is bound to one payment, and a frame
without an open intent cannot be made.

Keys are derived per terminal from a random root per epoch (`keyring`). Nonces are random, 96 bits. A terminal with
eight cameras at 30 frames a second seals 2^32 frames, the most that SP 800-38D (8.3) allows under one key, in 207
days of uninterrupted filming; while cameras film only open intents that is years. Up to there the chance that any
nonce repeats is below 2^-33. Begin a new epoch (`Keyring.new_frame_epoch`) within half a year all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec
import orjson
from msgspec import Meta

from pipeline.domain.lanes import lane_of
from pipeline.errors import SealError
from pipeline.keys.credentials import CameraCredentials, frame_key
from pipeline.keys.derivation import length_prefixed
from pipeline.keys.devices import Camera
from pipeline.keys.keyring import Keyring
from pipeline.keys.nonces import NonceMemory, Position
from pipeline.keys.seals import NONCE_BYTES, TAG_BYTES, AesGcmSeal
from pipeline.keys.terminals import TerminalRegistry
from pipeline.ports import Emit, InMessage, OpenedFrame
from pipeline.topics import FRAMES
from schemas.events import Count, MicrosUtc, Name, PaymentTerms, SealedClaim, Trace

MAX_JPEG_BYTES = 2_000_000
"""What fits into the topic's `max.message.bytes` (2 MiB) with headers and seal."""

CONTENT_TYPE: Final = b"image/jpeg"
CE_TYPE: Final = b"facepay.frame"
TERMS_HEADER = "facepay-terms"
FRAME_HEADER = "facepay-frame"
TRACE_HEADER = "traceparent"
SEALED_HEADERS = (
    "ce_specversion", "ce_type", "ce_source", "ce_id", "ce_time", "content-type", TERMS_HEADER, FRAME_HEADER,
)  # fmt: skip
_FIXED: Mapping[str, bytes] = {"ce_specversion": b"1.0", "ce_type": CE_TYPE, "content-type": CONTENT_TYPE}
_MAX_HEADER_BYTES = 4096
_MAX_CACHED_KEYS = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """What a camera says of one frame. `terminal_id` is the terminal whose key seals it, `claim` is as the lease
    had it."""

    terminal_id: Name
    camera: Name
    sequence: Count
    captured_at_us: MicrosUtc
    claim: SealedClaim | None = None


@dataclass(frozen=True, slots=True)
class _Trace:
    """A traceparent, to be validated."""

    trace: Annotated[Trace, Meta(max_length=55)]


class FrameSealer:
    """Seals the frames of one camera, under its own name."""

    def __init__(self, credentials: CameraCredentials) -> None:
        self._camera_id = credentials.camera_id
        self._terminal_id = credentials.terminal_id
        self._seals = {epoch: AesGcmSeal(key) for epoch, key in credentials.frame_keys.items()}

    def seal(
        self,
        jpeg: bytes,
        terms: PaymentTerms,
        *,
        sequence: int,
        captured_at_us: int,
        trace: str,
        claim: str | None = None,
    ) -> Emit:
        """The record of one frame; raises `SealError` `wrong_terminal` (terms of another terminal), `unknown_epoch`
        (no key of the terms' epoch: provision the camera again), `too_large` or `header_invalid`."""
        if terms.terminal_id != self._terminal_id:
            raise SealError("wrong_terminal", "the terms are those of another terminal than the credentials")
        seal = self._seals.get(terms.key_epoch)
        if seal is None:
            raise SealError("unknown_epoch", f"the credentials hold no frame key of epoch {terms.key_epoch}")
        if len(jpeg) > MAX_JPEG_BYTES:
            raise SealError("too_large", f"the frame has {len(jpeg)} bytes, more than {MAX_JPEG_BYTES}")
        facts = FrameFacts(
            terminal_id=self._terminal_id,
            camera=self._camera_id,
            sequence=sequence,
            captured_at_us=captured_at_us,
            claim=claim,
        )
        at = datetime.fromtimestamp(captured_at_us / 1_000_000, UTC).isoformat(timespec="microseconds")
        headers = {
            **_FIXED,
            "ce_source": self._camera_id.encode(),
            "ce_id": f"{terms.intent_id}.{captured_at_us}.{sequence}".encode(),
            "ce_time": at.encode(),
            TERMS_HEADER: orjson.dumps(terms, option=orjson.OPT_SORT_KEYS),
            FRAME_HEADER: orjson.dumps(facts, option=orjson.OPT_SORT_KEYS),
        }
        _parsed(FrameFacts, headers[FRAME_HEADER], FRAME_HEADER)
        key = self._terminal_id.encode()
        sealed = seal.seal(jpeg, _associated(key, headers))
        ordered = tuple((name, headers[name]) for name in SEALED_HEADERS)
        return Emit(FRAMES, key, sealed, (*ordered, (TRACE_HEADER, trace.encode())))


class KeyringFrameOpener:
    """`ports.FrameOpener` over the keyring: opens frames of every registered camera, each nonce at one position.

    Checks run in the order of this table and the first that fails gives the reason:

        header_invalid    a header missing, doubled or malformed; no key; no sealed value
        wrong_lane        the record stands on another partition than its key's (only where `lanes` is given)
        wrong_terminal    the record's key, the terms and the sealer do not name one terminal
        unknown_terminal  not in the registry
        unknown_camera    not registered for that terminal: never was, moved to another lane, or removed
        unknown_epoch     no root of that epoch: it never was, or was destroyed
        seal_broken       key, picture or any sealed header is not what was sealed
        stale             captured more than `max_age_ms` ago, before the intent opened or after it expired
        from_the_future   captured more than `max_skew_ms` after `now_us`
        replayed          this nonce was seen at another topic, partition or offset

    Times are judged only after the seal held: they are authentic. One caller at a time.
    """

    def __init__(
        self,
        keyring: Keyring,
        registry: TerminalRegistry,
        *,
        cameras: Callable[[str], Camera | None],
        max_age_ms: int,
        max_skew_ms: int,
        lanes: int | None = None,
    ) -> None:
        """`cameras` finds a camera by its name and is asked for each frame: `DeviceRegistry.get`, some microseconds.
        `lanes`: partitions of the frames topic. With it a copy of a frame on another lane, which another process might
        own that never saw the nonce, is refused by where it stands."""
        self._lanes = lanes
        self._keyring = keyring
        self._registry = registry
        self._cameras = cameras
        self._max_age_us = max_age_ms * 1000
        self._max_skew_us = max_skew_ms * 1000
        self._seals: dict[tuple[int, str], AesGcmSeal] = {}
        # A nonce may be forgotten once its frame would be refused as stale anyway; the clock may step back by the skew.
        self._nonces = NonceMemory(keep_us=self._max_age_us + self._max_skew_us, ahead_us=self._max_skew_us)

    @property
    def remembered(self) -> int:
        """How many nonces are held: at most those of frames captured within the freshness window."""
        return len(self._nonces)

    def open(self, message: InMessage, now_us: int) -> OpenedFrame:
        """The frame, if every check holds; raises `SealError` with a reason of the table above."""
        headers, terms, facts, trace = _read_headers(message)
        key, value = message.key, message.value
        if key is None or value is None or len(value) < NONCE_BYTES + TAG_BYTES:
            raise SealError("header_invalid", "the record has no key, or no sealed value")
        if self._lanes is not None and message.partition != lane_of(key, self._lanes):
            raise SealError("wrong_lane", "the record stands on another partition than its key belongs to")
        if not key == terms.terminal_id.encode() == facts.terminal_id.encode():
            raise SealError("wrong_terminal", "the record's key, the terms and the sealer name different terminals")
        if self._registry.get(terms.terminal_id) is None:
            raise SealError("unknown_terminal", "the terminal is not in the registry")
        camera = self._cameras(facts.camera)
        if camera is None or camera.terminal_id != terms.terminal_id:
            raise SealError("unknown_camera", "the camera is not registered for that terminal")
        jpeg = self._seal_of(terms).open(value, _associated(key, headers))
        self._check_times(terms, facts, now_us)
        nonce = value[:NONCE_BYTES]
        if not self._nonces.first_or_same(nonce, _position(message), facts.captured_at_us, now_us):
            raise SealError("replayed", "the nonce was used at another position of the topic")
        return OpenedFrame(
            terms=terms,
            camera=facts.camera,
            sequence=facts.sequence,
            captured_at_us=facts.captured_at_us,
            trace=trace,
            nonce=nonce,
            jpeg=jpeg,
            claim=facts.claim,
        )

    def remember(self, message: InMessage) -> None:
        """Notes the nonce of a record seen before a restart, without opening it; one without a nonce is skipped, it
        was refused then and is refused again."""
        if message.value is None or len(message.value) < NONCE_BYTES + TAG_BYTES:
            return
        try:
            facts = _read_headers(message)[2]
        except SealError:
            return
        self._nonces.restore(message.value[:NONCE_BYTES], _position(message), facts.captured_at_us)

    def forget(self, partition: int) -> None:
        """Drops the nonces of a partition that was taken away."""
        self._nonces.forget(partition)

    def _seal_of(self, terms: PaymentTerms) -> AesGcmSeal:
        """The seal of a terminal within an epoch. A derived key is used only while its root is there: destroying a
        root shreds its frames in running processes too."""
        wanted = (terms.key_epoch, terms.terminal_id)
        seal = self._seals.get(wanted)
        if seal is None or not self._keyring.has_frame_root(terms.key_epoch):
            self._seals.pop(wanted, None)
            seal = AesGcmSeal(frame_key(self._keyring.frame_root(terms.key_epoch), terms.terminal_id))
            if len(self._seals) >= _MAX_CACHED_KEYS:
                self._seals.pop(next(iter(self._seals)))
            self._seals[wanted] = seal
        return seal

    def _check_times(self, terms: PaymentTerms, facts: FrameFacts, now_us: int) -> None:
        age_us = now_us - facts.captured_at_us
        if age_us > self._max_age_us:
            raise SealError("stale", f"the frame was captured more than {self._max_age_us // 1000} ms ago")
        if not terms.opened_at_us <= facts.captured_at_us <= terms.expires_at_us:
            raise SealError("stale", "the frame was captured before the intent opened or after it expired")
        if -age_us > self._max_skew_us:
            raise SealError("from_the_future", f"the frame is more than {self._max_skew_us // 1000} ms ahead of here")


def _read_headers(message: InMessage) -> tuple[Mapping[str, bytes], PaymentTerms, FrameFacts, str]:
    """The sealed headers as they stand, and what they say; raises `SealError` `header_invalid`."""
    headers: dict[str, bytes] = {}
    for name, value in message.headers:
        if name not in SEALED_HEADERS and name != TRACE_HEADER:
            continue  # tools on the way may add their own
        if name in headers or len(value) > _MAX_HEADER_BYTES:
            raise SealError("header_invalid", f"the header {name} stands twice or is too long")
        headers[name] = value
    for name in (*SEALED_HEADERS, TRACE_HEADER):
        if name not in headers:
            raise SealError("header_invalid", f"the header {name} is missing")
    for name, fixed in _FIXED.items():
        if headers[name] != fixed:
            raise SealError("header_invalid", f"the header {name} is not {fixed.decode()}")
    terms = _parsed(PaymentTerms, headers[TERMS_HEADER], TERMS_HEADER)
    facts = _parsed(FrameFacts, headers[FRAME_HEADER], FRAME_HEADER)
    trace = headers[TRACE_HEADER].decode("ascii", errors="replace")
    _parsed(_Trace, orjson.dumps({"trace": trace}), TRACE_HEADER)
    return headers, terms, facts, trace


def _parsed(kind: type[T], data: bytes, header: str) -> T:
    try:
        return msgspec.convert(orjson.loads(data), kind, strict=True)
    except (orjson.JSONDecodeError, msgspec.ValidationError):
        raise SealError("header_invalid", f"the header {header} does not say what it should") from None


def _associated(key: bytes, headers: Mapping[str, bytes]) -> bytes:
    """What the seal covers beside the picture: the record's key and the sealed headers, verbatim, in a fixed order."""
    fields: list[str | bytes] = ["facepay.frame.v1", key]
    for name in SEALED_HEADERS:
        fields += [name, headers[name]]
    return length_prefixed(*fields)


def _position(message: InMessage) -> Position:
    return (message.topic, message.partition, message.offset)
