"""One lane with a camera, for benchmarks: seals frames as a camera would, each for a payment intent of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.bench.frames import Frame
from pipeline.keys.credentials import provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.frames import FrameSealer
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from pipeline.ports import Emit
from schemas.events import PaymentTerms
from schemas.ids import derived_id

_TERMINAL, _CAMERA = "t-1", "c-1"
_TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
_MINUTE_US = 60_000_000


class Lane:
    """A terminal and its camera, known to the keyring in `keys`, which is made here."""

    def __init__(self, keys: Path, frames: Sequence[Frame]) -> None:
        keyring = Keyring.create(keys)
        self._epoch = keyring.new_frame_epoch()
        TerminalRegistry(keys).add(Terminal(_TERMINAL, "shop", "payee-1", "CNY"))
        camera = DeviceRegistry(keys).add(Camera(_CAMERA, _TERMINAL))
        self._sealer = FrameSealer(provision_camera(keyring, camera, [self._epoch]))
        self._frames = frames

    def frame(self, number: int, at_us: int, topic: str) -> Emit:
        """The record of frame `number`, captured at `at_us`: one of the pictures, for an intent of its own."""
        terms = PaymentTerms(
            intent_id=derived_id("bench", topic, str(number)),
            terminal_id=_TERMINAL,
            merchant_id="shop",
            payee_id="payee-1",
            amount_minor=100,
            currency="CNY",
            opened_at_us=at_us - _MINUTE_US,
            expires_at_us=at_us + _MINUTE_US,
            key_epoch=self._epoch,
        )
        jpeg = self._frames[number % len(self._frames)].jpeg
        emit = self._sealer.seal(jpeg, terms, sequence=number, captured_at_us=at_us, trace=_TRACE)
        return replace(emit, topic=topic)
