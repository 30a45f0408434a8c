"""Error rates of comparisons, against tables worked by hand and against counting over all pairs."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluate.comparisons import compare
from pipeline.evaluate.recognition import rates
from pipeline.evaluate.sightings import Sighting
from tests.unit.evaluate.people import crowd, of_scores, seen


def test_mated_non_mated_and_neither() -> None:
    """With a list, same-identity pairs that it leaves out are neither; without one all of them are mated."""
    sightings = [
        seen("a1", (1, 0), identity="a"),
        seen("a2", (1, 0.1), identity="a"),
        seen("a3", (1, 0.2), identity="a"),
        seen("b1", (0, 1), identity="b"),
    ]
    listed = compare(sightings, [{"file_x": "a1", "file_y": "a3"}, {"file_x": "a3", "file_y": "a1"}])
    assert (len(listed.mated), len(listed.non_mated)) == (1, 3)
    assert listed.mated[0] == pytest.approx(1 / np.hypot(1, 0.2), abs=1e-6)
    assert list(listed.non_mated) == sorted(listed.non_mated, reverse=True)
    every = compare(sightings)
    assert (len(every.mated), len(every.non_mated), every.not_compared) == (3, 3, 0)


def test_failures_are_not_compared_and_counted() -> None:
    """A mated pair with a picture that failed is lost, not missed."""
    sightings = [
        seen("a1", (1, 0), identity="a"),
        seen("a2", outcome="not_detected", identity="a"),
        seen("b1", (0, 1), identity="b"),
        seen("b2", (0, 1), outcome="not_acquired", identity="b"),
    ]
    assert compare(sightings).not_compared == 2
    pairs = [{"file_x": "a1", "file_y": "a2"}]
    assert (compare(sightings, pairs).not_compared, len(compare(sightings, pairs).mated)) == (1, 0)
    assert rates(compare(sightings, pairs), {}) is None


@pytest.mark.parametrize(
    ("one", "two", "why"), [("a", "x", "not in the index"), ("a", "b", "one person"), ("a", "a", "one person")]
)
def test_a_pair_that_cannot_be_mated_is_refused(one: str, two: str, why: str) -> None:
    """An unknown picture, two people, or a picture with itself."""
    sightings = [seen("a", identity="a"), seen("b", identity="b")]
    with pytest.raises(UsageError, match=why):
        compare(sightings, [{"file_x": one, "file_y": two}])


# 20 mated scores 0.50, 0.52, .. 0.88; 100 non-mated 0.001, 0.006, .. 0.496, and one false match at 0.7.
MATED = [0.50 + 0.02 * k for k in range(20)]
NON_MATED = [*(0.001 + 0.005 * k for k in range(99)), 0.7]


@pytest.mark.parametrize(
    ("fmr", "threshold", "missed"),
    [
        (0.5, NON_MATED[49], 0),  # fifty may match: the lowest threshold is just above the fifty-first
        (0.02, NON_MATED[97], 0),
        (0.01, NON_MATED[98], 0),  # one may match: 0.7 does, the next does not
        (0.001, None, None),  # a decade below one in a hundred: extrapolated, see below
        (0.0001, None, None),
    ],
)
def test_fnmr_where_fmr_is_held(fmr: float, threshold: float | None, missed: int | None) -> None:
    """The lowest threshold whose own FMR is not above the one asked for."""
    figures = rates(of_scores(MATED, NON_MATED), {}, fmrs=[fmr])
    assert figures is not None
    (row,) = figures.fnmr_at_fmr
    if threshold is not None:
        assert row.threshold is not None
        assert row.threshold == pytest.approx(threshold)
        assert np.mean(np.array(NON_MATED) >= row.threshold) <= fmr
        assert (row.missed, row.extrapolated) == (missed, False)
    else:
        assert row.extrapolated is (fmr == 0.001)


def test_an_fmr_is_extrapolated_one_decade_and_no_further() -> None:
    """100 non-mated comparisons carry 1e-2, allow 1e-3 with a warning, and say nothing of 1e-4."""
    figures = rates(of_scores(MATED, NON_MATED), {}, fmrs=[1e-2, 1e-3, 9e-4, 1e-4])
    assert figures is not None
    rows = figures.fnmr_at_fmr
    assert [row.extrapolated for row in rows] == [False, True, False, False]
    assert rows[1].threshold is not None
    assert rows[0].threshold is not None
    assert rows[1].threshold > rows[0].threshold
    assert "extrapolated" in rows[1].note
    for row in rows[2:]:
        assert (row.threshold, row.fnmr, row.missed) == (None, None, None)
        assert "not supported by the data" in row.note


def test_an_extrapolated_threshold_is_right_where_the_tail_is_exponential() -> None:
    """Of 20,100 scores with P(score >= t) = exp(-20 t), 1e-5 lies at 0.576: the mean of ten samples is within 5 %."""
    wanted = np.log(1e5) / 20
    found = []
    for seed in range(10):
        scores = np.random.default_rng(seed).exponential(1 / 20, 20_100)
        figures = rates(of_scores([0.9] * 20, list(scores)), {}, fmrs=[1e-5], most_replicates=1)
        assert figures is not None
        found.append(figures.fnmr_at_fmr[0].threshold or 0.0)
    assert np.mean(found) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize(
    ("mated", "non_mated", "eer", "auc"),
    [
        ([0.9] * 4, [0.1] * 6, 0.0, 1.0),
        ([0.1] * 4, [0.9] * 6, 1.0, 0.0),
        ([0.5] * 4, [0.5] * 6, 1.0, 0.5),  # no threshold tells equal scores apart
        ([0.9, 0.8, 0.7, 0.3], [0.6, 0.2, 0.1, 0.1], 0.25, 0.9375),
        ([0.9, 0.8, 0.7, 0.3], [0.6, 0.5, 0.1, 0.1], 0.25, 0.875),
    ],
)
def test_eer_and_auc_have_their_known_values(
    mated: list[float], non_mated: list[float], eer: float, auc: float
) -> None:
    """Worked by hand."""
    figures = rates(of_scores(mated, non_mated), {})
    assert figures is not None
    assert (figures.eer, figures.auc) == pytest.approx((eer, auc))


SCORES = st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=1, max_size=12)


@settings(max_examples=60)
@given(SCORES, SCORES)
def test_rates_are_those_of_counting_over_all_pairs(mated: list[float], non_mated: list[float]) -> None:
    """An oracle that knows no sorting: every threshold is tried, every pair of scores compared."""
    fixed = {"low": 0.2, "high": 0.7}
    figures = rates(of_scores(mated, non_mated), fixed, fmrs=[1.0, 0.5, 0.25], most_replicates=1)
    assert figures is not None
    candidates = sorted({*mated, *non_mated})
    candidates += [np.nextafter(score, np.inf) for score in candidates]

    def fmr(t: float) -> float:
        return sum(score >= t for score in non_mated) / len(non_mated)

    def fnmr(t: float) -> float:
        return sum(score < t for score in mated) / len(mated)

    assert figures.eer == pytest.approx(min(max(fmr(t), fnmr(t)) for t in candidates))
    wins = [1.0 if m > n else 0.5 if m == n else 0.0 for m, n in itertools.product(mated, non_mated)]
    assert figures.auc == pytest.approx(sum(wins) / len(wins))
    for at in figures.at_thresholds:
        assert (at.fmr, at.fnmr) == pytest.approx((fmr(at.threshold), fnmr(at.threshold)))
    for row in figures.fnmr_at_fmr:
        if row.threshold is not None and not row.extrapolated:
            assert fmr(row.threshold) <= row.fmr
            assert row.fnmr == pytest.approx(min(fnmr(t) for t in candidates if fmr(t) <= row.fmr))


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.2, 2.0))
def test_every_interval_holds_its_estimate(seed: int, noise: float) -> None:
    """Whatever the people look like."""
    figures = rates(compare(crowd(12, 3, noise=noise, seed=seed)), {"match": 0.6, "never": 2.0}, most_replicates=50)
    assert figures is not None
    spans = [(figures.eer, figures.eer_ci), (figures.auc, figures.auc_ci)]
    spans += [(row.fnmr, row.ci) for row in figures.fnmr_at_fmr if row.fnmr is not None and row.ci is not None]
    spans += [(row.fmr, row.fmr_ci) for row in figures.at_thresholds]
    spans += [(row.fnmr, row.fnmr_ci) for row in figures.at_thresholds]
    assert len(spans) >= 6
    for value, (low, high) in spans:
        assert 0 <= low <= value <= high <= 1


def test_no_error_is_no_proof() -> None:
    """Nobody of 30 people was missed: 9.5 % of people like them still may be, and no interval says less."""
    figures = rates(compare(crowd(30, 2, noise=0.01, seed=3)), {"match": 0.95})
    assert figures is not None
    (match,) = figures.at_thresholds
    assert match.missed == 0
    assert figures.eer == 0
    for _, high in (match.fnmr_ci, figures.eer_ci):
        assert high == pytest.approx(1 - 0.05 ** (1 / 30), abs=1e-6)
    assert figures.auc_ci[0] == pytest.approx(0.05 ** (1 / 30), abs=1e-6)


def test_people_are_drawn_anew_not_pairs() -> None:
    """One person of ten has 15 of 24 mated pairs, all missed: drawing pairs would be sure of it, people are not."""
    good = crowd(9, 2, noise=0.01, seed=5)
    bad = [seen(f"x{k}", tuple(np.eye(8)[k]), identity="x") for k in range(6)]
    figures = rates(compare([*good, *bad]), {"match": 0.9})
    assert figures is not None
    (match,) = figures.at_thresholds
    assert (match.missed, match.mated) == (15, 24)
    assert match.fnmr_ci[0] == 0.0  # a third of all draws of people miss that person
    assert match.fnmr_ci[1] > 0.8  # drawing 24 pairs would end at 0.83 from 0.41


def test_figures_repeat_themselves() -> None:
    """The same pictures give the same intervals; another seed gives others."""
    comparisons = compare(crowd(15, 3, noise=0.8, seed=1))
    one, two, other = (rates(comparisons, {"match": 0.5}, seed=seed) for seed in (1, 1, 2))
    assert one is not None
    assert two is not None
    assert other is not None
    assert asdict(one) == asdict(two)
    assert one.eer_ci != other.eer_ci
    assert one.eer == other.eer


def test_a_replicate_is_what_drawing_the_pictures_themselves_would_give() -> None:
    """Weights on people equal copies of their pictures: a person drawn twice is two people who look alike."""
    from pipeline.evaluate.curve import Curve

    sightings: list[Sighting] = crowd(6, 2, noise=0.9, seed=11)
    weights = np.array([2, 0, 1, 1, 0, 2], np.float64)
    weighted = Curve(compare(sightings), (0.2,), (0.5,)).figures(weights)
    scores, mated = [], []
    drawn = [who for who, times in enumerate(weights) for _ in range(int(times))]
    vectors = [[s.face.embedding for s in sightings if s.face and s.labels["identity"] == f"p{w}"] for w in range(6)]
    for a, b in itertools.combinations(range(len(drawn)), 2):
        if drawn[a] != drawn[b]:
            scores += [float(x @ y) for x in vectors[drawn[a]] for y in vectors[drawn[b]]]
    mated = [float(vectors[w][0] @ vectors[w][1]) for w in drawn]
    assert float(weighted.fmr[0]) == pytest.approx(np.mean(np.array(scores) >= 0.5))
    assert float(weighted.fnmr[0]) == pytest.approx(np.mean(np.array(mated) < 0.5))
    wins = [float(m > n) for m in mated for n in scores]
    assert float(weighted.auc) == pytest.approx(np.mean(wins), abs=1e-9)
