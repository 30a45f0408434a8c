"""Apache Kafka and Redis on one machine, as child processes: for the demo, `facepay up` and the tests.

    with LocalStack(Path("data")) as stack:
        stack.addresses.kafka, stack.addresses.redis

Nothing needs root, Docker or an installed Java: see `programs` for where the programs come from, `jars` and `pins` for
what is downloaded and how it is verified, `server` for how a server is started and watched, `process` and `guard` for
why nothing outlives this process.
"""

from __future__ import annotations

from pipeline.local.kafka_server import KafkaServer
from pipeline.local.process import Supervised
from pipeline.local.redis_server import RedisServer
from pipeline.local.stack import Addresses, LocalStack, fetch

__all__ = ["Addresses", "KafkaServer", "LocalStack", "RedisServer", "Supervised", "fetch"]
