"""What waits and whether Kafka answers: the watch beside each loop, on a broker that falls silent and comes back."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.local import LocalStack
from pipeline.ports import InMessage
from pipeline.runtime import lag
from pipeline.runtime.health import Health
from pipeline.runtime.lag import LagWatch, committed_offsets
from pipeline.runtime.producer import make_producer
from pipeline.settings import Kafka
from tests.stack import create_topics, unique, wait_until

PARTITIONS = 4


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks five times a second."""
    monkeypatch.setattr(lag, "EVERY_S", 0.2)


def test_silence_is_no_lag_of_zero(own_stack: LocalStack) -> None:
    """librdkafka, once it knows the leaders, answers for a silent broker with no offset and no error: taken at its word
    nothing waits and all is well."""
    kafka, topic = Kafka(bootstrap=own_stack.addresses.kafka), unique("silent")
    create_topics(kafka.bootstrap, {topic: PARTITIONS})
    watch = LagWatch(kafka, "silent", Health("silent"))
    watch.assigned([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    answered: list[None] = []
    wait_until(lambda: answers(watch, client, answered) and len(answered) > 2, 20, "three answers")
    own_stack.kafka.pause()
    # An answer may be on its way when the broker stops; after it there is none.
    wait_until(lambda: not answers(watch, client, answered), 20, "a look that a silent broker does not answer")


def answers(watch: LagWatch, client: AdminClient, answered: list[None]) -> bool:
    """Whether one look of `client` is answered; each that is adds to `answered`."""
    try:
        watch._look(client)
    except (KafkaException, TimeoutError):
        return False
    answered.append(None)
    return True


def test_a_broker_that_is_back_is_seen(own_stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """One client asks until a look fails, then a new one: the old one keeps to the leaders that it knew before the
    election and may be refused for ever."""
    made: list[object] = []

    class Counted(AdminClient):
        """One client of the watch."""

        def __init__(self, settings: dict[str, str | int | float | bool]) -> None:
            super().__init__(settings)
            made.append(self)

    monkeypatch.setattr(lag, "AdminClient", Counted)
    kafka, topic, health = Kafka(bootstrap=own_stack.addresses.kafka), unique("back"), Health("back")
    create_topics(kafka.bootstrap, {topic: PARTITIONS})
    watch = LagWatch(kafka, "back", health)
    watch.assigned([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    health.set_ready("kafka", ok=False)
    watch.start()
    wait_until(lambda: steady(health), 20, f"Kafka to be seen: {health.missing()}")
    before = len(made)
    assert before <= 3, "a client for each look"
    own_stack.kafka.pause()
    wait_until(health.missing, 10, "the silence to be seen")
    own_stack.kafka.resume()
    wait_until(lambda: steady(health), 20, f"Kafka to be seen again: {health.missing()}")
    assert len(made) > before


def steady(health: Health) -> bool:
    """Ready at five looks on end."""
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        if health.missing():
            return False
    return True


def test_what_waits_is_counted_from_what_was_finished(kafka: str) -> None:
    """From the committed offset, or the beginning where there is none; partitions that went are nobody's lag here."""
    settings, topic, health = Kafka(bootstrap=kafka), unique("lag"), Health("lag", stall_s=0.0)
    create_topics(kafka, {topic: 2})
    producer = make_producer(settings)
    for n in range(10):
        producer.produce(topic, b"x", partition=n % 2)
    assert producer.flush(20) == 0

    def waits() -> str:
        return health.missing().get("progress", "0 records").split(" ")[0]

    watch = LagWatch(settings, "lag", health)
    watch.assigned(committed_offsets(settings, unique("group"), [TopicPartition(topic, p) for p in range(2)]))
    watch.start()
    wait_until(lambda: waits() == "10", 10, "ten records to wait")
    watch.finished([InMessage(topic, 0, 2, None, b"x", (), time.time_ns() // 1000)])
    wait_until(lambda: waits() == "7", 10, "seven records to wait")
    watch.taken([TopicPartition(topic, 1)])
    wait_until(lambda: waits() == "2", 10, "two records to wait")
    watch.finished([InMessage(topic, 0, 4, None, b"x", (), time.time_ns() // 1000)])
    wait_until(lambda: waits() == "0", 10, "nothing to wait")
