"""A fraud agent's handler on real Redis, with a clock that stands still until told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from agents.fraud import FraudHandler
from agents.risk_state import RiskState
from pipeline.local import LocalStack
from pipeline.ports import HandlerResult, InMessage, Reject
from pipeline.settings import Risk
from schemas.codec import decode, encode
from schemas.events import Recognition, Verdict
from tests.unit.risk.events import NOON_US

HISTORY_TTL_MS = 60_000
TIMEOUT_MS = 1_000
"""Generous: shared machines pause. Tests of the budget take their own."""


@dataclass
class Agent:
    """One fraud agent; `now_us` is its clock."""

    url: str
    timeout_ms: int = TIMEOUT_MS
    settings: Risk = field(default_factory=Risk)
    now_us: int = NOON_US
    cold: int = 0

    def __post_init__(self) -> None:
        self.state = RiskState(self.url, timeout_ms=self.timeout_ms, history_ttl_ms=HISTORY_TTL_MS)
        self.handler = FraudHandler(self.state, self.settings, lambda: self.now_us, on_cold=self._on_cold)

    def _on_cold(self) -> None:
        self.cold += 1

    def verdicts(self, *recognitions: Recognition) -> list[bytes]:
        """The bytes of the verdict on each, in one batch."""
        values: list[bytes] = []
        for result in self.handler.process([message(r) for r in recognitions]):
            assert not isinstance(result, Reject)
            assert len(result) == 1
            values.append(result[0].value or b"")
        return values

    def judged(self, *recognitions: Recognition) -> list[Verdict]:
        """The verdict on each, in one batch."""
        return [decode(value, Verdict) for value in self.verdicts(*recognitions)]

    def results(self, *messages: InMessage) -> list[HandlerResult]:
        """What the handler makes of raw records."""
        return list(self.handler.process(messages))


def message(recognition: Recognition) -> InMessage:
    """A recognition as consumed."""
    return InMessage("recognitions", 0, 0, recognition.payer_id.encode(), encode(recognition))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The session's Redis, emptied of what another test of this folder left."""
    with redis.Redis.from_url(redis_url, protocol=2) as connection:
        for key in connection.scan_iter("facepay:fraud:*"):
            connection.delete(key)
        yield connection


@pytest.fixture
def agent(client: redis.Redis, redis_url: str) -> Iterator[Agent]:
    """An agent whose store is warm."""
    one = Agent(redis_url)
    one.state.set_warm()
    yield one
    one.state.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LocalStack]:
    """A Redis that a test may stop."""
    with LocalStack(tmp_path / "redis", kafka=False) as running:
        yield running
