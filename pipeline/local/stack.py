"""Kafka and Redis together, in one folder, for as long as this process lives.

A stack owns its folder while it runs (a lock that the kernel frees when the process dies) and leaves everything in it
when it stops: the same folder can be started again, on other ports, with the same data. Whoever made the folder removes
it. Nothing of a stack outlives this process, however it ends: see `pipeline.local.process`. Ctrl-C reaches this process
only, which then stops its children in order.
"""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pipeline.errors import UsageError
from pipeline.local import start_cache
from pipeline.local.cache import private_dir
from pipeline.local.jars import ready_jars
from pipeline.local.kafka_server import KafkaServer
from pipeline.local.programs import KafkaProgram, bundled_kafka, java, kafka_on_path, redis_program
from pipeline.local.progress import Report, to_stderr
from pipeline.local.redis_server import RedisServer
from pipeline.local.server import LocalServer


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where clients reach the stack: `127.0.0.1:PORT` and `redis://127.0.0.1:PORT/0`; empty for what the stack leaves
    out.
    """

    kafka: str
    redis: str


class LocalStack:
    """Real Apache Kafka and real Redis under `data_dir` (made if missing). A context manager: `with LocalStack(path) as
    stack`.
    """

    def __init__(self, data_dir: Path, *, kafka: bool = True, redis: bool = True, report: Report | None = None) -> None:
        """`kafka`, `redis`: leave one out when settings give its address. `report` takes a line per step; downloads
        speak anyway.
        """
        self.data_dir = data_dir.absolute()
        self._report = report
        self.kafka = KafkaServer(self.data_dir / "kafka", self._kafka_program)
        self.redis = RedisServer(self.data_dir / "redis")
        self._with_kafka, self._with_redis = kafka, redis
        self._owned: int | None = None

    def start(self) -> Addresses:
        """Blocks until everything is healthy; starts only what does not run yet.

        Raises KafkaUnavailable or RedisUnavailable (one sentence with the telling line of the log and its path),
        DownloadError, UsageError (the extra `local` is missing, or another stack runs in this folder), OutsideError.
        Then nothing is left running.
        """
        self._own_folder()
        try:
            # Redis first: it takes 50 ms, and a missing one is known before Kafka has taken its seconds.
            if self._with_redis:
                self._start(self.redis)
            if self._with_kafka:
                self._start(self.kafka)
                if start_cache.refusal(self.kafka.child.log_lines()):
                    self._say(f"Java refused its start cache and Kafka started without it; see {self.kafka.log_path}.")
        except BaseException:
            self.stop()
            raise
        return self.addresses

    @property
    def addresses(self) -> Addresses:
        """The addresses of a stack that has been started. Raises UsageError before."""
        return Addresses(
            kafka=self.kafka.address if self._with_kafka else "", redis=self.redis.address if self._with_redis else ""
        )

    def stop(self) -> None:
        """Stops Kafka, then Redis; keeps the data. Does nothing when nothing runs."""
        try:
            self.kafka.stop()
        finally:
            try:
                self.redis.stop()
            finally:
                if self._owned is not None:
                    os.close(self._owned)
                    self._owned = None

    def __enter__(self) -> LocalStack:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, server: LocalServer) -> None:
        began = time.monotonic()
        server.start()
        self._say(f"{server.name} is ready at {server.address} after {time.monotonic() - began:.1f} s.")

    def _own_folder(self) -> None:
        if self._owned is not None:
            return
        handle = os.open(private_dir(self.data_dir) / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise UsageError(f"Another stack runs in {self.data_dir}; stop it or choose another folder.") from error
        self._owned = handle

    def _kafka_program(self) -> KafkaProgram:
        on_path = kafka_on_path()
        if on_path is not None:
            return on_path
        java()  # Says what is missing before anything is downloaded.
        jars = ready_jars(self._report)
        return bundled_kafka(jars, start_cache.options(jars))

    def _say(self, line: str) -> None:
        if self._report is not None:
            self._report(line)


def fetch(report: Report | None = None) -> None:
    """Brings everything that a stack needs ahead of its first start: the jars, verified, and Java's start cache.

    Does nothing for programs that are on PATH. Progress goes to standard error, or as lines to `report`. Raises
    DownloadError, UsageError (the extra `local` is missing), OutsideError.
    """
    redis_program()
    if kafka_on_path() is None:
        java()
        start_cache.make(ready_jars(report), report or to_stderr)
