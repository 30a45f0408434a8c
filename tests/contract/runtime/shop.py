"""A shop on the real Kafka: topics and a ledger of its own, customers who pay, and what everybody reads afterwards."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pipeline.keys.seals import AesGcmSeal
from pipeline.ledger.reading import LedgerReader
from pipeline.local.process import Supervised
from pipeline.ports import Emit, InMessage
from pipeline.runtime.deadletters import associated
from pipeline.runtime.producer import make_producer, produce
from pipeline.runtime.reader import UNEXPECTED, TopicReader, read_topic
from pipeline.settings import Kafka
from schemas.codec import decode, encode
from schemas.events import DeadLetter, Settlement
from tests.contract.ledger.invariants import broken_invariants
from tests.contract.ledger.world import new_id, opening, verdict
from tests.contract.runtime import settling_worker
from tests.contract.runtime.settling_worker import DEADLETTER_KEY, Plan
from tests.stack import create_topics, unique, wait_until

LANES = 4


def said(worker: Supervised, event: str) -> list[dict[str, Any]]:
    """The log lines of an instance with this event; every line must be one JSON object."""
    lines = [json.loads(line) for line in worker.log_lines()]
    return [line for line in lines if line["event"] == event]


class Shop:
    """One ledger, one set of topics; `pay` feeds intents that must all be settled."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.folder = folder
        self.kafka = Kafka(bootstrap=bootstrap)
        self.ledger = folder / "ledger.db"
        prefix = unique("shop")
        self.plan = Plan(
            bootstrap=bootstrap,
            ledger=str(self.ledger),
            group=f"{prefix}-settlement",
            commands=f"{prefix}-commands",
            verdicts=f"{prefix}-verdicts",
            settlements=f"{prefix}-settlements",
            deadletter=f"{prefix}-deadletter",
        )
        lanes = dict.fromkeys([self.plan.commands, self.plan.verdicts, self.plan.settlements], LANES)
        create_topics(bootstrap, {**lanes, self.plan.deadletter: 1})
        self.paid: list[str] = []
        self.spoilt = 0
        self._producer = make_producer(self.kafka)
        self._number = itertools.count(1)
        self._workers: list[Supervised] = []
        self.heard: set[str] = set()
        self._listener = TopicReader(
            self.kafka, [self.plan.settlements, self.plan.deadletter], self._hear, read_committed=True, name=prefix
        )
        self._listener.start()

    @property
    def url(self) -> str:
        return f"sqlite:///{self.ledger}"

    def change(self, **other: object) -> None:
        """Changes the plan of the instances to come."""
        self.plan = dataclasses.replace(self.plan, **other)  # type: ignore[arg-type]

    def worker(self, **other: object) -> Supervised:
        """An instance by the plan with changes, started."""
        plan = dataclasses.replace(self.plan, **other)  # type: ignore[arg-type]
        name = f"worker-{len(self._workers)}"
        argv = [sys.executable, "-W", "error", "-m", settling_worker.__name__, msgspec.json.encode(plan).decode()]
        worker = Supervised(name, argv, {**os.environ, "PYTHONPATH": str(Path.cwd())}, self.folder / f"{name}.log")
        self._workers.append(worker)
        worker.start()
        return worker

    def close(self) -> None:
        """Ends every instance that is left."""
        for worker in self._workers:
            worker.kill()
        self._listener.stop()

    def _hear(self, record: InMessage) -> None:
        event = decode(record.value, Settlement, DeadLetter)
        self.heard.add(event.intent_id if isinstance(event, Settlement) else event.event_id)

    def pay(self, count: int) -> list[str]:
        """`count` intents with their verdicts, on terminals of their own; their ids."""
        intents = []
        for _ in range(count):
            name = f"{self.plan.group}-{next(self._number)}"
            till = {"terminal_id": f"till-{next(self._number)}"}
            opened, judged = opening(name, **till), verdict(name, payer=new_id("payer", name), **till)  # type: ignore[arg-type]
            self.send(self.plan.commands, till["terminal_id"], encode(opened))
            self.send(self.plan.verdicts, till["terminal_id"], encode(judged))
            intents.append(opened.intent_id)
        self.flush()
        self.paid += intents
        return intents

    def open_now(self, ttl_s: float) -> str:
        """An intent that lives from now for `ttl_s` and gets no verdict; its id."""
        name, now_us = f"{self.plan.group}-{next(self._number)}", time.time_ns() // 1_000
        life = {"opened_at_us": now_us, "expires_at_us": now_us + int(ttl_s * 1e6)}
        event = opening(name, terminal_id=f"till-{next(self._number)}", **life)  # type: ignore[arg-type]
        self.send(self.plan.commands, event.terminal_id, encode(event))
        self.flush()
        return event.intent_id

    def spoil(self, count: int) -> None:
        """`count` commands that are none."""
        for _ in range(count):
            self.send(self.plan.commands, f"till-{next(self._number)}", b"{no command}")
        self.flush()
        self.spoilt += count

    def send(self, topic: str, key: str, value: bytes) -> None:
        produce(self._producer, Emit(topic, key.encode(), value))

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def records(self, topic: str) -> Iterator[InMessage]:
        return read_topic(self.kafka, topic, read_committed=True)

    def settlements(self) -> list[Settlement]:
        """Everything that was said, as consumers see it (read committed)."""
        return [decode(record.value, Settlement) for record in self.records(self.plan.settlements)]

    def dead(self) -> list[DeadLetter]:
        return [decode(record.value, DeadLetter) for record in self.records(self.plan.deadletter)]

    def everything_said(self) -> bool:
        """Whether every intent has an outcome and every spoilt record its letter, doubled or not."""
        return len(self.heard) >= len(self.paid) + self.spoilt

    def wait_until_said(self, timeout_s: float = 30.0) -> None:
        wait_until(self.everything_said, timeout_s, "an outcome for every intent and a letter for every spoilt record")

    def supervise_until_said(self, worker: Supervised) -> Supervised:
        """As a supervisor does: starts an instance again that ended with 70; returns the one that came to the end."""
        while True:
            wait_until(lambda w=worker: not w.alive or self.everything_said(), 60, "all outcomes, or exit 70")  # type: ignore[misc]
            if self.everything_said():
                return worker
            assert worker.returncode == UNEXPECTED, worker.log_lines()
            worker = self.worker()

    def check_exactly_once(self) -> None:
        """Each intent settled once on Kafka and in the books; each lane's outbox on Kafka without gap or repeat."""
        said = sorted(event.intent_id for event in self.settlements())
        assert said == sorted(self.paid), "outcomes on Kafka, one for each intent"
        assert {event.outcome for event in self.settlements()} <= {"settled"}
        letters = [letter.event_id for letter in self.dead()]
        assert len(letters) == len(set(letters)) == self.spoilt
        with LedgerReader(self.url) as ledger:
            assert sorted(transfer.intent_id for transfer in ledger.transfers()) == sorted(self.paid)
            owed = sorted((row.lane, row.seq) for row in ledger.outbox())
        emitted = [
            (int(record.header("lane") or b""), int(record.header("outbox_seq") or b""))
            for topic in (self.plan.settlements, self.plan.deadletter)
            for record in self.records(topic)
        ]
        assert sorted(emitted) == owed
        broken = broken_invariants(self.url, self.plan.settlements)
        assert not broken, broken

    def unsealed(self, letter: DeadLetter) -> bytes:
        """What a dead letter holds."""
        where = associated((letter.topic, str(letter.partition), str(letter.offset)))
        return AesGcmSeal(DEADLETTER_KEY).open(base64.b64decode(letter.sealed_value), where)
