"""A bench around `echo_worker`: topics of its own, workers as processes, what went in and what came out."""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from pipeline.local.process import Supervised
from pipeline.ports import InMessage
from pipeline.runtime.producer import make_producer
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka
from schemas.codec import decode
from schemas.events import DeadLetter
from tests.contract.runtime.at_least_once.echo_worker import Plan
from tests.stack import create_topics, unique, wait_until

ROOT = Path(__file__).resolve().parents[4]
PARTITIONS = 4


@dataclass
class Worker:
    """One worker process."""

    process: Supervised
    plan: Plan

    def start(self) -> None:
        """Starts it; its port is that of this run."""
        Path(self.plan.diary + ".port").unlink(missing_ok=True)
        self.process.start()

    def diary(self, what: str) -> list[tuple[int, int]]:
        """Every (partition, offset) of the entries `what`, over all runs."""
        path = Path(self.plan.diary)
        lines = path.read_bytes().splitlines() if path.exists() else []
        entries = [orjson.loads(line) for line in lines if line.endswith(b"}")]
        return [(p, o) for entry in entries if entry["what"] == what for p, o in entry["positions"]]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of the worker's own HTTP answer; 0 while it does not serve."""
        try:
            port = Path(self.plan.diary + ".port").read_text("utf-8")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (OSError, ValueError):
            return 0, ""

    def ready(self) -> bool:
        """What /readyz says."""
        return self.get("/readyz")[0] == 200

    def missing(self) -> Mapping[str, str]:
        """The conditions that /readyz names; empty when ready or not serving."""
        status, body = self.get("/readyz")
        return orjson.loads(body)["missing"] if status == 503 else {}

    def metric(self, name: str) -> float:
        """The sum over labels of one metric."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", name + "{")))

    def wait_exit(self, timeout_s: float) -> int | None:
        """Its exit code; None when it still runs after `timeout_s`."""
        return self.process.wait(timeout_s)

    def said(self) -> str:
        """What it wrote in this run."""
        return "\n".join(self.process.log_lines())


@dataclass
class Bench:
    """Topics, workers and the producer of one test."""

    bootstrap: str
    folder: Path
    loop: str
    target_config: Mapping[str, str] = field(default_factory=dict)
    make_target: bool = True

    def __post_init__(self) -> None:
        self.kafka = Kafka(bootstrap=self.bootstrap)
        self.source, self.target, self.dead = unique("in"), unique("out"), unique("dead")
        create_topics(self.bootstrap, {self.source: PARTITIONS, self.dead: 1})
        if self.make_target:
            self.create_target()
        self.workers: list[Worker] = []
        self.sent: list[bytes] = []

    def create_target(self) -> None:
        """The topic that results go to, with as many partitions as the source."""
        create_topics(self.bootstrap, {self.target: PARTITIONS}, self.target_config)

    def worker(self, **plan: Any) -> Worker:
        """A worker, not started."""
        name = f"worker{len(self.workers)}"
        made = Plan(
            **{
                "loop": self.loop,
                "bootstrap": self.bootstrap,
                "source": self.source,
                "target": self.target,
                "dead": self.dead,
                "diary": str(self.folder / name),
                "instance": str(len(self.workers)),
                **plan,
            }
        )
        call = [sys.executable, "-W", "error", "-m", "tests.contract.runtime.at_least_once.echo_worker"]
        argv = [*call, orjson.dumps(asdict(made)).decode()]
        here = self.folder / f"{name}-runs-here"
        here.mkdir()
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        worker = Worker(Supervised(name, argv, env, self.folder / f"{name}.log", here), made)
        self.workers.append(worker)
        return worker

    def started(self, **plan: Any) -> Worker:
        """A worker that runs and is ready."""
        worker = self.worker(**plan)
        worker.start()
        wait_until(worker.ready, 30, f"the worker to be ready: {worker.missing()} {worker.said()}")
        return worker

    def close(self) -> None:
        """Ends the workers."""
        for worker in self.workers:
            worker.process.kill()

    def send(self, values: Sequence[bytes], *, producer: Producer | None = None) -> None:
        """One record each, its value also its key; returns when Kafka has them."""
        chosen = make_producer(self.kafka) if producer is None else producer
        for value in values:
            chosen.produce(self.source, value, key=key_of(value), headers=[("traceparent", b"00-t")])
        assert chosen.flush(20) == 0
        self.sent += values

    def out(self) -> list[InMessage]:
        """What came out, as of now."""
        return list(read_topic(self.kafka, self.target, read_committed=False))

    def letters(self) -> list[DeadLetter]:
        """What was buried, as of now."""
        return [decode(m.value, DeadLetter) for m in read_topic(self.kafka, self.dead, read_committed=False)]

    def counts(self) -> Counter[bytes]:
        """How often each value came out."""
        return Counter(message.value or b"" for message in self.out())

    def wait_all_out(self, timeout_s: float = 40) -> None:
        """Waits until each record sent has come out at least once."""
        wanted = set(self.sent)
        deadline = time.monotonic() + timeout_s
        while missing := wanted - set(self.counts()):
            assert time.monotonic() < deadline, f"{len(missing)} of {len(wanted)} never came out: {self._logs()}"

    def committed(self) -> dict[int, int]:
        """Partition to committed offset of the workers' group, without those that have none."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": f"{self.source}-group"})
        try:
            found = consumer.committed([TopicPartition(self.source, p) for p in range(PARTITIONS)], timeout=10)
        except KafkaException:
            return {}
        finally:
            consumer.close()
        return {t.partition: t.offset for t in found if t.offset >= 0}

    def _logs(self) -> str:
        return " | ".join(worker.said()[-1500:] for worker in self.workers)


MakeBench = Callable[..., Bench]
"""The fixture `bench`: takes the options of `Bench`, and another bootstrap address."""


def key_of(value: bytes) -> bytes:
    """The key under which `value` is sent."""
    return value[:40]


def numbered(count: int, name: str = "record") -> list[bytes]:
    """Distinct values."""
    return [b"%s-%05d" % (name.encode(), n) for n in range(count)]
