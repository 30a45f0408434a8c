"""The whole path on real parts: real portraits in, settlements out, while every agent and the broker die once.

Kafka, Redis, the models, the gateway and the agents are the real ones, as processes of their own; terminals, cameras
and payers are the demo's. What is asserted is what the product promises, not how fast this machine is.
"""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from loadtests.demo import chaos, world
from loadtests.demo.options import DRAWN_MODELS, Options
from loadtests.demo.story import Story, tell
from pipeline.cli.demo_backstage import CommandLineBackstage, now_us

SECONDS = 40
STRIKES = (
    chaos.Strike(5.0, "embedding"),
    chaos.Strike(12.0, "settlement"),
    chaos.Strike(19.0, "fraud"),
    chaos.Strike(26.0, chaos.BROKER),
)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """One run of everything, for all tests of this module."""
    folder = tmp_path_factory.mktemp("whole-path")
    options = Options(
        models=DRAWN_MODELS,
        people=None,
        report=folder / "report.html",
        seconds=SECONDS,
        terminals=8,
        payers=40,
        strangers=12,
        seed=7,
    )
    backstage = CommandLineBackstage(options.models, folder, drawn=True)
    said = io.StringIO()
    try:
        return tell(options, backstage, folder, Console(file=said, width=160), now_us, strikes=STRIKES)
    finally:
        backstage.close()


@pytest.mark.timeout(300)
def test_every_agent_and_the_broker_died_once_and_came_back(story: Story) -> None:
    """Otherwise the tests below would say nothing."""
    assert {outage.name for outage in story.outages} >= {*world.AGENTS, chaos.BROKER}
    assert all(outage.ready_at_us is not None for outage in story.outages)


@pytest.mark.timeout(300)
def test_the_audit_holds(story: Story) -> None:
    """I1 to I5 over all topics and the ledger."""
    assert {name: finding.violations for name, finding in story.findings.items() if finding.violations} == {}
    assert set(story.findings) >= {"I1", "I2", "I3", "I4", "I5"}
    assert all(finding.checked > 0 for finding in story.findings.values())


@pytest.mark.timeout(300)
def test_every_intent_ends_once_and_nothing_is_lost_or_doubled(story: Story) -> None:
    """One final outcome for each intent that the gateway confirmed."""
    figures = story.figures
    assert figures.intents >= 20
    assert sum(figures.outcomes.values()) == figures.intents
    assert (figures.lost, figures.duplicates) == (0, 0)


@pytest.mark.timeout(300)
def test_only_the_person_who_stood_there_was_charged(story: Story) -> None:
    """Payments went through, none for somebody else, a stranger, a picture or a sleeping person."""
    figures = story.figures
    assert figures.outcomes["settled"] >= 10
    assert (figures.wrong_payer, figures.strangers_charged, figures.thefts_charged) == (0, 0, 0)
    assert figures.strangers > 0
    assert figures.thefts > 0
