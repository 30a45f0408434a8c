"""Searches at the thresholds in force, false matches calibrated on the same pictures, and FNIR at a given FPIR."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.domain.fmr import Trials
from pipeline.errors import UsageError
from pipeline.evaluate.calibration import calibrate
from pipeline.evaluate.comparisons import Comparisons, compare
from pipeline.evaluate.identification import World, at_fpir
from pipeline.evaluate.in_force import Rule, in_force, limits
from tests.unit.evaluate.people import crowd

PEOPLE = compare(crowd(120, 3, noise=0.5, seed=3, dimension=5))
MODEL = calibrate(PEOPLE, "directions")
RULE = Rule(model=MODEL, match=0.9, margin=0.02, trials=Trials(frames=2, attempts=2), max_fpir=0.2)


def among(comparisons: Comparisons, n: int, threshold: float) -> tuple[float, float]:
    """FPIR and FNIR with every picture but the probe enrolled, by searching every gallery of n people."""
    person, vectors = comparisons.person, comparisons.embeddings.astype(np.float64)

    def best(probe: int, people: tuple[int, ...]) -> tuple[float, int]:
        held = [p for p in range(len(person)) if person[p] in people and p != probe]
        return max((float(vectors[p] @ vectors[probe]), int(person[p])) for p in held)

    first = [int(np.flatnonzero(person == who)[0]) for who in range(comparisons.people)]
    others = {who: [p for p in range(comparisons.people) if p != who] for who in range(comparisons.people)}
    false = [
        best(first[who], gallery)[0] >= threshold
        for who in range(comparisons.people)
        for gallery in itertools.combinations(others[who], n)
    ]
    missed = []
    for probe in sorted({int(p) for pair in comparisons.mated_pictures for p in pair}):
        who = int(person[probe])
        for rest in itertools.combinations(others[who], n - 1):
            score, found = best(probe, (who, *rest))
            missed.append(score < threshold or found != who)
    return float(np.mean(false)), float(np.mean(missed))


@pytest.mark.parametrize("n", [1, 3, 5])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_several_templates_a_person_are_each_searched(n: int, threshold: float) -> None:
    """A person resembles a probe as much as their most similar picture does, never the probe itself."""
    comparisons = compare(crowd(6, 3, noise=0.7, seed=8, dimension=3))
    world = World.of(comparisons, every=True)
    assert world is not None
    assert world.templates == 18
    found = world.search(n, threshold, 0.0, np.ones((2, 6)))
    assert (found.fpir, found.fnir) == pytest.approx(among(comparisons, n, threshold))


def test_fnir_is_told_at_the_lowest_threshold_that_holds_the_fpir() -> None:
    """A hair below it the FPIR is above its target."""
    world = World.of(PEOPLE)
    assert world is not None
    rows = at_fpir(PEOPLE, 0.3)
    assert [row.n for row in rows] == [1, 3, 10, 30, 100, 119]
    for row in rows:
        at, below = (world.search(row.n, t, 0.0, np.ones((2, 120))) for t in (row.threshold, row.threshold - 1e-6))
        assert at.fpir <= 0.3 < below.fpir
        assert row.fnir == at.fnir
        assert row.fnir_ci[0] <= row.fnir <= row.fnir_ci[1]
    assert at_fpir(compare(crowd(1, 2, noise=0.1, seed=1, dimension=3)), 0.1) == []


def test_what_is_calibrated_are_shares_of_the_comparisons() -> None:
    """As many decades as two matches and the pairs of people carry; the data and their sizes are named."""
    assert (MODEL.data, MODEL.people, MODEL.pairs) == ("directions", 120, 120 * 119 // 2)
    assert MODEL.comparisons == len(PEOPLE.non_mated)
    assert [round(-np.log10(point.fmr)) for point in MODEL.points] == [2, 3]
    for point in MODEL.points:
        assert point.fmr == pytest.approx((PEOPLE.non_mated >= point.threshold).mean())
        assert point.low <= point.fmr <= point.high
    assert MODEL.threshold_for(MODEL.least / 1.1) is None


def test_too_few_comparisons_say_nothing() -> None:
    """Not even a model with wide intervals."""
    with pytest.raises(UsageError, match="pictures of more people"):
        calibrate(compare(crowd(6, 2, noise=0.2, seed=2, dimension=4)), "six people")


@pytest.mark.parametrize("every", [False, True])
def test_rows_say_how_far_a_face_alone_goes(*, every: bool) -> None:
    """The threshold rises with the templates; beyond what the data support the row names the claim."""
    rows = in_force(PEOPLE, RULE, every=every)
    assert [row.n for row in rows] == [1, 3, 10, 30, 100, 119]
    assert [row.templates for row in rows] == [row.n * (3 if every else 1) for row in rows]
    assert [row.threshold for row in rows] == sorted(row.threshold for row in rows)
    for row in rows:
        assert row.supported == (row.templates <= RULE.most_templates) == (row.claim is None)
        assert row.threshold >= RULE.match
        assert row.fpir_transaction <= RULE.max_fpir * (1 + 1e-9) or not row.supported
        assert row.fpir_ci[0] <= row.fpir <= row.fpir_ci[1]
    found = limits(RULE)
    assert found["templates"] == RULE.most_templates
    assert (found["beyond"], found["beyond_last_four"]) == ("last_four", "full_number")
