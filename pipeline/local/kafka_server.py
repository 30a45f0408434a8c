"""One Apache Kafka node (broker and controller in one process) on the loopback interface, everything in one folder.

The first start formats the storage under a new cluster id; a format that was cut off leaves nothing, because the folder
gets its name only afterwards. Healthy means that a metadata request is answered with a live broker and with *our*
cluster id.

The settings are those that survived the drills: a short session with the controller, so that a broker killed with kill
-9 is back after 2 s instead of 10; small internal topics; buffers fit for one machine; topics come into being by
`facepay topics apply` only.
"""

from __future__ import annotations

import base64
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.errors import KafkaUnavailable, OutsideError, UsageError
from pipeline.local.cache import private_dir
from pipeline.local.loopback import HOST, answers
from pipeline.local.process import Supervised
from pipeline.local.programs import KafkaProgram
from pipeline.local.server import LocalServer, telling_line

_FORMAT_TIMEOUT_S = 60.0
_METADATA_TIMEOUT_S = 1.0
_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
# Relative to the working directory: a comma in an absolute path would make it a list.
log.dirs={data}
auto.create.topics.enable=false
num.partitions=4
# From kill -9 to usable: 2 s; the default of 9 s makes it 10.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# One node, few groups, few transactional ids.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
# A transaction that a dead process left open holds its lane up until it is found: look often.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# Frames live for minutes: look often, delete soon, keep segments and their preallocated indexes small.
log.segment.bytes=67108864
log.index.size.max.bytes=1048576
log.retention.check.interval.ms=10000
log.segment.delete.delay.ms=1000
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
background.threads=4
num.recovery.threads.per.data.dir=2
"""
_LOGGING = """\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1} - %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""


class KafkaServer(LocalServer):
    """A Kafka node under `folder`; `find_program` is asked once, at the first start, and may download."""

    name: ClassVar[str] = "Kafka"
    error: ClassVar[type[OutsideError]] = KafkaUnavailable
    port_count: ClassVar[int] = 2

    def __init__(self, folder: Path, find_program: Callable[[], KafkaProgram], *, grace_s: float = 10.0) -> None:
        """`grace_s`: seconds that a clean stop may take before SIGKILL."""
        super().__init__(folder)
        self._find_program = find_program
        self._grace_s = grace_s
        self._cluster_id = ""

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`. Raises UsageError before the first start."""
        if not self.ports:
            raise UsageError("The local Kafka has not been started.")
        return f"{HOST}:{self.ports[0]}"

    def _prepare(self) -> Supervised:
        program = self._find_program()
        private_dir(self.folder)
        private_dir(self.folder / "tmp")
        (self.folder / "log4j2.properties").write_text(_LOGGING, "utf-8")
        if not (self.folder / "data").exists():
            self._format(program)
        stored = (self.folder / "data" / "meta.properties").read_text("utf-8")
        self._cluster_id = re.findall(r"^cluster\.id=(.+)$", stored, re.MULTILINE)[0]
        call = [*program.server, "server.properties"]
        return Supervised(self.name, call, program.env, self.log_path, self.folder, grace_s=self._grace_s)

    def _format(self, program: KafkaProgram) -> None:
        """Makes `data` with a new cluster id. Raises KafkaUnavailable."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._write_settings(unfinished.name, [1, 2], "format.properties")
        # A leading '-' would be read as an option.
        cluster_id = "f" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]
        call = [*program.storage, "format", "-t", cluster_id, "-c", "format.properties"]
        run = Supervised("Kafka's storage tool", call, program.env, self.log_path, self.folder)
        run.start()
        try:
            code = run.wait(_FORMAT_TIMEOUT_S)
        finally:
            run.kill()
        if code != 0:
            how = "took too long" if code is None else f"ended with code {code}"
            raise KafkaUnavailable(
                f"Formatting Kafka's storage {how}: {telling_line(run.log_lines())} (its log is {self.log_path})."
            )
        unfinished.rename(self.folder / "data")

    def _write_settings(self, data: str, ports: list[int], name: str) -> None:
        text = _SETTINGS.format(host=HOST, port=ports[0], controller_port=ports[1], data=data)
        (self.folder / name).write_text(text, "utf-8")

    def _configure(self) -> None:
        self._write_settings("data", self.ports, "server.properties")

    def _healthy(self) -> bool:
        if not answers(self.ports[0]):
            return False
        # log_level 0: a broker that is still starting is no news. The client lives for this one question.
        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        try:
            metadata = client.list_topics(timeout=_METADATA_TIMEOUT_S)
        except KafkaException:
            return False
        return str(metadata.cluster_id) == self._cluster_id and bool(metadata.brokers)
