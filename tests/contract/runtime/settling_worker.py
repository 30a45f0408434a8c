"""A settlement instance over the real ledger and the real Kafka, that can be made to fail at chosen borders.

`python -m tests.contract.runtime.settling_worker PLAN`, PLAN being a `Plan` as JSON. Logs are one JSON line each on
standard error. A `FacepayError` ends it as it ends `facepay agent settlement`: one sentence and the error's exit code.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import structlog

from pipeline.errors import FacepayError
from pipeline.keys.seals import AesGcmSeal
from pipeline.ledger import database
from pipeline.ledger.store import SqlLaneStore
from pipeline.ports import InMessage
from pipeline.runtime import logs, transactions
from pipeline.runtime.deadletters import DeadLetters
from pipeline.runtime.health import Health, HealthServer
from pipeline.runtime.transactional_loop import TransactionalLoop
from pipeline.runtime.transactions import Transactions, Watchdog
from pipeline.settings import Agent, Kafka, Log
from tests.contract.ledger.world import KEY, START_US, sign

# Before and after each step that makes something durable; "offsets" and "commit" are the calls of one transaction.
BORDERS = ("apply:before", "apply:after", "offsets:before", "offsets:after", "commit:before", "commit:after")
DEADLETTER_KEY = b"d" * 32
INSIDE_US = START_US + 1_000_000
"""The ledger's clock where a test wants no deadline to pass: inside the life of every intent of `world`."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one instance does. `act` happens at the `nth` time that `border` is reached, or at any border with
    `chance`."""

    bootstrap: str
    ledger: str
    group: str
    commands: str
    verdicts: str
    settlements: str
    deadletter: str
    instance: str = "0"
    real_clock: bool = False
    border: str | None = None
    nth: int = 1
    chance: float = 0.0
    seed: int = 0
    act: Literal["kill", "stop", "block", "exit"] = "kill"
    watchdog_s: float | None = None
    call_s: float = transactions.CALL_S
    session_timeout_ms: int = 10_000
    without_file_lock: bool = False


class Saboteur:
    """Counts borders and acts at the planned one."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._count = 0
        self._dice = random.Random(plan.seed)

    def reach(self, border: str) -> None:
        plan = self._plan
        self._count += border == plan.border
        due = border == plan.border and self._count == plan.nth
        if not due and self._dice.random() >= plan.chance:
            return
        log.info("sabotage", border=border, act=plan.act)
        if plan.act == "exit":
            os._exit(9)
        elif plan.act == "block":
            threading.Event().wait()
        else:
            os.kill(os.getpid(), signal.SIGKILL if plan.act == "kill" else signal.SIGSTOP)


class _NoLock:
    """Two instances on one SQLite file, as on a PostgreSQL: what fences them then is the ledger's own."""

    def __init__(self, _: object) -> None: ...

    def release(self) -> None: ...


class SabotagedStore(SqlLaneStore):
    """The real store with a border before and after each batch that has records."""

    saboteur: Saboteur

    def apply(self, lane: int, owner_epoch: int, messages: Sequence[InMessage]) -> None:
        if messages:
            self.saboteur.reach("apply:before")
        super().apply(lane, owner_epoch, messages)
        if messages:
            self.saboteur.reach("apply:after")


def sabotage_transactions(saboteur: Saboteur, watchdog_s: float | None) -> None:
    """Borders around the calls of a transaction; a watchdog that loses patience sooner."""
    really_call, watchdog_start = Transactions._call, Watchdog.start

    def bordered(
        self: Transactions, what: str, call: Callable[[float], object], timeout_s: float = transactions.CALL_S
    ) -> None:
        def inside(seconds: float) -> object:
            saboteur.reach(f"{what}:inside")
            return call(seconds)

        saboteur.reach(f"{what}:before")
        really_call(self, what, inside, timeout_s)
        saboteur.reach(f"{what}:after")

    def impatient(self: Watchdog) -> None:
        self.limit_s = watchdog_s or self.limit_s
        watchdog_start(self)

    Transactions._call = bordered  # type: ignore[method-assign]
    Watchdog.start = impatient  # type: ignore[method-assign]


def run(plan: Plan) -> int:
    """The agent as `pipeline.bootstrap` wires it, but for the topics' names and the sabotage."""
    if plan.without_file_lock:
        database.InstanceLock = _NoLock  # type: ignore[assignment,misc]
    saboteur = Saboteur(plan)
    transactions.CALL_S = plan.call_s
    sabotage_transactions(saboteur, plan.watchdog_s)
    health = Health("settlement", stall_s=3.0)
    port = HealthServer(health, "127.0.0.1", 0).start()
    log.info("started", port=port)
    store = SabotagedStore(
        f"sqlite:///{plan.ledger}",
        confirmation_key=KEY,
        receipt_signer=sign,
        payer_limit_minor=10**9,
        dead=DeadLetters(AesGcmSeal(DEADLETTER_KEY), "settlement", plan.deadletter).emit,
        clock=None if plan.real_clock else lambda: INSIDE_US,
        commands=plan.commands,
        verdicts=plan.verdicts,
        settlements=plan.settlements,
    )
    store.saboteur = saboteur
    loop = TransactionalLoop(
        store,
        kafka=Kafka(bootstrap=plan.bootstrap),
        agent=Agent(instance=plan.instance, session_timeout_ms=plan.session_timeout_ms),
        health=health,
        clock=lambda: time.time_ns() // 1_000,
        group=plan.group,
        outputs=(plan.settlements, plan.deadletter),
    )
    try:
        return loop.run()
    finally:
        store.close()


if __name__ == "__main__":
    logs.configure(Log(style="json"), "settlement")
    try:
        status = run(msgspec.json.decode(sys.argv[1], type=Plan))
    except FacepayError as error:
        log.error("refused", why=str(error))
        status = error.exit_code
    sys.exit(status)
