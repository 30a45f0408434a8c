"""Real Kafka and Redis for tests: a pytest plugin, loaded by `tests/conftest.py`.

`stack` is one Kafka and one Redis for the whole session; a test takes topics, groups and keys of its own by `unique`.
`own_stack` is for tests that kill, pause or fill a server. Nothing here sleeps for a guessed time: `wait_until` looks
again until a deadline.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.local import LocalStack

# Tests see no FACEPAY_* variable of the person, but the cache of downloads stays where the person has put it.
_CACHE = os.environ.get("FACEPAY_CACHE")
_LOOK_S = 0.02
_TOPICS_TIMEOUT_S = 30.0


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """One Kafka and one Redis for the session; leave them running and use names of your own."""
    with LocalStack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def kafka(stack: LocalStack) -> str:
    """The session's Kafka: `127.0.0.1:PORT`."""
    return stack.addresses.kafka


@pytest.fixture(scope="session")
def redis_url(stack: LocalStack) -> str:
    """The session's Redis: `redis://127.0.0.1:PORT/0`."""
    return stack.addresses.redis


@pytest.fixture
def shared_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of downloads that the session uses, also when it is not in its usual place."""
    if _CACHE:
        monkeypatch.setenv("FACEPAY_CACHE", _CACHE)


@pytest.fixture
def own_stack(tmp_path: Path, shared_cache: None) -> Iterator[LocalStack]:
    """A Kafka and a Redis of this test's own, to kill, pause or fill."""
    with LocalStack(tmp_path / "stack") as running:
        yield running


def unique(name: str) -> str:
    """`name` with a suffix that no other test has: for topics, groups, transactional ids and keys."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def wait_until(predicate: Callable[[], object], timeout_s: float, what: str) -> None:
    """Returns once `predicate()` is true; fails the test with `what` when `timeout_s` seconds have passed."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s} s in vain: {what}")
        time.sleep(_LOOK_S)


def create_topics(bootstrap: str, topics: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
    """Makes topics (name to number of partitions), each with `config`; returns when every partition has its leader."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [NewTopic(name, count, replication_factor=1, config=dict(config or {})) for name, count in topics.items()]
    for made in admin.create_topics(wanted, operation_timeout=_TOPICS_TIMEOUT_S).values():
        made.result(_TOPICS_TIMEOUT_S)

    def led() -> bool:
        try:
            known = admin.list_topics(timeout=1.0).topics
        except KafkaException:
            return False
        return all(
            name in known
            and len(known[name].partitions) == count
            and all(partition.leader >= 0 for partition in known[name].partitions.values())
            for name, count in topics.items()
        )

    wait_until(led, _TOPICS_TIMEOUT_S, f"leaders for {', '.join(topics)}")
