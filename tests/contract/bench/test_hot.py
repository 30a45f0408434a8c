"""A small version of `bench hot` on the real hot tier and a real Redis: it counts, it can fail, it finds nothing."""

from __future__ import annotations

import pytest

from pipeline.bench import hot, hot_errors, hot_replay, vector_sets
from pipeline.bench.commuters import Region
from pipeline.bench.hot_errors import ErrorPlan, Limits, Part
from pipeline.bench.hot_replay import ReplayPlan
from pipeline.bench.hot_worlds import PULLED, Shape
from pipeline.bench.rows import Row
from pipeline.errors import UsageError
from pipeline.ports import Match

SHAPE = Shape(payers=1_200, hot=200)
PLAN = ErrorPlan(
    parts=[Part(shape=SHAPE, worlds=2, probes=1_000)],
    weak_parts=[Part(shape=SHAPE, worlds=1, probes=1_000)],
    pulled_parts=[Part(shape=SHAPE, worlds=1, probes=200, kinds=PULLED)],
)


def by_case(rows: list[Row]) -> dict[str, Row]:
    """The rows by their names, none of them void."""
    assert not [why for row in rows for why in row.void]
    return {row.case: row for row in rows}


def test_no_hot_answer_differs_and_without_guards_some_do() -> None:
    """The searches are counted, regulars are answered, and the test sees what it is there for."""
    rows = by_case(hot_errors.run(PLAN))
    assert set(rows) == {f"hot.errors{part}" for part in ("", ".pulled", ".loosened", ".weakened")}
    shipped, weak = rows["hot.errors"], rows["hot.errors.weakened"]
    assert (shipped.ours, shipped.more["searches"], shipped.more["upper_95_per_search"]) == (0, 2_000, 3 / 2_000)
    assert float(str(shipped.more["hot_share_hot"])) > 0.3
    assert float(str(shipped.more["hot_share_stranger"])) < 0.05
    assert weak.ours > 0
    assert (shipped.met, weak.met) == (True, True)


def test_a_test_that_cannot_fail_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the weakened tier never differs, nothing is told about the other one."""
    monkeypatch.setattr(hot_errors, "_ALLOWS_ALL", 0.0)
    small = [Part(shape=Shape(payers=300, hot=50), worlds=1, probes=50)]
    rows = hot_errors.run(ErrorPlan(parts=small, weak_parts=small, pulled_parts=[]))
    assert all("cannot fail" in " ".join(row.void) for row in rows)


@pytest.mark.parametrize(
    ("similarity", "runner_up", "decision"),
    [
        (0.40, 0.1, ("nobody",)),
        (0.60, 0.55, ("unclear",)),
        (0.60, 0.50, ("p", "weak", "thin", "")),
        (0.60, 0.40, ("p", "weak", "clear", "")),
        (0.70, 0.40, ("p", "strong", "clear", "")),
    ],
)
def test_decisions(similarity: float, runner_up: float, decision: tuple[str, ...]) -> None:
    """What an answer leads to under the shipped thresholds: what two answers must agree on."""
    limits = Limits.shipped()
    assert limits.decision(Match("p", "t", similarity, runner_up)) == decision
    assert limits.decision(None) == ("nobody",)


def test_a_region_for_two_days() -> None:
    """Through a real Redis and two agents: nothing differs, nobody erased is found, day 1 is answered hot."""
    region = Region(payers=600, regulars=60, stations=4, days=2, newcomers=2)
    rows = by_case(hot_replay.run(ReplayPlan(region=region, erased=2, timed=1)))
    hot_share, errors = rows["hot.commuters.answered_hot"], rows["hot.commuters.errors"]
    assert 0.2 < float(str(hot_share.more["hot_share_day_0"])) < float(str(hot_share.more["hot_share_later"]))
    assert (errors.ours, errors.more["erased_matched"]) == (0, 0)
    assert 0 < rows["hot.commuters.search.p50"].ours <= rows["hot.commuters.search.p99"].ours
    redis = rows["hot.commuters.redis"]
    assert 0.5 < redis.ours < 20
    assert float(str(redis.more["memory_bytes_per_hot_payer"])) > 2 * 128 * 4


def test_vector_sets_where_there_are_some() -> None:
    """Rows for each way to keep them, or one sentence on what is missing."""
    try:
        rows = by_case(hot.vsim(hot.HotPlan(rounds=1, vectors=64, probes=8)))
    except UsageError as error:
        assert "no Redis with vector sets" in str(error)  # noqa: PT017 - both ends are right
        return
    assert len(rows) == len(vector_sets.KINDS) * len(vector_sets.BATCHES)


def test_without_portraits_nothing_is_compared_with_them() -> None:
    """One sentence, and the rest is measured all the same."""
    with pytest.raises(UsageError, match="--people"):
        hot.people(hot.HotPlan(rounds=1))
