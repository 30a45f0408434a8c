"""Searching galleries: the exact means over all galleries, against listing every gallery."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluate.comparisons import Comparisons, compare
from pipeline.evaluate.identification import searches, sizes
from tests.unit.evaluate.people import crowd, of_scores, seen


def listed(comparisons: Comparisons, n: int, threshold: float, margin: float) -> tuple[float, float]:
    """FPIR and FNIR by searching every gallery of n people, one after the other."""
    first = [int(np.flatnonzero(comparisons.person == who)[0]) for who in range(comparisons.people)]
    gallery = comparisons.embeddings[first].astype(np.float64)

    def answer(probe: np.ndarray[tuple[int], np.dtype[np.float32]], enrolled: tuple[int, ...]) -> int | None:
        scores = {who: float(gallery[who] @ probe) for who in enrolled}
        best = max(scores, key=lambda who: scores[who])
        others = [score for who, score in scores.items() if who != best]
        thin = bool(others) and scores[best] - max(others) < margin
        return best if scores[best] >= threshold and not thin else None

    wrong, trials = 0, 0
    for who in range(comparisons.people):
        rest = [other for other in range(comparisons.people) if other != who]
        for enrolled in itertools.combinations(rest, n):
            trials += 1
            wrong += answer(comparisons.embeddings[first[who]], enrolled) is not None
    missed, mated = 0, 0
    for enrolled_picture, probe in comparisons.mated_pictures:
        who = int(comparisons.person[enrolled_picture])
        if enrolled_picture != first[who]:
            continue
        rest = [other for other in range(comparisons.people) if other != who]
        for others in itertools.combinations(rest, n - 1):
            mated += 1
            missed += answer(comparisons.embeddings[probe], (who, *others)) != who
    return wrong / trials, missed / mated


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.2]), st.sampled_from([0.2, 0.5, 0.8]))
def test_the_rates_are_the_means_over_all_galleries(seed: int, margin: float, threshold: float) -> None:
    """Six people, every gallery of one, three and five of them."""
    comparisons = compare(crowd(6, 3, noise=0.7, seed=seed, dimension=3))
    rows = searches(comparisons, threshold, (margin,))
    assert [row.n for row in rows] == [1, 3, 5]
    for row in rows:
        assert (row.fpir, row.fnir) == pytest.approx(listed(comparisons, row.n, threshold, margin))
        assert row.fpir_ci[0] <= row.fpir <= row.fpir_ci[1]
        assert row.fnir_ci[0] <= row.fnir <= row.fnir_ci[1]


def test_a_larger_gallery_errs_more_and_a_margin_answers_strangers_less() -> None:
    """FPIR and FNIR grow with N; the margin trades one for the other."""
    rows = searches(compare(crowd(40, 2, noise=0.5, seed=2)), 0.6, (0.0, 0.1))
    plain, thin = ([row for row in rows if row.margin == margin] for margin in (0.0, 0.1))
    for one in (plain, thin):
        assert [row.fnir for row in one] == sorted(row.fnir for row in one)
    assert [row.fpir for row in plain] == sorted(row.fpir for row in plain)
    assert plain[0].fpir < plain[-1].fpir
    assert all(b.fpir <= a.fpir and b.fnir >= a.fnir for a, b in zip(plain, thin, strict=True))


def test_no_error_in_a_search_is_no_proof() -> None:
    """Twenty people who are unlike each other: 14 % stay possible in either rate."""
    draw = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]
    sightings = [seen(f"{who}-{k}", draw[who], identity=f"p{who}") for who in range(20) for k in range(2)]
    row = searches(compare(sightings), 0.5)[-1]
    assert (row.fpir, row.fnir) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert row.fpir_ci[1] == row.fnir_ci[1] == pytest.approx(1 - 0.05 ** (1 / 20))


def test_without_mated_pairs_there_is_nothing_to_search_for() -> None:
    """One picture each, or one person alone."""
    assert searches(compare(crowd(5, 1, noise=0.1, seed=1)), 0.5) == []
    assert searches(compare(crowd(1, 3, noise=0.1, seed=1)), 0.5) == []
    assert searches(of_scores([], [0.1]), 0.5) == []


@pytest.mark.parametrize(
    ("most", "expected"), [(0, []), (1, [1]), (2, [1, 2]), (30, [1, 3, 10, 30]), (498, [1, 3, 10, 30, 100, 300, 498])]
)
def test_galleries_grow_by_half_decades(most: int, expected: list[int]) -> None:
    """And end at everybody."""
    assert sizes(most) == expected
