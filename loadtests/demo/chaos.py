"""Which agent is killed, and when: once in a short demo, every three quarters of a minute in a long one.

The order is drawn by the seed; each agent has its turn before one comes twice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_SHARE = 0.35
FIRST_S = 20.0
EVERY_S = 45.0
CALM_S = 12.0
"""Nothing is killed in the last seconds, so that its recovery can be seen."""

BROKER = "kafka"
"""The strike that kills the broker; it is started again on the same port and data."""


@dataclass(frozen=True, slots=True)
class Strike:
    """`at_s` seconds after the first visit, `target` (an agent, or `BROKER`) is killed."""

    at_s: float
    target: str


def plan(agents: Sequence[str], seconds: float, seed: int) -> list[Strike]:
    """The strikes of a demo of `seconds`; none when it is too short to recover from one."""
    draw = random.Random(f"chaos {seed}")
    order: list[str] = []
    strikes = []
    at_s = min(FIRST_S, FIRST_SHARE * seconds)
    while at_s <= seconds - min(CALM_S, 0.6 * seconds):
        if not order:
            order = draw.sample(list(agents), len(agents))
        strikes.append(Strike(at_s, order.pop()))
        at_s += EVERY_S
    return strikes
