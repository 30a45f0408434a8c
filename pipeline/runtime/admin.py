"""Topics planned, applied and checked against a cluster, and which cluster that is.

`plan` compares `schemas/topics/*.toml` with what Kafka has. A missing topic is `create`, a different configuration is
`change`, a different partition count is `drift`: partitions never change in place, because a lane is a partition
number; growth is a new generation of the topics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package names them without exporting them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from pipeline.errors import KafkaUnavailable
from pipeline.ports import KafkaIdentity
from pipeline.settings import Kafka
from pipeline.topics import Topic, topics

TIMEOUT_S = 10.0
# librdkafka's own answer, also that nobody answered, comes at TIMEOUT_S: never give up on the future just before it.
ANSWER_S = TIMEOUT_S + 5.0


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between the declaration and the cluster."""

    kind: Literal["create", "change", "drift"]
    topic: str
    detail: str


def plan(kafka: Kafka) -> list[Change]:
    """What `apply` would do, and the drift that it cannot mend; raises `KafkaUnavailable` within 10 s."""
    client = _client(kafka)
    found = _partitions(client, kafka)
    present = [topic for topic in topics().values() if topic.name in found]
    configs = _configs(client, kafka, present)
    changes: list[Change] = []
    for topic in topics().values():
        if topic.name not in found:
            changes.append(Change("create", topic.name, f"{topic.partitions} partitions"))
            continue
        if found[topic.name] != topic.partitions:
            detail = f"has {found[topic.name]} partitions, declared {topic.partitions}; make a new generation"
            changes.append(Change("drift", topic.name, detail))
        wrong = {k: v for k, v in topic.config.items() if configs[topic.name].get(k) != v}
        if wrong:
            said = ", ".join(f"{k} {configs[topic.name].get(k)} -> {v}" for k, v in sorted(wrong.items()))
            changes.append(Change("change", topic.name, said))
    return changes


def apply(kafka: Kafka, *, replication: int = -1) -> list[Change]:
    """Creates and configures; returns what was done, and the drift that is left. `replication` -1: the broker's."""
    changes = plan(kafka)
    client = _client(kafka)
    declared = topics()
    new = [
        NewTopic(c.topic, declared[c.topic].partitions, replication, config=dict(declared[c.topic].config))
        for c in changes
        if c.kind == "create"
    ]
    altered = [_resource(declared[c.topic]) for c in changes if c.kind == "change"]
    try:
        if new:
            for future in client.create_topics(new, operation_timeout=TIMEOUT_S).values():
                _created(future)
        if altered:
            for future in client.incremental_alter_configs(altered).values():
                future.result(ANSWER_S)
    except KafkaException as error:
        raise _unavailable(kafka, "applying the topics", error) from None
    return changes


def _created(future: Future[None]) -> None:
    try:
        future.result(ANSWER_S)
    except KafkaException as error:
        # Somebody else applies at the same time: what was wished for is there.
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def identity(kafka: Kafka, names: Sequence[str]) -> KafkaIdentity:
    """The cluster's id and the ids of `names`; raises `KafkaUnavailable` naming a topic that does not exist."""
    client = _client(kafka)
    try:
        cluster = client.describe_cluster(request_timeout=TIMEOUT_S).result(ANSWER_S)
        described = client.describe_topics(TopicCollection(list(names)), request_timeout=TIMEOUT_S)
        ids = {}
        for name, future in described.items():
            try:
                ids[name] = str(future.result(ANSWER_S).topic_id)
            except KafkaException as error:
                raise KafkaUnavailable(
                    f"looking for the topic {name} at {kafka.bootstrap}: {error.args[0].str()};"
                    " run `facepay topics apply`"
                ) from None
    except KafkaException as error:
        raise _unavailable(kafka, "asking Kafka who it is", error) from None
    return KafkaIdentity(str(cluster.cluster_id), ids)


def check_lanes(kafka: Kafka, names: Sequence[str]) -> None:
    """Raises `KafkaUnavailable` unless `names` have one number of partitions: a lane has one number in all of them."""
    found = _partitions(_client(kafka), kafka)
    counts = {name: found.get(name, 0) for name in names}
    if len(set(counts.values())) > 1:
        raise KafkaUnavailable(
            f"looking for lanes: the topics have different numbers of partitions ({counts}), so that a lane is not one"
            " number in all of them; run `facepay topics check`"
        )


def _client(kafka: Kafka) -> AdminClient:
    # log_level 0: what goes wrong is raised in one sentence, not logged beside it.
    return AdminClient(
        {"bootstrap.servers": kafka.bootstrap, "log_level": 0, "socket.connection.setup.timeout.ms": 5000}
    )


def _partitions(client: AdminClient, kafka: Kafka) -> Mapping[str, int]:
    try:
        metadata = client.list_topics(timeout=TIMEOUT_S)
    except KafkaException as error:
        raise _unavailable(kafka, "listing the topics", error) from None
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _configs(client: AdminClient, kafka: Kafka, present: Sequence[Topic]) -> Mapping[str, Mapping[str, str]]:
    if not present:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in present]
    try:
        futures = client.describe_configs(resources, request_timeout=TIMEOUT_S)
        return {
            resource.name: {name: str(entry.value) for name, entry in future.result(ANSWER_S).items()}
            for resource, future in futures.items()
        }
    except KafkaException as error:
        raise _unavailable(kafka, "reading the topics' configuration", error) from None


def _resource(topic: Topic) -> ConfigResource:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in topic.config.items()
    ]
    return ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)


def _unavailable(kafka: Kafka, what: str, error: KafkaException) -> KafkaUnavailable:
    return KafkaUnavailable(
        f"{what} at {kafka.bootstrap}: {error.args[0].str()}; is Kafka running there (FACEPAY_KAFKA__BOOTSTRAP)?"
    )
