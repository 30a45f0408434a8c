"""kill -9 between any two statements: what was applied stays, what was not is applied by the next instance, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.ledger.reading import LedgerReader
from schemas.codec import decode
from schemas.events import Settlement
from tests.contract.ledger import crashing_settlement
from tests.contract.ledger.invariants import broken_invariants
from tests.contract.ledger.world import World

MOST_RUNS = 40


def run(path: Path, seed: int, probability: float) -> int:
    command = [sys.executable, "-m", crashing_settlement.__name__, str(path), str(seed), str(probability)]
    return subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())}).returncode


def outcomes(url: str) -> dict[str, str]:
    """What was said about each intent and refund."""
    with LedgerReader(url) as ledger:
        events = [decode(row.value, Settlement) for row in ledger.outbox()]
    assert len({event.event_id for event in events}) == len(events)
    return {event.event_id: event.outcome for event in events}


@pytest.mark.slow
def test_killed_at_any_statement_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """Many deaths later the ledger says what an undisturbed one says, and no death left it inconsistent."""
    undisturbed = World(tmp_path / "undisturbed.db")
    for message in crashing_settlement.story(undisturbed):
        undisturbed.apply(message)
    undisturbed.store.close()
    path, deaths = tmp_path / "ledger.db", 0
    for seed in range(MOST_RUNS):
        status = run(path, seed, 0.008)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        deaths += 1
        if path.is_file() and path.stat().st_size > 0:
            assert broken_invariants(f"sqlite:///{path}") == []
    else:
        pytest.fail(f"no run of {MOST_RUNS} came to the end")
    assert deaths >= 3
    assert outcomes(f"sqlite:///{path}") == outcomes(undisturbed.url)
    assert broken_invariants(f"sqlite:///{path}") == []
