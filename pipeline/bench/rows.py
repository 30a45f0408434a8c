"""What a benchmark says: rows of one shape, whatever was measured.

`ratio` is always ours over the baseline in the row's `unit`: at most the goal where the unit is a cost, at least the
goal where it is a speed. It is the median of the rounds' ratios and so need not be the quotient of the two medians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.bench.rounds import Clock, Sample, Spread, cost_ratio, cost_us, speed_ratio

Figure = float | int | str | None


@dataclass(frozen=True, slots=True)
class Goal:
    """What the ratio (or, `of` "ours", our own figure) should be."""

    sense: Literal["<=", ">="]
    bound: float
    of: Literal["ratio", "ours"] = "ratio"

    def met(self, value: float) -> bool:
        """Whether `value` is on the right side."""
        return value <= self.bound if self.sense == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.of} {self.sense} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison. `void` says which invariants were broken: then there is no ratio."""

    case: str
    unit: str
    ours: float
    baseline: float | None
    ratio: Spread | None
    goal: Goal | None = None
    against: str = ""
    more: Mapping[str, Figure] = field(default_factory=dict)
    void: Sequence[str] = ()

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None where there is no goal, or nothing to judge."""
        if self.goal is None or self.void:
            return None
        if self.goal.of == "ours":
            return self.goal.met(self.ours)
        return None if self.ratio is None else self.goal.met(self.ratio.median)

    def as_json(self) -> dict[str, object]:
        """As `--json` prints it."""
        ratio = None if self.void else self.ratio
        return {
            "case": self.case,
            "ours": _short(self.ours),
            "baseline": _short(self.baseline),
            "ratio": ratio and _short(ratio.median),
            "ratio_low": ratio and _short(ratio.low),
            "ratio_high": ratio and _short(ratio.high),
            "unit": self.unit,
            "against": self.against,
            "goal": None if self.goal is None else str(self.goal),
            "met": self.met,
            **{name: _short(value) for name, value in self.more.items()},
            **({"void": list(self.void)} if self.void else {}),
        }


def cost_row(
    case: str,
    ours: Sequence[Sample],
    baseline: Sequence[Sample],
    *,
    item: str,
    goal: Goal | None = None,
    against: str,
    more: Mapping[str, Figure] | None = None,
    void: Sequence[str] = (),
) -> Row:
    """A comparison of client CPU microseconds per item, with the wall time beside it."""
    return Row(
        case=case,
        unit=f"cpu_us_per_{item}",
        ours=cost_us(ours, "cpu").median,
        baseline=cost_us(baseline, "cpu").median,
        ratio=cost_ratio(ours, baseline, "cpu"),
        goal=goal,
        against=against,
        more={
            f"ours_wall_us_per_{item}": cost_us(ours, "wall").median,
            f"baseline_wall_us_per_{item}": cost_us(baseline, "wall").median,
            "wall_ratio": cost_ratio(ours, baseline, "wall").median,
            **(more or {}),
        },
        void=void,
    )


def speed_row(
    case: str,
    ours: Sequence[Sample],
    baseline: Sequence[Sample],
    *,
    item: str,
    clock: Clock,
    goal: Goal | None = None,
    against: str,
    more: Mapping[str, Figure] | None = None,
    void: Sequence[str] = (),
) -> Row:
    """A comparison of items per second of client CPU or of wall time, with the other clock beside it."""
    other: Clock = "wall" if clock == "cpu" else "cpu"
    return Row(
        case=case,
        unit=f"{_many(item)}_per_cpu_s" if clock == "cpu" else f"{_many(item)}_per_s",
        ours=1e6 / cost_us(ours, clock).median,
        baseline=1e6 / cost_us(baseline, clock).median,
        ratio=speed_ratio(ours, baseline, clock),
        goal=goal,
        against=against,
        more={
            f"ours_{clock}_us_per_{item}": cost_us(ours, clock).median,
            f"baseline_{clock}_us_per_{item}": cost_us(baseline, clock).median,
            f"ours_{other}_us_per_{item}": cost_us(ours, other).median,
            f"baseline_{other}_us_per_{item}": cost_us(baseline, other).median,
            f"{other}_ratio": speed_ratio(ours, baseline, other).median,
            **(more or {}),
        },
        void=void,
    )


def _short(value: Figure) -> Figure:
    """Five digits say more than was measured."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _many(item: str) -> str:
    return f"{item[:-1]}ies" if item.endswith("y") else f"{item}s"
