"""Topics as declared, planned, applied and checked against a real cluster, and which cluster that is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from pipeline.errors import KafkaUnavailable
from pipeline.local import LocalStack
from pipeline.local.loopback import free_ports
from pipeline.runtime import admin
from pipeline.settings import Kafka
from pipeline.topics import topics
from tests.contract.runtime.topic_config import set_topic_config
from tests.stack import create_topics, unique, wait_until


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A Kafka without topics."""
    with LocalStack(tmp_path_factory.mktemp("empty"), redis=False) as stack:
        yield Kafka(bootstrap=stack.addresses.kafka)


def test_topics_are_created_configured_and_never_repartitioned(empty: Kafka) -> None:
    """One story: nothing there, all created by two at once, nothing left to do, a wrong setting mended, a wrong number
    of partitions only told."""
    assert {(c.kind, c.topic) for c in admin.plan(empty)} == {("create", name) for name in topics()}
    with ThreadPoolExecutor(2) as both:
        list(both.map(admin.apply, [empty, empty]))
    wait_until(lambda: admin.plan(empty) == [], 10, "the topics to be as declared")

    set_topic_config(empty.bootstrap, "hints", {"retention.ms": "1234"})
    wait_until(lambda: admin.plan(empty), 10, "the wrong setting to be seen")
    (change,) = admin.plan(empty)
    assert (change.kind, change.topic) == ("change", "hints")
    assert "1234 -> 300000" in change.detail
    admin.apply(empty)
    wait_until(lambda: admin.plan(empty) == [], 10, "the setting to be mended")

    client = AdminClient({"bootstrap.servers": empty.bootstrap})
    for grown in client.create_partitions([NewPartitions("verdicts", 9)]).values():
        grown.result(10)
    wait_until(lambda: admin.plan(empty), 10, "the partition to be seen")
    (drift,) = admin.apply(empty)
    assert (drift.kind, drift.topic) == ("drift", "verdicts")
    assert [c.kind for c in admin.plan(empty)] == ["drift"]
    with pytest.raises(KafkaUnavailable, match="different numbers of partitions"):
        admin.check_lanes(empty, ["commands", "verdicts"])


def test_a_topic_made_anew_is_another(kafka: str) -> None:
    """Its id tells it from its namesake, which is how a ledger knows that its topic was deleted."""
    settings, name = Kafka(bootstrap=kafka), unique("again")
    create_topics(kafka, {name: 1})
    first = admin.identity(settings, [name])
    assert admin.identity(settings, [name]) == first
    client = AdminClient({"bootstrap.servers": kafka})
    for gone in client.delete_topics([name]).values():
        gone.result(10)
    wait_until(lambda: name not in client.list_topics(timeout=5).topics, 10, "the topic to be gone")
    create_topics(kafka, {name: 1})
    second = admin.identity(settings, [name])
    assert second.cluster_id == first.cluster_id
    assert second.topic_ids[name] != first.topic_ids[name]


def test_a_missing_topic_is_named(kafka: str) -> None:
    """In one sentence that says what to run."""
    with pytest.raises(KafkaUnavailable, match=r"looking for the topic no-such-topic at .*facepay topics apply"):
        admin.identity(Kafka(bootstrap=kafka), ["no-such-topic"])


def test_kafka_that_is_down_is_told_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question gives up by itself, in one sentence that names the address and the setting."""
    monkeypatch.setattr(admin, "TIMEOUT_S", 1.0)
    nobody = Kafka(bootstrap=f"127.0.0.1:{free_ports(1)[0]}")
    began = time.monotonic()
    for question in (
        lambda: admin.plan(nobody),
        lambda: admin.apply(nobody),
        lambda: admin.identity(nobody, ["hints"]),
    ):
        with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1.*FACEPAY_KAFKA__BOOTSTRAP") as told:
            question()
        assert "\n" not in str(told.value)
    assert time.monotonic() - began < 15
