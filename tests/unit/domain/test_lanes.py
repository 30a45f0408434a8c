"""The one partitioner as a pure function, and what stands on a wrong lane."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.lanes import lane_of, murmur2
from pipeline.errors import SealError
from pipeline.keys.credentials import provision_camera
from pipeline.keys.devices import Camera, DeviceRegistry
from pipeline.keys.frames import FrameSealer, KeyringFrameOpener
from pipeline.keys.keyring import Keyring
from pipeline.keys.terminals import Terminal, TerminalRegistry
from pipeline.ports import InMessage
from schemas.events import PaymentTerms
from schemas.ids import derived_id

LANES = 8
NOW_US = 1_764_000_000_000_000

# From Apache Kafka's own test of Utils.murmur2, as unsigned numbers.
KAFKA_VECTORS = [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]


@pytest.mark.parametrize(("key", "expected"), KAFKA_VECTORS)
def test_murmur2_is_the_one_of_kafka(key: bytes, expected: int) -> None:
    """Known values of the Java client."""
    assert murmur2(key) == expected % 2**32


@given(st.binary(max_size=64))
def test_murmur2_agrees_with_aiokafka(key: bytes) -> None:
    """Faust's producer places a key where this function says."""
    assert murmur2(key) & 0x7FFFFFFF == aiokafka_murmur2(bytearray(key)) & 0x7FFFFFFF


def test_a_frame_copied_to_another_lane_is_refused(tmp_path: Path) -> None:
    """Its nonce may be unknown to the process that owns that lane: where it stands gives it away."""
    keyring = Keyring.create(tmp_path / "keys")
    registry = TerminalRegistry(keyring.folder)
    registry.add(Terminal("t-1", "shop", "payee-1", "CNY"))
    terms = PaymentTerms(
        intent_id=derived_id("intent"),
        terminal_id="t-1",
        merchant_id="shop",
        payee_id="payee-1",
        amount_minor=100,
        currency="CNY",
        opened_at_us=NOW_US - 1_000_000,
        expires_at_us=NOW_US + 10_000_000,
        key_epoch=1,
    )
    camera = DeviceRegistry(keyring.folder).add(Camera("c", "t-1"))
    sealer = FrameSealer(provision_camera(keyring, camera, keyring.frame_epochs()))
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    sent = sealer.seal(b"jpeg", terms, sequence=1, captured_at_us=NOW_US, trace=trace)
    home = lane_of(b"t-1", LANES)

    def opened_on(partition: int) -> bytes:
        cameras = DeviceRegistry(keyring.folder).get
        opener = KeyringFrameOpener(
            keyring, registry, cameras=cameras, max_age_ms=10_000, max_skew_ms=2_000, lanes=LANES
        )
        return opener.open(InMessage("frames", partition, 7, sent.key, sent.value, sent.headers), NOW_US).jpeg

    assert opened_on(home) == b"jpeg"
    with pytest.raises(SealError) as caught:
        opened_on((home + 1) % LANES)
    assert caught.value.reason == "wrong_lane"
