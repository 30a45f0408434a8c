"""What a settlement instance does on an ordinary day: settles, expires, buries, drains."""

from __future__ import annotations

import time

from tests.contract.runtime.shop import Shop, said
from tests.stack import wait_until


def test_intents_are_settled_and_bad_records_buried_beside_them(shop: Shop) -> None:
    """A record that is no command becomes one dead letter that keeps its bytes; its neighbours are settled."""
    shop.pay(30)
    shop.spoil(3)
    shop.pay(30)
    worker = shop.worker()
    shop.wait_until_said()
    assert {shop.unsealed(letter) for letter in shop.dead()} == {b"{no command}"}
    assert {(letter.agent, letter.topic) for letter in shop.dead()} == {("settlement", shop.plan.commands)}
    assert worker.stop() == 0
    assert said(worker, "drained")
    shop.check_exactly_once()


def test_an_intent_without_a_verdict_expires_within_two_seconds(shop: Shop) -> None:
    """Timers go the same way as records: the outcome is on Kafka within 2 s of the deadline, with no input to wake."""
    worker = shop.worker(real_clock=True)
    wait_until(lambda: said(worker, "assigned"), 30, "an assignment")
    intent = shop.open_now(ttl_s=1.0)
    wait_until(shop.settlements, 30, "an outcome")
    (outcome,) = shop.settlements()
    late_s = time.time() - outcome.expires_at_us / 1e6
    assert (outcome.intent_id, outcome.outcome, outcome.reasons) == (intent, "expired", ("deadline_passed",))
    assert 0 <= late_s < 2


def test_a_second_start_says_nothing_again(shop: Shop) -> None:
    """What an instance drained at SIGTERM is finished: the next one finds its position and emits only what is new."""
    shop.pay(40)
    first = shop.worker()
    shop.wait_until_said()
    assert first.stop() == 0
    shop.pay(1)
    second = shop.worker()
    shop.wait_until_said()
    assert said(second, "outbox_position_recovered") == []
    shop.check_exactly_once()
