"""An agent over either at-least-once loop that repeats what it reads, and can be made to stumble.

`python -m tests.contract.runtime.at_least_once.echo_worker PLAN`, PLAN being a `Plan` as JSON. What the loop asks of
the handler goes to `Plan.diary`, one JSON line each. A `FacepayError` ends it as it ends `facepay agent`: one sentence,
its exit code.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import orjson

from pipeline.errors import FacepayError
from pipeline.keys.seals import AesGcmSeal
from pipeline.ports import Emit, HandlerResult, InMessage, Reject
from pipeline.runtime import logs, topics_ready
from pipeline.runtime.batch_loop import BatchLoop
from pipeline.runtime.deadletters import DeadLetters
from pipeline.runtime.health import Health, HealthServer
from pipeline.settings import Agent, Kafka, Log

DEADLETTER_KEY = b"d" * 32
POISON = b"POISON"
STUMBLE = b"STUMBLE"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run and where it stumbles."""

    loop: Literal["batch", "faust"]
    bootstrap: str
    source: str
    target: str
    dead: str
    diary: str
    instance: str = "0"
    session_timeout_ms: int = 2_000
    max_batch: int = 16
    batch_ms: int = 0
    """How long the handler takes for one batch."""
    restore_window_s: int = 0
    """0: the loop restores nothing."""
    unready_while: str = ""
    """The handler is not ready while a file of this name exists."""
    topic_wait_s: float = 30.0
    stall_s: float = 10.0


class Echo:
    """A `BatchHandler`: each record goes to `target` as it came, with the header `at` for where it stood.

    Values that begin with `POISON` are rejected. A value that begins with `STUMBLE` raises until its rest names a file
    that exists.
    """

    name = "echo"

    def __init__(self, plan: Plan) -> None:
        self.source = plan.source
        self._plan = plan
        self._diary = Path(plan.diary)

    def process(self, messages: Sequence[InMessage]) -> Sequence[HandlerResult]:
        """One result per message, after `batch_ms`."""
        self._note("process", [(m.partition, m.offset) for m in messages])
        time.sleep(self._plan.batch_ms / 1000)
        return [self._result(message) for message in messages]

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:
        """Writes down what was shown."""
        self._note("restore", [(partition, m.offset) for m in messages])

    def forget(self, partition: int) -> None:
        """Writes down what went."""
        self._note("forget", [(partition, -1)])

    def _result(self, message: InMessage) -> HandlerResult:
        value = message.value or b""
        if value.startswith(POISON):
            return Reject("poison", "the record says so itself")
        if value.startswith(STUMBLE) and not Path(value[len(STUMBLE) :].decode()).exists():
            raise RuntimeError("the handler stumbled")
        at = b"%d:%d" % (message.partition, message.offset)
        return [Emit(self._plan.target, message.key or b"", value, (*message.headers, ("at", at)))]

    def _note(self, what: str, positions: Sequence[tuple[int, int]]) -> None:
        with self._diary.open("ab") as diary:
            diary.write(orjson.dumps({"what": what, "positions": positions}) + b"\n")


class PreparingEcho(Echo):
    """The same as a `PreparingHandler`, which only the batch loop knows: what is prepared is a count of the batch."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._preparing = threading.Lock()
        self._processing = threading.Lock()

    def prepare(self, messages: Sequence[InMessage]) -> int:
        """Writes down what was prepared."""
        with _alone(self._preparing):
            self._note("prepare", [(m.partition, m.offset) for m in messages])
            return len(messages)

    def process_prepared(self, messages: Sequence[InMessage], prepared: int) -> Sequence[HandlerResult]:
        """As `process`; raises when it got what was prepared of another batch."""
        with _alone(self._processing):
            if prepared != len(messages):
                raise RuntimeError("the handler got what was prepared of another batch")
            return self.process(messages)

    def restore(self, partition: int, messages: Sequence[InMessage]) -> None:
        """Writes down what was shown; raises when the handler is busy."""
        with _alone(self._preparing), _alone(self._processing):
            super().restore(partition, messages)

    def forget(self, partition: int) -> None:
        """Writes down what went; raises when the handler is busy."""
        with _alone(self._preparing), _alone(self._processing):
            super().forget(partition)


@contextmanager
def _alone(lock: threading.Lock) -> Iterator[None]:
    """Raises when another thread is inside."""
    if not lock.acquire(blocking=False):
        raise RuntimeError("two threads are in the handler where one may be")
    try:
        yield
    finally:
        lock.release()


def main(plan: Plan) -> int:
    """Runs the loop; returns its exit code."""
    health = Health("echo", stall_s=plan.stall_s, awaits=("assignment",))
    port = HealthServer(health, "127.0.0.1", 0).start()
    Path(plan.diary + ".port").write_text(str(port), "utf-8")
    topics_ready.await_topics.__kwdefaults__ = {"topic_wait_s": plan.topic_wait_s}
    loop: type[BatchLoop]
    if plan.loop == "batch":
        loop = BatchLoop
    else:
        from pipeline.runtime.faust_worker import FaustWorker

        loop = FaustWorker  # type: ignore[assignment]  # the same arguments, which is the point
    return loop(
        PreparingEcho(plan) if plan.loop == "batch" else Echo(plan),
        kafka=Kafka(bootstrap=plan.bootstrap),
        agent=Agent(
            instance=plan.instance,
            session_timeout_ms=plan.session_timeout_ms,
            restore_window_s=plan.restore_window_s,
        ),
        dead=DeadLetters(AesGcmSeal(DEADLETTER_KEY), "echo", plan.dead),
        health=health,
        clock=lambda: time.time_ns() // 1000,
        group=f"{plan.source}-group",
        max_batch=plan.max_batch,
        restore=plan.restore_window_s > 0,
        ready=lambda: not (plan.unready_while and Path(plan.unready_while).exists()),
    ).run()


if __name__ == "__main__":
    logs.configure(Log(style="json"), "echo")
    try:
        sys.exit(main(msgspec.json.decode(sys.argv[1], type=Plan)))
    except FacepayError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
