"""What waits burns no core: on a machine with as many models as cores, a busy loop would be paid for by the models."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.own_process import in_own_process
from pipeline.bench.rounds import cpu_s
from pipeline.bench.topic import fill, new_topics
from pipeline.bootstrap import dead_letters, now_us
from pipeline.keys.keyring import Keyring
from pipeline.local import LocalStack
from pipeline.ports import Emit, HandlerResult, InMessage
from pipeline.runtime.batch_loop import BatchLoop
from pipeline.runtime.health import Health
from pipeline.settings import Agent, Kafka
from tests.stack import unique

WORK_S = 1.5


@dataclass(frozen=True)
class Plan:
    """One record on `source`; the handler is busy with it for `WORK_S`."""

    bootstrap: str
    source: str
    group: str
    keys: Path


class Slow:
    """A handler that holds its batch without computing, and measures what its process computes meanwhile."""

    name = "slow"

    def __init__(self, source: str) -> None:
        self.source = source
        self.used_s = 0.0
        self.done = threading.Event()

    def process(self, messages: Sequence[InMessage]) -> Sequence[HandlerResult]:
        before = cpu_s()
        threading.Event().wait(WORK_S)
        self.used_s = cpu_s() - before
        self.done.set()
        return [()] * len(messages)

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:
        pass

    def forget(self, partition: int) -> None:
        pass


def cpu_beside_a_batch(plan: Plan) -> float:
    """In a process of its own: CPU seconds that the loop used while one batch was with the handler."""
    handler = Slow(plan.source)
    loop = BatchLoop(
        handler,
        kafka=Kafka(bootstrap=plan.bootstrap),
        agent=Agent(),
        dead=dead_letters(Keyring.create(plan.keys), "slow"),
        health=Health("slow"),
        clock=now_us,
        group=plan.group,
    )

    def end() -> None:
        handler.done.wait()
        loop.stop()

    threading.Thread(target=end, daemon=True).start()
    loop.run()
    return handler.used_s


def test_a_batch_loop_with_nothing_to_take_rests_while_its_worker_is_busy(stack: LocalStack, tmp_path: Path) -> None:
    """It looks for records now and then, and no faster: far less than the core that looking at once would take."""
    kafka = Kafka(bootstrap=stack.addresses.kafka)
    topic = new_topics(kafka, {"slow": 1})["slow"]
    fill(kafka, [Emit(topic, b"k", b"v")])
    used_s = in_own_process(cpu_beside_a_batch, Plan(kafka.bootstrap, topic, unique("slow"), tmp_path / "keys"))
    assert used_s < WORK_S / 6
