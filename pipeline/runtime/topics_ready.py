"""Waiting for Kafka and for the topics that an agent reads, before it reads them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.errors import KafkaUnavailable
from pipeline.runtime.health import Health
from pipeline.settings import Kafka

log = structlog.get_logger(__name__)

TOPIC_WAIT_S = 30.0


def await_topics(
    kafka: Kafka, names: Sequence[str], health: Health, stop: threading.Event, *, topic_wait_s: float = TOPIC_WAIT_S
) -> bool:
    """Waits until Kafka answers and the topics exist; False when `stop` was set first.

    Kafka that is down is waited for without end (it comes back by itself; `/readyz` says so meanwhile). A topic that is
    still missing after `topic_wait_s` is a mistake of somebody and raises `KafkaUnavailable`.
    """
    client = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 1_000})
    missing_since: float | None = None
    said = ""
    while not stop.is_set():
        health.beat()
        try:
            present = client.list_topics(timeout=2).topics
        except KafkaException as error:
            missing_since = None
            why = f"Kafka at {kafka.bootstrap} does not answer: {error.args[0].str()}"
        else:
            missing = [name for name in names if name not in present]
            if not missing:
                health.set_ready("kafka", ok=True)
                return True
            why = f"the topics {', '.join(missing)} do not exist at {kafka.bootstrap}"
            missing_since = missing_since or time.monotonic()
            if time.monotonic() - missing_since > topic_wait_s:
                raise KafkaUnavailable(f"waiting for topics: {why}; run `facepay topics apply`")
        health.set_ready("kafka", ok=False, why=why)
        if why != said:
            log.warning("waiting", why=why)
            said = why
        stop.wait(0.5)
    return False
