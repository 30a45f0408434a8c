"""A settlement instance that is killed -9 between two statements: `python -m ... DATABASE SEED PROBABILITY`.

It applies `story()` from where the database says, in batches of random size, and dies before a statement or a commit
with the given probability. Exit status 0: it came to the end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import event

from pipeline.ports import InMessage
from schemas.events import Event
from tests.contract.ledger.world import World, cancellation, confirmation, new_id, opening, refund, verdict

INTENTS = 60


def story(world: World) -> list[InMessage]:
    """The same records in the same order, every time: all kinds of inputs over a few tills and payers."""
    dice = random.Random(1)
    messages: list[InMessage] = []
    for n in range(1, INTENTS + 1):
        name, payer = str(n), new_id("payer", n % 7)
        till: dict[str, Any] = {"terminal_id": f"till-{n % 5}"}
        decision = dice.choice(["approve", "approve", "step_up", "decline"])
        events: list[Event] = [
            opening(name, lane_seq=n, order=f"order-{n // 2}", **till),
            verdict(name, decision, payer=payer, **till),
        ]
        if dice.random() < 0.3:
            events.reverse()
        if decision == "step_up":
            events.append(confirmation(name, payer=payer, **till))
        if dice.random() < 0.2:
            events.insert(dice.randrange(3), cancellation(name, **till))
        if dice.random() < 0.4:
            events += [refund(name, 700, key=key, **till) for key in ("r1", "r2")]
        messages += [world.message(event) for event in events]
    return messages


def main(path: str, seed: str, probability: str) -> None:
    """See the module."""
    world = World(Path(path))
    dice = random.Random(int(seed))

    def maybe_die(*_: object) -> None:
        if dice.random() < float(probability):
            os.kill(os.getpid(), signal.SIGKILL)

    messages = story(world)
    state = world.store.acquire(world.lane, "crashing")
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(world.store._engine, name, maybe_die)
    todo = [m for m in messages if m.offset >= state.offsets.get(m.topic, 0)]
    while todo:
        size = dice.randrange(1, 12)
        world.store.apply(world.lane, state.owner_epoch, todo[:size])
        maybe_die()
        todo = todo[size:]


if __name__ == "__main__":
    main(*sys.argv[1:])
