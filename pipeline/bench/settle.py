"""Settlement, exactly once, against a bare transactional copy of the same records.

Per payment a command and an approving verdict lie on Kafka. Ours is the real loop over the real ledger on SQLite with a
full sync per commit: it reads both, moves money by double entry, signs a receipt and emits one settlement. The baseline
copies both records in transactions of the same size and decides nothing. After each round the settlements (read
committed) and the ledger are compared with what must have come: nothing lost, nothing doubled, debits equal credits.
Speed is wall time here, since both wait for disk and broker; client CPU stands beside it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.bench.own_process import in_own_process
from pipeline.bench.payments import broken, opens, verdicts
from pipeline.bench.rounds import Sample, interleave, spread
from pipeline.bench.rows import Goal, Row, speed_row
from pipeline.bench.settlement_process import SettlePlan, copy, settle
from pipeline.bench.topic import fill, new_topics
from pipeline.bootstrap import now_us
from pipeline.keys.keyring import Keyring
from pipeline.runtime.reader import read_topic
from pipeline.settings import Kafka

PAYMENTS = 2_000
BATCH = 100
GOAL = Goal(">=", 0.5)
LAYOUTS = {"settle": (1, BATCH), "settle.8_lanes": (8, 500)}
"""By case: lanes, and records at most per round of the loop. The first is the goal's; the second is how the agent runs
alone on all lanes of the topics as they are declared, with the loop's own batch size."""


@dataclass(slots=True)
class Sides:
    """Runs rounds, each on topics and a ledger of its own, and checks what came of them; `void` collects complaints."""

    plan: SettlePlan
    kafka: Kafka
    lanes: int
    folder: Path
    void: list[str] = field(default_factory=list)

    def ours(self) -> Sample:
        """One round of settlement."""
        self._renew()
        sample = in_own_process(settle, self.plan)
        self.void += broken(self.kafka, self.plan.settlements, self.plan.ledger_url, self.plan.payments)
        return sample

    def baseline(self) -> Sample:
        """One round of the copy."""
        self._renew()
        sample = in_own_process(copy, self.plan)
        copied = sum(1 for _ in read_topic(self.kafka, self.plan.settlements, read_committed=True))
        if copied != 2 * self.plan.payments:
            self.void.append(f"the baseline copied {copied} of {2 * self.plan.payments} records")
        return sample

    def _renew(self) -> None:
        names = new_topics(self.kafka, {"settlements": self.lanes, "deadletter": 1})
        run = uuid.uuid4().hex[:8]
        self.plan = replace(
            self.plan,
            settlements=names["settlements"],
            deadletter=names["deadletter"],
            group=f"bench-{run}",
            ledger_url=f"sqlite:///{self.folder / f'ledger-{run}.db'}",
        )


def run(
    rounds: int,
    kafka: Kafka,
    folder: Path,
    *,
    payments: int = PAYMENTS,
    cases: Sequence[str] = tuple(LAYOUTS),
    warm: bool = True,
) -> list[Row]:
    """A row per layout; `kafka` and `folder` (keys and ledgers) belong to this benchmark. Raises `KafkaUnavailable`,
    and `OutsideError` when a loop ended itself."""
    return [
        _row(case, prepare(kafka, folder, payments=payments, layout=LAYOUTS[case]), rounds, warm=warm) for case in cases
    ]


def prepare(kafka: Kafka, folder: Path, *, payments: int, layout: tuple[int, int]) -> Sides:
    """Both sources filled; nothing has run yet. `layout`: lanes, and records at most per round of the loop."""
    lanes, batch = layout
    Keyring.create(folder / "settle-keys")
    at_us = now_us()
    names = new_topics(kafka, {"commands": lanes, "verdicts": lanes})
    fill(kafka, opens(payments, names["commands"], at_us))
    fill(kafka, verdicts(payments, names["verdicts"], at_us))
    plan = SettlePlan(
        bootstrap=kafka.bootstrap,
        commands=names["commands"],
        verdicts=names["verdicts"],
        settlements="",
        deadletter="",
        group="",
        payments=payments,
        batch=batch,
        keys=folder / "settle-keys",
        ledger_url="",
    )
    return Sides(plan, kafka, lanes, folder)


def _row(case: str, sides: Sides, rounds: int, *, warm: bool) -> Row:
    samples = interleave({"ours": sides.ours, "copy": sides.baseline}, rounds, warm=warm)
    return speed_row(
        case,
        samples["ours"],
        samples["copy"],
        item="settlement",
        clock="wall",
        goal=GOAL,
        against="confluent-kafka transactional copy of both records of a payment",
        more={
            "payments": sides.plan.payments,
            "lanes": sides.lanes,
            "records_per_batch": sides.plan.batch,
            "database_transactions": spread([sample.parts["applies"] for sample in samples["ours"]]).median,
            "baseline_transactions": spread([sample.parts["transactions"] for sample in samples["copy"]]).median,
        },
        void=sides.void,
    )
