"""The steps of a payment come from its events, and its stages add up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.audit.timeline import STAGES, stages_ms, timelines
from pipeline.cli.audit import parse_since
from pipeline.errors import UsageError
from tests.unit.audit.story import CANCELLED, EXPIRED, FACE, OPEN, PIN, clean

DAY_US = 86_400_000_000


def test_each_payment_has_its_steps_in_order() -> None:
    """What happened, whatever topic it stood on."""
    lines = timelines(clean())
    assert [step.what for step in lines[FACE].steps] == ["opened", "captured", "recognised", "approve", "settled"]
    assert [step.what for step in lines[PIN].steps] == [
        "opened", "captured", "recognised", "step_up", "confirmed", "settled", "refund asked", "refunded",
    ]  # fmt: skip
    assert [step.what for step in lines[EXPIRED].steps] == ["opened", "expired"]
    assert [step.what for step in lines[CANCELLED].steps] == ["opened", "cancel asked", "cancelled"]
    assert [step.what for step in lines[OPEN].steps] == ["opened"]
    assert all(line.steps == sorted(line.steps, key=lambda step: step.at_us) for line in lines.values())


def test_stages_of_a_settled_payment_add_up() -> None:
    """From the capture to the record on Kafka nothing is left out and nothing counted twice."""
    lines = timelines(clean())
    line = lines[PIN]
    stages = stages_ms(line)
    assert set(stages) == set(STAGES)
    assert line.captured_at_us is not None
    assert line.emitted_at_us is not None
    assert sum(stages.values()) == pytest.approx((line.emitted_at_us - line.captured_at_us) / 1000)
    assert "confirm" not in stages_ms(lines[FACE])
    assert stages_ms(lines[EXPIRED]) == {}


def test_a_repeated_event_changes_no_timeline() -> None:
    """At-least-once means that a recognition may stand twice; the first one counts."""
    history = clean()
    late = replace(history.recognitions[0], event=replace(history.recognitions[0].event, recognised_at_us=2**50))
    again = replace(history, recognitions=(*history.recognitions, late))
    assert stages_ms(timelines(again)[FACE]) == stages_ms(timelines(history)[FACE])


SINCE: tuple[tuple[str, int], ...] = (
    ("15m", 3 * DAY_US - 900_000_000),
    ("2d", DAY_US),
    ("999d", 0),
    ("1970-01-02", DAY_US),
    ("1970-01-02T01:00:00+01:00", DAY_US),
    ("1970-01-02T00:00:00Z", DAY_US),
)


@pytest.mark.parametrize(("text", "wanted_us"), SINCE)
def test_since_is_a_time_or_an_age(text: str, wanted_us: int) -> None:
    """ISO 8601 (UTC where no zone is given), or an age before now."""
    assert parse_since(text, 3 * DAY_US) == wanted_us


@pytest.mark.parametrize("text", ["yesterday", "15", "m", "-3m", "12h30m"])
def test_any_other_since_is_refused(text: str) -> None:
    """With what would be understood."""
    with pytest.raises(UsageError, match="try"):
        parse_since(text, 0)
