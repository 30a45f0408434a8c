"""Error rates of a verifier, held against scores whose errors can be counted by hand or are known in closed form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.people.train.verification import eer, fnmr, fnmr_at, interval, share, threshold, trial


def people(count: int, *, noise: float, seed: int = 1, dimension: int = 16) -> npt.NDArray[np.float32]:
    """Unit vectors (count, 3, dimension): three pictures of each person, `noise` apart."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 1, dimension)) + noise * rng.normal(size=(count, 3, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=2, keepdims=True), np.float32)


def all_scores(vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mated and non-mated scores of the first picture against the others, one by one."""
    mated: list[float] = []
    others: list[float] = []
    for i, template in enumerate(vectors[:, 0]):
        for j, probes in enumerate(vectors[:, 1:]):
            (mated if i == j else others).extend(float(template @ probe) for probe in probes)
    return np.array(mated, np.float32), np.array(others, np.float32)


@pytest.mark.parametrize("fmr", [0.0, 1e-3, 1e-2, 5e-2])
def test_the_threshold_lets_no_more_through_than_asked(fmr: float) -> None:
    """At the threshold of an FMR, the non-mated scores counted one by one keep it, and one more would not have."""
    vectors = people(60, noise=0.5)
    _, others = all_scores(vectors)
    at = threshold(trial(vectors[:, 0], vectors[:, 1:]), fmr)
    allowed = int(fmr * len(others))
    assert (others >= at - 1e-6).sum() <= allowed + 1
    assert (others >= at - 1e-4).sum() >= allowed


def test_misses_are_counted_per_mated_comparison() -> None:
    """FNMR is the share of mated scores below the threshold."""
    vectors = people(60, noise=0.8)
    mated, _ = all_scores(vectors)
    assert fnmr(trial(vectors[:, 0], vectors[:, 1:]), 0.5) == pytest.approx(float((mated < 0.5).mean()))


def test_equal_errors_are_equal() -> None:
    """The EER is where both errors, counted one by one, meet within a comparison or two."""
    vectors = people(80, noise=0.9)
    mated, others = all_scores(vectors)
    rate = eer(trial(vectors[:, 0], vectors[:, 1:], kept=1.0))
    at = np.quantile(others, 1 - rate)
    assert float((mated < at).mean()) == pytest.approx(rate, abs=2 / len(mated))


def test_noise_alone_has_an_error_of_a_half() -> None:
    """Vectors that carry no identity err half of the time: what "knows nothing" looks like."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(200, 3, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    assert eer(trial(vectors[:, 0], vectors[:, 1:], kept=1.0)) == pytest.approx(0.5, abs=0.04)


def test_the_interval_holds_the_figure_and_narrows_with_people() -> None:
    """Four times the people, about half the width."""
    few, many = (people(count, noise=1.0) for count in (80, 320))
    spans = []
    for vectors in (few, many):
        scores = trial(vectors[:, 0], vectors[:, 1:])
        low, high = interval(fnmr_at(1e-2), scores, repeats=200)
        assert low <= fnmr_at(1e-2)(scores, None) <= high
        spans.append(high - low)
    assert 0.25 < spans[1] / spans[0] < 0.8


def test_a_person_drawn_twice_counts_twice() -> None:
    """A resample is the same as writing its people down as often as they were drawn."""
    vectors = people(30, noise=0.9)
    times = np.ones(30)
    times[:5], times[5:10] = 2, 0
    scores = trial(vectors[:, 0], vectors[:, 1:])
    written = np.concatenate([vectors[:5], vectors[:5], vectors[10:]])
    assert fnmr(scores, 0.6, times) == pytest.approx(fnmr(trial(written[:, 0], written[:, 1:]), 0.6))


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=60))
def test_a_share_lies_in_its_interval(hits: list[float]) -> None:
    """Whatever was seen, the interval contains it, stays within 0 and 1, and is never a point at either end."""
    value, low, high = share(np.array(hits), repeats=200)
    assert 0.0 <= low <= value <= high <= 1.0
    assert high > 0.0
    assert low < 1.0


def test_none_of_n_allows_three_in_n() -> None:
    """Nothing seen among 300 people is no proof of zero."""
    assert list(share(np.zeros(300))) == pytest.approx([0.0, 0.0, 0.01])
