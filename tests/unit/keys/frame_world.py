"""A camera's frames to seal and to open: what the tests of frames and of nonces share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.keys.credentials import provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.frames import FrameSealer, KeyringFrameOpener
from pipeline.keys.keyring import Keyring
from pipeline.ports import Emit, InMessage
from schemas.events import PaymentTerms
from schemas.ids import derived_id

NOW_US = 1_800_000_000_000_000
SECOND = 1_000_000
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4 + b"\xff\xd9"
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
TERMS = PaymentTerms(
    intent_id=derived_id("an intent"),
    terminal_id="t-1",
    merchant_id="shop",
    payee_id="payee-1",
    amount_minor=12_34,
    currency="CNY",
    opened_at_us=NOW_US - 5 * SECOND,
    expires_at_us=NOW_US + 15 * SECOND,
    key_epoch=1,
)


@dataclass
class World:
    keyring: Keyring
    devices: DeviceRegistry
    opener: KeyringFrameOpener

    def sealer(self, terminal_id: str = "t-1", camera_id: str = "cam-1") -> FrameSealer:
        camera = Camera(camera_id, terminal_id)
        return FrameSealer(provision_camera(self.keyring, camera, self.keyring.frame_epochs()))

    def seal(
        self,
        terms: PaymentTerms = TERMS,
        captured_at_us: int = NOW_US,
        camera_id: str = "cam-1",
        claim: str | None = None,
    ) -> Emit:
        return self.sealer(terms.terminal_id, camera_id).seal(
            JPEG, terms, sequence=7, captured_at_us=captured_at_us, trace=TRACE, claim=claim
        )


def consumed(emit: Emit, *, partition: int = 3, offset: int = 41) -> InMessage:
    return InMessage(emit.topic, partition, offset, emit.key, emit.value, emit.headers, NOW_US)


def with_header(emit: Emit, name: str, change: Callable[[bytes], bytes]) -> Emit:
    return replace(emit, headers=tuple((k, change(v) if k == name else v) for k, v in emit.headers))
