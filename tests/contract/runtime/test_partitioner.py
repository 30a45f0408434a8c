"""One partitioner in every producer: a lane is a partition number, so a key must lie on the same one everywhere."""

from __future__ import annotations

import uuid

import faust
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import KafkaError, Message, Producer

from pipeline.runtime.producer import make_producer
from pipeline.settings import Kafka
from tests.stack import create_topics, unique

LANES = 8
KEYS = (
    [f"till-{n}" for n in range(200)]
    + [str(uuid.UUID(int=n * 7919)) for n in range(200)]
    + ["é" * n for n in range(100)]
)

# Java's org.apache.kafka.common.utils.Utils.murmur2, from Kafka's own UtilsTest.testMurmur2.
JAVA_MURMUR2 = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


def test_producers_place_a_key_as_java_does(kafka: str) -> None:
    """Kafka's own test vectors and 500 keys: what `make_producer` sends lies where aiokafka, and Java, would put it.
    With librdkafka's default partitioner three keys of four lie elsewhere."""
    topic = unique("lanes")
    create_topics(kafka, {topic: LANES})
    keys = [key.encode() for key in KEYS] + [key for key, _ in JAVA_MURMUR2]
    lie = _placed(make_producer(Kafka(bootstrap=kafka)), topic, keys)
    all_lanes = list(range(LANES))
    assert lie == {key: DefaultPartitioner()(key, all_lanes, all_lanes) for key in keys}
    assert {key: lie[key] for key, _ in JAVA_MURMUR2} == {key: (h & 0x7FFFFFFF) % LANES for key, h in JAVA_MURMUR2}
    assert len(set(lie.values())) == LANES


def test_librdkafka_by_itself_places_keys_elsewhere(kafka: str) -> None:
    """Why every producer is made by `make_producer`: the default would scatter lanes."""
    topic = unique("scattered")
    create_topics(kafka, {topic: LANES})
    keys = [key.encode() for key in KEYS]
    lie = _placed(Producer({"bootstrap.servers": kafka}), topic, keys)
    all_lanes = list(range(LANES))
    agree = sum(lie[key] == DefaultPartitioner()(key, all_lanes, all_lanes) for key in keys)
    assert agree < len(keys) // 2


def test_faust_uses_aiokafkas_partitioner() -> None:
    """Faust's producer is told of no other; where the worker's results really lie, the conformance suite sees."""
    app = faust.App("partitioner", broker="kafka://127.0.0.1:1", web_enabled=False)
    # By name: Faust declares the setting as a function that takes no self.
    assert getattr(app.conf, "producer_partitioner", "missing") is None


def _placed(producer: Producer, topic: str, keys: list[bytes]) -> dict[bytes, int]:
    """Key to the partition it was delivered to."""
    lie: dict[bytes, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None
        key, partition = message.key(), message.partition()
        assert isinstance(key, bytes)
        assert partition is not None
        lie[key] = partition

    for key in keys:
        producer.produce(topic, b"", key=key, on_delivery=delivered)
    assert producer.flush(20) == 0
    assert len(lie) == len(set(keys))
    return lie
