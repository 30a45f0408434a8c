"""A long drill: people pay for minutes while everything that can die dies again and again, in an order drawn by a seed.

`make chaos` runs it; `tests/e2e/test_whole_path.py` is its small version in `make test`. `FACEPAY_DRILL_S` and
`FACEPAY_DRILL_SEED` set its length in seconds and its seed.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from loadtests.demo import chaos, world
from loadtests.demo.options import DRAWN_MODELS, Options
from loadtests.demo.story import tell
from pipeline.cli.demo_backstage import CommandLineBackstage, now_us

# Read before the tests' fixture takes FACEPAY_* out of the environment.
SECONDS = int(os.environ.get("FACEPAY_DRILL_S", "300"))
SEED = int(os.environ.get("FACEPAY_DRILL_SEED", "1"))
CALM_S = 20.0


def strikes(seconds: float, seed: int) -> Iterator[chaos.Strike]:
    """Something dies every 5 to 15 seconds, until there is just time left to recover."""
    draw = random.Random(f"drill {seed}")
    at_s = 5.0
    while at_s < seconds - CALM_S:
        yield chaos.Strike(at_s, draw.choice([*world.AGENTS, "gateway", chaos.BROKER]))
        at_s += draw.uniform(5, 15)


@pytest.mark.timeout(SECONDS + 300)
def test_whatever_dies_the_books_hold(tmp_path: Path) -> None:
    """Nothing lost, nothing doubled, nobody charged for another, and every invariant of the audit."""
    options = Options(
        models=DRAWN_MODELS,
        people=None,
        report=tmp_path / "report.html",
        seconds=SECONDS,
        seed=SEED,
    )
    planned = tuple(strikes(SECONDS, SEED))
    backstage = CommandLineBackstage(options.models, tmp_path, drawn=True)
    try:
        story = tell(options, backstage, tmp_path, Console(file=io.StringIO(), width=160), now_us, strikes=planned)
    finally:
        backstage.close()
    figures = story.figures
    assert len(story.outages) >= len(planned)
    assert {name: finding.violations for name, finding in story.findings.items() if finding.violations} == {}
    assert (figures.lost, figures.duplicates, figures.wrong_payer, figures.strangers_charged) == (0, 0, 0, 0)
    assert sum(figures.outcomes.values()) == figures.intents
    assert figures.outcomes["settled"] > 0
