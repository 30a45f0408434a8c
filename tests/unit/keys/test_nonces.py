"""Nonces: a frame opens at one place of one topic, and nowhere else for as long as it is fresh."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.errors import SealError
from pipeline.keys.frames import FRAME_HEADER, KeyringFrameOpener
from pipeline.keys.terminals import TerminalRegistry
from pipeline.ports import Emit, InMessage
from tests.unit.keys.frame_world import JPEG, NOW_US, SECOND, TERMS, TRACE, World, consumed, with_header


@pytest.mark.parametrize(
    ("topic", "partition", "offset", "reason"),
    [
        ("frames", 3, 41, None),  # a redelivery
        ("frames", 3, 42, "replayed"),
        ("frames", 4, 41, "replayed"),
        ("frames-2", 3, 41, "replayed"),
    ],
)
def test_a_nonce_belongs_to_one_position(
    world: World, topic: str, partition: int, offset: int, reason: str | None
) -> None:
    """The same record at its own position opens again; a copy anywhere else is a replay."""
    emit = world.seal()
    world.opener.open(consumed(emit), NOW_US)
    again = replace(consumed(emit, partition=partition, offset=offset), topic=topic)
    if reason is None:
        assert world.opener.open(again, NOW_US).jpeg == JPEG
    else:
        with pytest.raises(SealError, match=rf"^{reason}"):
            world.opener.open(again, NOW_US)


def test_a_restart_remembers_nonces(world: World, registry: TerminalRegistry) -> None:
    """Nonces noted from records before a restart refuse a replay and let the redelivery pass."""
    emit = world.seal()
    cameras = world.devices.get
    fresh = KeyringFrameOpener(world.keyring, registry, cameras=cameras, max_age_ms=10_000, max_skew_ms=2_000)
    fresh.remember(consumed(emit))
    with pytest.raises(SealError, match=r"^replayed"):
        fresh.open(consumed(emit, offset=42), NOW_US)
    assert fresh.open(consumed(emit), NOW_US).jpeg == JPEG


def test_a_forgery_does_not_claim_a_nonce(world: World) -> None:
    """A record that does not open leaves no nonce behind: it cannot make the genuine one a replay."""
    emit = world.seal()
    forged = replace(emit, value=(emit.value or b"")[:-1] + b"\0")
    with pytest.raises(SealError, match=r"^seal_broken"):
        world.opener.open(consumed(forged, offset=40), NOW_US)
    assert world.opener.open(consumed(emit), NOW_US).jpeg == JPEG


def test_a_partition_that_leaves_takes_its_nonces_along(world: World) -> None:
    """`forget` drops the nonces of that partition only."""
    kept, gone = world.seal(), world.seal()
    world.opener.open(consumed(kept, partition=1), NOW_US)
    world.opener.open(consumed(gone, partition=2), NOW_US)
    world.opener.forget(2)
    assert world.opener.remembered == 1
    world.opener.open(consumed(gone, partition=2, offset=99), NOW_US)
    with pytest.raises(SealError, match=r"^replayed"):
        world.opener.open(consumed(kept, partition=1, offset=99), NOW_US)


def test_the_memory_of_nonces_is_bounded_by_the_freshness_window(world: World) -> None:
    """Ten frames a second for two minutes leave no more than one window (12 s) of nonces behind."""
    sealer, most = world.sealer(), 0
    for i in range(1200):
        now = NOW_US + i * SECOND // 10
        terms = replace(TERMS, opened_at_us=now, expires_at_us=now + SECOND)
        emit = sealer.seal(JPEG, terms, sequence=i, captured_at_us=now, trace=TRACE)
        world.opener.open(consumed(emit, offset=i), now)
        most = max(most, world.opener.remembered)
    assert most <= 121


def test_a_nonce_is_kept_until_its_replay_is_stale(world: World) -> None:
    """At every moment of its life a replay is refused: as replayed first, as stale from the end of the window on."""
    terms = replace(TERMS, expires_at_us=NOW_US + 60 * SECOND)
    emit = world.seal(terms)
    world.opener.open(consumed(emit), NOW_US)
    reasons = []
    for after_s in (0, 5, 10, 11, 12, 13, 30):
        with pytest.raises(SealError) as refused:
            world.opener.open(consumed(emit, offset=42), NOW_US + after_s * SECOND)
        reasons.append(refused.value.reason)
    assert reasons == ["replayed"] * 3 + ["stale"] * 4


def test_restored_nonces_from_the_future_are_not_kept(world: World) -> None:
    """A record that claims to be from 2099 would never leave the memory, and was never opened: it is dropped."""
    far = with_header(world.seal(), FRAME_HEADER, lambda v: v.replace(str(NOW_US).encode(), b"4080000000000000"))
    world.opener.remember(consumed(far, offset=1))
    world.opener.open(consumed(world.seal()), NOW_US)
    assert world.opener.remembered == 1


@pytest.mark.parametrize(
    "damaged",
    [
        replace(consumed(Emit("frames", b"t-1", b"")), value=None),
        consumed(Emit("frames", b"t-1", b"short")),
        consumed(Emit("frames", b"t-1", b"x" * 99)),
    ],
)
def test_damaged_records_are_not_remembered(world: World, damaged: InMessage) -> None:
    """A record without a nonce or without headers was refused before the restart and is skipped after it."""
    world.opener.remember(damaged)
    assert world.opener.remembered == 0
