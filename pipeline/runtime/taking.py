"""Taking a batch from a consumer without waiting longer than needed.

`Consumer.consume(n, timeout)` waits out its timeout unless `n` records come, which would put the whole timeout on the
latency of a quiet lane. So: wait for the first record, then take what is there.
"""

from __future__ import annotations

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from pipeline.ports import InMessage
from pipeline.runtime.reader import in_message

log = structlog.get_logger(__name__)

# librdkafka's own codes start with an underscore.
PASSING = frozenset(
    {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT}  # noqa: SLF001
)


def take(consumer: Consumer, limit: int, *, first_s: float, fill_s: float = 0.0) -> list[InMessage]:
    """At most `limit` records: waits `first_s` for the first one and `fill_s` for more. Rebalance callbacks run inside.

    Raises `KafkaException` for an error that this consumer cannot go on from; passing ones are logged.
    """
    first = consumer.poll(first_s)
    if first is None:
        return []
    records: list[Message] = [first]
    if limit > 1:
        records += consumer.consume(limit - 1, fill_s)
    messages = []
    for record in records:
        error = record.error()
        if error is None:
            messages.append(in_message(record))
        elif error.retriable() or error.code() in PASSING:
            log.warning("consume_error", error=error.name())
        else:
            raise KafkaException(error)
    return messages
