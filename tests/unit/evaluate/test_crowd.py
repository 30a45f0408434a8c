"""Searching a crowd: the rates against searching every gallery, one after the other."""

from __future__ import annotations

from dataclasses import asdict
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from loadtests.people.train.crowd import Crowd
from pipeline.domain.fmr import Trials
from pipeline.evaluate.chart import identification
from pipeline.evaluate.crowd import Found, Scores, calibrated, compare, rates
from pipeline.evaluate.in_force import Rule

PEOPLE, PROBES = 130, 40


def vectors(rng: np.random.Generator, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    drawn = rng.normal(size=(*shape, 6))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=-1, keepdims=True), np.float32)


def invented() -> Crowd:
    """People who are directions in six dimensions: close enough to each other that everything happens."""
    rng = np.random.default_rng(5)
    enrolled = vectors(rng, PEOPLE)
    owner = np.sort(rng.permutation(PEOPLE)[:PROBES])
    mated = enrolled[owner][:, None] + 0.35 * vectors(rng, PROBES, 2)
    mated = (mated / np.linalg.norm(mated, axis=-1, keepdims=True)).astype(np.float32)
    return Crowd(enrolled, owner, mated, vectors(rng, PROBES, 2), 0, "0" * 64)


CROWD = invented()
SCORES = compare(CROWD)
RULE = Rule(
    model=calibrated(SCORES, "directions"), match=0.9, margin=0.05, trials=Trials(frames=1, attempts=1), max_fpir=0.5
)


def searched(n: int, threshold: float) -> tuple[float, float, float]:
    """FPIR, FNIR and the share of wrong answers, by searching every gallery of n people."""
    galleries = [range(PEOPLE)] if n == PEOPLE else [range(k * n, k * n + n) for k in range(PEOPLE // 10 // (n // 10))]

    def answer(probe: np.ndarray[tuple[int], np.dtype[np.float32]], people: set[int]) -> int | None:
        scores = {who: float(CROWD.enrolled[who] @ probe) for who in people}
        best, second = sorted(scores.values(), reverse=True)[:2]
        return max(scores, key=lambda who: scores[who]) if best >= threshold and best - second >= RULE.margin else None

    false, missed, wrong = [], [], []
    for gallery in galleries:
        for row, who in enumerate(CROWD.owner.tolist()):
            for picture in range(2):
                false.append(answer(CROWD.strangers[row, picture], set(gallery)) is not None)
                found = answer(CROWD.mated[row, picture], {*gallery, who})
                missed.append(found != who)
                wrong.append(found not in {who, None})
    return float(np.mean(false)), float(np.mean(missed)), float(np.mean(wrong))


def test_galleries_grow_up_to_everybody() -> None:
    """In steps of one and three, ten people at least; a hundred where they are many."""
    assert SCORES.sizes() == [10, 30, 100, PEOPLE]


@pytest.mark.parametrize("n", [10, 30, 100, PEOPLE])
@pytest.mark.parametrize("match", [0.8, 0.95])
def test_the_rates_are_those_of_searching_every_gallery(n: int, match: float) -> None:
    """With the margin; disjoint galleries, and everybody's own template in each."""
    rule = Rule(model=RULE.model, match=match, margin=RULE.margin, trials=RULE.trials, max_fpir=RULE.max_fpir)
    (row,) = rates(SCORES, rule, [n], rising=False)
    assert (row.fpir, row.fnir, row.wrong) == pytest.approx(searched(n, match))
    assert row.fpir_ci[0] <= row.fpir <= row.fpir_ci[1]
    assert row.fnir_ci[0] <= row.fnir <= row.fnir_ci[1]
    assert row.fpir <= row.fpir_either
    assert row.fnir_neither <= row.fnir


def test_false_matches_are_calibrated_on_everybody_else() -> None:
    """All comparisons of who came with every template but their own; each pair of people once."""
    assert RULE.model.comparisons == PROBES * 2 * (PEOPLE - 1)
    assert RULE.model.pairs == PROBES * (PEOPLE - PROBES) + PROBES * (PROBES - 1) // 2
    every = CROWD.mated.reshape(-1, 6) @ CROWD.enrolled.T
    every[np.arange(2 * PROBES), np.repeat(CROWD.owner, 2)] = -2
    for point in RULE.model.points:
        assert point.fmr == pytest.approx((every >= point.threshold).sum() / RULE.model.comparisons)
        assert point.low <= point.fmr <= point.high


def test_the_threshold_in_force_rises_and_ends_where_the_data_end() -> None:
    """Rows beyond say which claim is asked for; with one frame and attempt the promise is that of one search."""
    rows = rates(SCORES, RULE, SCORES.sizes(), rising=True)
    assert [row.threshold for row in rows] == sorted(row.threshold for row in rows)
    for row in rows:
        assert row.supported == (row.n <= RULE.most_templates) == (row.claim is None)
        assert row.fpir_transaction <= RULE.max_fpir * (1 + 1e-9) or not row.supported


def test_the_chart_is_a_picture_of_the_rows() -> None:
    """Well-formed, escaped, with a band of each series and the thresholds in force."""
    rows: list[Found] = rates(SCORES, RULE, SCORES.sizes(), rising=True)
    picture = ET.fromstring(identification(rows, rows, "some <people>"))  # noqa: S314 - ours
    names = {"polygon": 4, "polyline": 5}
    for name, count in names.items():
        assert len(picture.findall(f".//{{http://www.w3.org/2000/svg}}{name}")) == count
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert any("some <people>" in (text or "") for text in texts)
    assert f"{rows[-1].threshold:.3f}" in texts
    assert asdict(rows[0])["n"] == 10


def test_blocks_hold_the_two_best() -> None:
    """The last block is not full, and nobody fills it up."""
    assert isinstance(SCORES, Scores)
    assert SCORES.strangers.shape == (PROBES, 2, 13, 2)
    every = np.sort((CROWD.strangers.reshape(-1, 6) @ CROWD.enrolled.T)[:, 120:], axis=1)
    assert SCORES.strangers[:, :, 12].reshape(-1, 2) == pytest.approx(every[:, [-1, -2]])
