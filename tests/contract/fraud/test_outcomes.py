"""Outcomes flow back from real Kafka into histories on real Redis: each once, none lost, read committed only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from agents.fraud_outcomes import OutcomeHistory, settlements_reader
from pipeline.domain.features import History, Use, decode_history
from pipeline.local import LocalStack
from pipeline.ports import InMessage
from pipeline.runtime.admin import apply
from pipeline.runtime.producer import make_producer
from pipeline.settings import Kafka, Risk
from schemas.codec import encode
from schemas.events import Recognition, Settlement
from tests.contract.fraud.conftest import Agent
from tests.stack import unique, wait_until
from tests.unit.risk.events import an_id, recognition, settlement


def now_us() -> int:
    """The machine's time: the reader begins at a Kafka timestamp."""
    return time.time_ns() // 1_000


@contextmanager
def following(agent: Agent, kafka: Kafka) -> Iterator[OutcomeHistory]:
    """Outcomes are read while the block runs."""
    outcomes = OutcomeHistory(agent.state, Risk(), now_us, settlements_reader(kafka))
    outcomes.start()
    try:
        yield outcomes
    finally:
        outcomes.stop()


@pytest.fixture
def broker(kafka: str) -> Kafka:
    """The session's Kafka with the declared topics."""
    settings = Kafka(bootstrap=kafka)
    apply(settings, replication=1)
    return settings


def send(kafka: Kafka, *settlements: Settlement) -> None:
    """Settlements onto the topic, confirmed."""
    producer = make_producer(kafka)
    for one in settlements:
        producer.produce("settlements", encode(one), one.terminal_id.encode())
    assert producer.flush(20) == 0


def payer(name: str) -> Recognition:
    """A recognition of a payer whom no other test has."""
    return recognition(unique(name), payer_id=an_id(unique(name)), terminal="till-fraud")


def history(agent: Agent, payer_id: str) -> tuple[Use, ...]:
    """What the store remembers of a payer."""
    return decode_history(agent.state.read([(payer_id, "")])[1][0].history).uses


def noted(agent: Agent, of: Recognition) -> Callable[[], bool]:
    """Whether the outcome of that recognition is in its payer's history."""
    return lambda: any(u.intent_id == of.intent_id and u.outcome_id for u in history(agent, of.payer_id))


def test_outcomes_are_noted_once_and_make_the_store_warm(agent: Agent, broker: Kafka, client: redis.Redis) -> None:
    """An outcome from before and one from after the start are each noted once, repeats change nothing, and the store
    is warm only when the reader has caught up."""
    client.delete("facepay:fraud:warm")
    before, after = payer("before"), payer("after")
    send(broker, settlement(before), settlement(before))
    agent.verdicts(after)
    with following(agent, broker):
        wait_until(lambda: agent.state.read([])[0], 30, "the store is warm")
        assert noted(agent, before)()
        send(broker, settlement(after, "declined"), settlement(before), settlement(after, "declined"))
        wait_until(noted(agent, after), 30, "the later outcome is noted")
    assert [use.outcome for use in history(agent, before.payer_id)] == ["settled"]
    assert [use.outcome for use in history(agent, after.payer_id)] == ["declined"]


def test_an_outcome_that_is_not_committed_does_not_count(agent: Agent, broker: Kafka) -> None:
    """Settlements of a transaction that was aborted never reach a history; what follows does."""
    aborted, committed = payer("aborted"), payer("committed")
    producer = make_producer(broker, transactional_id=unique("fraud-test"))
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce("settlements", encode(settlement(aborted)), b"till-fraud")
    producer.flush(20)
    producer.abort_transaction(20)
    with following(agent, broker):
        send(broker, settlement(committed))
        wait_until(noted(agent, committed), 30, "the committed outcome is noted")
    assert history(agent, aborted.payer_id) == ()


def test_a_lost_store_is_filled_again(agent: Agent, broker: Kafka, client: redis.Redis) -> None:
    """When Redis lost everything, the histories come back from the topic, and only then is the store warm again."""
    one = payer("lost")
    with following(agent, broker) as outcomes:
        send(broker, settlement(one))
        wait_until(noted(agent, one), 30, "the outcome is noted")
        for key in client.scan_iter("facepay:fraud:*"):
            client.delete(key)
        assert history(agent, one.payer_id) == History().uses
        outcomes.refill()
        wait_until(lambda: agent.state.read([])[0], 30, "the store is warm again")
    assert noted(agent, one)()


def test_outcomes_wait_for_redis(own_redis: LocalStack, broker: Kafka) -> None:
    """While Redis is away an outcome waits; when it is back it is noted. Nothing ends the process."""
    agent = Agent(own_redis.addresses.redis)
    one = payer("waits")
    with following(agent, broker):
        wait_until(lambda: agent.state.read([])[0], 30, "the store is warm")
        own_redis.redis.stop()
        send(broker, settlement(one))
        own_redis.redis.start()
        wait_until(noted(agent, one), 30, "the outcome is noted after all")


def test_redis_down_at_start_then_up(tmp_path: Path, broker: Kafka) -> None:
    """An agent that starts without Redis goes on when Redis comes, with the outcomes from before."""
    one = payer("early")
    send(broker, settlement(one))
    with LocalStack(tmp_path / "late", kafka=False) as late:
        agent = Agent(late.addresses.redis)
        late.redis.stop()
        with following(agent, broker):
            assert agent.judged(recognition())[0].decision == "step_up"
            late.redis.start()
            wait_until(noted(agent, one), 30, "the outcome is noted")
            wait_until(lambda: agent.state.read([])[0], 30, "the store is warm")


def test_an_outcome_of_nobody_is_passed_over(agent: Agent, broker: Kafka) -> None:
    """An intent that expired unrecognised has no payer and touches no history."""
    outcomes = OutcomeHistory(agent.state, Risk(), now_us, settlements_reader(broker))
    nobody = replace(settlement(recognition(), "expired"), payer_id=None, method=None)
    outcomes.note(InMessage("settlements", 0, 0, b"till-1", encode(nobody)))
    assert history(agent, recognition().payer_id) == ()
