"""How many templates a face may be searched among: what the data say, one decade beyond, and nothing after that."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.fmr import (
    FmrModel,
    FmrPoint,
    Trials,
    claim_needed,
    fpir_transaction,
    match_threshold,
    supported,
)

MODEL = FmrModel(
    data="invented people",
    people=1001,
    comparisons=1_001_000,
    pairs=500_500,
    points=(
        FmrPoint(threshold=0.3, fmr=1e-2, low=8e-3, high=1.2e-2),
        FmrPoint(threshold=0.4, fmr=1e-3, low=5e-4, high=2e-3),
        FmrPoint(threshold=0.5, fmr=1e-5, low=0.0, high=4e-5),
    ),
    per_decade=0.05,
)
TRIALS = Trials(frames=6, attempts=5)

TEMPLATES = st.integers(0, 10**9)
COUNTS = st.integers(1, 50)
COSINES = st.floats(-1, 1)
TARGETS = st.floats(1e-6, 1)


@st.composite
def models(draw: st.DrawFn) -> FmrModel:
    """Any model that is not refused: two to five points, thresholds that rise, rates that fall."""
    pairs = draw(st.integers(1_000, 10**9))
    count = draw(st.integers(2, 5))
    steps = draw(st.lists(st.floats(0.01, 0.3), min_size=count, max_size=count))
    shares = draw(st.lists(st.floats(0.05, 0.95), min_size=count, max_size=count))
    points: list[FmrPoint] = []
    threshold, fmr, high = -0.5, 0.5, 1.0
    for step, share in zip(steps, shares, strict=True):
        threshold, fmr = threshold + step, max(fmr * share, 1 / pairs)
        if points and fmr >= points[-1].fmr:
            break
        high = min(high, fmr * draw(st.floats(1, 5)))
        points.append(FmrPoint(threshold=threshold, fmr=fmr, low=fmr * draw(st.floats(0, 1)), high=max(high, fmr)))
    if len(points) < 2 or any(one.high < two.high for one, two in itertools.pairwise(points)):
        points = list(MODEL.points)
        pairs = MODEL.pairs
    return FmrModel(
        data="drawn by hypothesis", people=100, comparisons=pairs, pairs=pairs, points=tuple(points),
        per_decade=draw(st.floats(0.01, 0.2)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("threshold", "fmr", "support"),
    [
        (0.29, 1.0, "at_most"),
        (0.3, 1e-2, "measured"),
        (0.35, math.sqrt(1e-5), "measured"),
        (0.45, 1e-4, "measured"),
        (0.5, 1e-5, "measured"),
        (0.53, 1e-5 * 10**-0.6, "measured"),
        (0.55, 1e-6, "extrapolated"),
        (0.58, 1e-5 * 10**-1.6, "extrapolated"),
        (0.6, 1 / 5_005_000, "at_most"),
        (1.0, 1 / 5_005_000, "at_most"),
    ],
)
def test_rates_between_points_and_beyond_them(threshold: float, fmr: float, support: str) -> None:
    """Straight lines between logarithms, one decade below one match among all pairs, and then no less."""
    found = MODEL.fmr_at(threshold)
    assert found.fmr == pytest.approx(fmr)
    assert found.support == support
    assert found.low <= found.fmr <= found.high


@given(models(), COSINES, COSINES)
def test_a_higher_threshold_never_has_a_higher_rate(model: FmrModel, one: float, two: float) -> None:
    """Nor a higher upper bound."""
    low, high = sorted((one, two))
    assert model.fmr_at(high).fmr <= model.fmr_at(low).fmr * (1 + 1e-9)
    assert model.fmr_at(high).high <= model.fmr_at(low).high * (1 + 1e-9)


@given(models(), st.floats(1e-12, 1))
def test_no_rate_is_promised_below_a_tenth_of_what_the_data_show(model: FmrModel, fmr: float) -> None:
    """Either there is a threshold that keeps the promise, or the rate is more than a decade beyond the data."""
    threshold = model.threshold_for(fmr)
    if threshold is None:
        assert fmr * model.pairs * 10 < 1
    else:
        assert fmr * model.pairs * 10 >= 1 - 1e-6
        assert threshold <= model.highest + 1e-9
        assert model.fmr_at(threshold).fmr <= fmr * (1 + 1e-6)


@given(models(), COSINES, TEMPLATES, COUNTS, COUNTS)
def test_more_templates_frames_or_attempts_never_lower_the_rate(
    model: FmrModel, threshold: float, templates: int, frames: int, attempts: int
) -> None:
    """Each way to look once more is a chance more; the union bound is never below independence."""
    trials = Trials(frames=frames, attempts=attempts)
    least = fpir_transaction(model, threshold, templates, trials)
    assert least.independent <= least.bound * (1 + 1e-9)
    assert least.low <= least.bound <= least.high * (1 + 1e-9)
    for more in (
        fpir_transaction(model, threshold, templates + 1, trials),
        fpir_transaction(model, threshold, templates, replace(trials, frames=frames + 1)),
        fpir_transaction(model, threshold, templates, replace(trials, attempts=attempts + 1)),
    ):
        assert more.bound >= least.bound
        assert more.independent >= least.independent


@given(models(), TEMPLATES, COUNTS, COUNTS, TARGETS)
def test_the_threshold_in_force_keeps_the_target(
    model: FmrModel, templates: int, frames: int, attempts: int, target: float
) -> None:
    """Where a set is supported its threshold holds the rate of the transaction, else there is none; it is exactly the
    sets up to `supported`, and those never need less than a tenth of one match among all pairs."""
    trials = Trials(frames=frames, attempts=attempts)
    most = supported(model, trials, target)
    assert most * trials.comparisons(1) <= 10 * model.pairs * target * (1 + 1e-6)
    at = match_threshold(model, 0.2, templates, trials, target)
    if at is None:
        assert templates >= most
    else:
        assert at >= 0.2
        assert templates <= most + 1
        if templates:
            assert fpir_transaction(model, at, templates, trials).bound <= max(target, 0) * (1 + 1e-6)
        larger = match_threshold(model, 0.2, templates + 1, trials, target)
        assert larger is None or larger >= at


@pytest.mark.parametrize(
    ("templates", "claim", "most", "expected"),
    [
        (0, "none", 100, None),
        (100, "none", 100, None),
        (101, "none", 100, "last_four"),
        (1_000_000, "none", 100, "last_four"),
        (1_000_001, "none", 100, "full_number"),
        (None, "none", 100, "full_number"),
        (100, "last_four", 100, None),
        (101, "last_four", 100, "full_number"),
        (None, "last_four", 100, "full_number"),
        (5, "full_number", 5, None),
        (6, "full_number", 5, "pin"),
        (None, "full_number", 5, "pin"),
        (1, "none", 0, "pin"),
        (0, "none", 0, None),
    ],
)
def test_what_the_payer_must_say(templates: int | None, claim: str, most: int, expected: str | None) -> None:
    """The size that is really left decides; how many four digits leave only says what to ask for."""
    assert claim_needed(templates, claim, most) == expected  # type: ignore[arg-type]


@given(st.one_of(st.none(), TEMPLATES), st.sampled_from(["none", "last_four", "full_number"]), st.integers(0, 10**6))
def test_a_claim_is_asked_for_exactly_when_the_set_is_too_large(templates: int | None, claim: str, most: int) -> None:
    """And never one that was given already."""
    needed = claim_needed(templates, claim, most)  # type: ignore[arg-type]
    assert (needed is None) == (templates is not None and templates <= most)
    assert needed != claim


@pytest.mark.parametrize(
    "wrong",
    [
        {"people": 1},
        {"pairs": 10},
        {"pairs": 2_000_000},
        {"points": MODEL.points[:1]},
        {"per_decade": 0.0},
        {"per_decade": math.nan},
        {"pairs": 50_000},
        {"points": tuple(reversed(MODEL.points))},
        {"points": (MODEL.points[0], replace(MODEL.points[1], fmr=2e-2, high=3e-2))},
        {"points": (MODEL.points[0], replace(MODEL.points[1], high=2e-2))},
        {"points": (MODEL.points[0], replace(MODEL.points[1], low=2e-3))},
        {"points": (MODEL.points[0], replace(MODEL.points[1], threshold=1.5))},
        {"points": (MODEL.points[0], replace(MODEL.points[1], threshold=math.nan))},
    ],
)
def test_a_model_that_promises_more_than_its_data_is_refused(wrong: dict[str, object]) -> None:
    """Points that rise, rates below one match among all pairs, intervals that leave out the rate."""
    with pytest.raises(ValueError, match="false match rates on invented people"):
        replace(MODEL, **wrong)  # type: ignore[arg-type]
