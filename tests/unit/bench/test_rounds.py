"""Rounds, ratios and rows: the arithmetic of a benchmark, with samples made by hand."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.bench.rounds import Sample, cost_ratio, cost_us, interleave, speed_ratio, timed
from pipeline.bench.rows import Goal, Row, cost_row, speed_row


def samples(*cpu_s: float, items: int = 100) -> list[Sample]:
    """Samples of these CPU seconds, each of twice as much wall time."""
    return [Sample(items, 2 * seconds, seconds) for seconds in cpu_s]


def test_alternatives_take_turns_and_the_first_turn_is_not_counted() -> None:
    """A B A B ..., so that a machine that slows down slows both."""
    order: list[str] = []

    def run(name: str) -> Sample:
        order.append(name)
        return Sample(len(order), 1.0, 1.0)

    taken = interleave({"a": lambda: run("a"), "b": lambda: run("b")}, 3)
    assert "".join(order) == "abababab"
    assert [sample.items for sample in taken["a"]] == [3, 5, 7]
    assert [sample.items for sample in taken["b"]] == [4, 6, 8]


def test_ratios_are_taken_within_a_round() -> None:
    """When the machine became ten times slower after the first round, the ratio did not change."""
    ours, baseline = samples(0.2, 2.0, 2.0), samples(0.1, 1.0, 1.0)
    assert cost_ratio(ours, baseline, "cpu").median == pytest.approx(2.0)
    assert speed_ratio(ours, baseline, "wall").median == pytest.approx(0.5)
    assert (cost_ratio(ours, baseline, "cpu").low, cost_ratio(ours, baseline, "cpu").high) == pytest.approx((2, 2))


def test_costs_are_microseconds_per_item() -> None:
    """The median of the rounds, with the least and the most."""
    cost = cost_us(samples(0.001, 0.003, 0.002), "cpu")
    assert (cost.median, cost.low, cost.high) == pytest.approx((20.0, 10.0, 30.0))


def test_cpu_is_what_was_computed_and_wall_is_what_was_waited() -> None:
    """Waiting costs wall time and no CPU; computing costs both."""

    def compute() -> int:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        return 1

    def wait() -> int:
        threading.Event().wait(0.05)
        return 1

    waited = timed(wait)
    computed = timed(compute)
    assert waited.wall_s >= 0.05
    assert waited.cpu_s < 0.025
    assert computed.cpu_s >= 0.045


ROWS = [
    (Goal("<=", 2.0), 1.9, True),
    (Goal("<=", 2.0), 2.1, False),
    (Goal(">=", 0.95), 0.96, True),
    (Goal(">=", 0.95), 0.94, False),
]


@pytest.mark.parametrize(("goal", "value", "met"), ROWS)
def test_a_goal_is_met_on_its_side(goal: Goal, value: float, met: bool) -> None:
    """A cost has an upper bound, a speed a lower one."""
    assert goal.met(value) is met


def test_a_cost_row_says_its_unit_and_both_clocks() -> None:
    """What `--json` prints of a comparison of costs."""
    row = cost_row("x", samples(0.4), samples(0.2), item="event", against="y", goal=Goal("<=", 2.0)).as_json()
    assert row == {
        "case": "x", "ours": 4000.0, "baseline": 2000.0, "ratio": 2.0, "ratio_low": 2.0, "ratio_high": 2.0,
        "unit": "cpu_us_per_event", "against": "y", "goal": "ratio <= 2", "met": True,
        "ours_wall_us_per_event": 8000.0, "baseline_wall_us_per_event": 4000.0, "wall_ratio": 2.0,
    }  # fmt: skip


def test_a_speed_row_is_better_when_higher() -> None:
    """Twice the cost is half the speed, in items of the clock asked for."""
    row = speed_row("x", samples(0.4), samples(0.2), item="query", clock="wall", against="y")
    assert (row.ours, row.baseline) == pytest.approx((125.0, 250.0))
    assert row.unit == "queries_per_s"
    assert row.ratio is not None
    assert row.ratio.median == pytest.approx(0.5)


def test_a_void_row_has_no_ratio_and_meets_nothing() -> None:
    """A throughput with a broken invariant is no throughput."""
    row = cost_row("x", samples(0.1), samples(0.2), item="event", against="y", goal=Goal("<=", 9), void=["lost 1"])
    said = row.as_json()
    assert (said["ratio"], said["met"], said["void"]) == (None, None, ["lost 1"])


def test_a_goal_may_be_an_absolute_figure() -> None:
    """Where the goal is our own cost, the ratio does not decide."""
    row = Row(case="x", unit="u", ours=50.0, baseline=1.0, ratio=None, goal=Goal("<=", 60.0, of="ours"))
    assert row.met is True
