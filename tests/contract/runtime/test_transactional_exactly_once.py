"""Each intent is settled once, on Kafka and in the books, wherever a settlement instance or the broker dies."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pipeline.local import LocalStack
from pipeline.runtime.reader import UNEXPECTED
from tests.contract.runtime.settling_worker import BORDERS
from tests.contract.runtime.shop import Shop, said
from tests.stack import wait_until


@pytest.mark.slow
def test_killed_at_each_border_nothing_is_lost_or_doubled(shop: Shop) -> None:
    """kill -9 before and after each step that makes something durable: the next instance goes on from there, and with
    no input to wake it emits what the last one only applied."""
    for border in (*BORDERS, "apply:after"):
        shop.pay(20)
        shop.spoil(1)
        dying = shop.worker(border=border)
        assert dying.wait(30) == -signal.SIGKILL, border
    last = shop.worker()
    shop.wait_until_said()
    assert last.stop() == 0
    shop.check_exactly_once()


@pytest.mark.slow
def test_dying_by_dice_nothing_is_lost_or_doubled(shop: Shop) -> None:
    """Deaths at random borders while intents go on coming, one by a crash of the process, one by kill -9."""
    deaths = 0
    for seed in range(20):
        shop.pay(15)
        shop.spoil(1)
        worker = shop.worker(chance=0.08, seed=seed, act="exit" if seed % 2 else "kill")
        wait_until(lambda w=worker: not w.alive or shop.everything_said(), 40, "all outcomes, or a death")  # type: ignore[misc]
        deaths += not worker.alive
        worker.kill()
        if deaths == 5:
            break
    assert deaths == 5
    shop.worker()
    shop.wait_until_said()
    shop.check_exactly_once()


@pytest.mark.slow
def test_a_broker_that_is_down_or_dies_costs_nothing(own_stack: LocalStack, tmp_path: Path) -> None:
    """An instance waits for a broker that is not there yet, and one that is killed -9 under load doubles nothing."""
    shop = Shop(own_stack.addresses.kafka, tmp_path)
    try:
        own_stack.kafka.kill()
        worker = shop.worker()
        wait_until(lambda: said(worker, "waiting"), 30, "a word about Kafka that is down")
        own_stack.kafka.start()
        shop.pay(100)
        worker = shop.supervise_until_said(worker)
        shop.pay(300)
        own_stack.kafka.kill()
        own_stack.kafka.start()
        shop.supervise_until_said(worker)
        shop.check_exactly_once()
    finally:
        shop.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("border", "impatience", "doing"),
    [("offsets:before", {"watchdog_s": 1.0}, None), ("offsets:inside", {"call_s": 1.0}, "offsets")],
    ids=["between calls", "inside a call, past its own timeout"],
)
def test_a_transaction_that_blocks_for_ever_ends_the_process(
    shop: Shop, border: str, impatience: dict[str, float], doing: str | None
) -> None:
    """What never returns is ended by the watchdog; a fresh process settles the rest, once."""
    shop.pay(20)
    blocked = shop.worker(border=border, act="block", **impatience)
    assert blocked.wait(30) == UNEXPECTED
    assert [line["doing"] for line in said(blocked, "transaction_stuck")] == [doing]
    shop.worker()
    shop.wait_until_said()
    shop.check_exactly_once()
