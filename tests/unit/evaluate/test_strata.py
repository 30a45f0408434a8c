"""Rates by class: where a comparison belongs, and that no comparison is lost or counted twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluate.comparisons import compare
from pipeline.evaluate.sightings import Sighting
from pipeline.evaluate.strata import MEASURED, MIXED, by, check_names
from pipeline.vision.faces import Quality
from tests.unit.evaluate.people import GOOD, crowd, seen


def varied(seed: int) -> list[Sighting]:
    """People whose pictures are of every size, in every light and pose, from two cameras."""
    draw = np.random.default_rng(seed)
    result = []
    for sighting in crowd(8, 3, noise=0.6, seed=seed, dimension=4):
        quality = Quality(
            *(float(x) for x in draw.uniform([5, 0, 0, 0, -0.6, -0.4, -30], [90, 800, 1, 0.2, 0.6, 0.4, 30]))
        )
        assert sighting.face is not None
        labels = {**sighting.labels, "camera": str(draw.choice(["a", "b"]))}
        result.append(Sighting(labels, "seen", replace(sighting.face, quality=quality), 1))
    return result


@pytest.mark.parametrize(
    ("name", "quality", "expected"),
    [
        ("size", {"eye_distance_px": 19.9}, "< 20 px"),
        ("size", {"eye_distance_px": 20.0}, "20 to 30 px"),
        ("size", {"eye_distance_px": 60.0}, ">= 60 px"),
        ("light", {"brightness": 0.5}, "luma 0.4 to 0.6"),
        ("light", {"brightness": 0.6}, "luma >= 0.6"),
        ("light", {"brightness": 0.1}, "luma < 0.4"),
        ("pose", {"yaw": -0.3}, "0.2 to 0.4 yaw"),
        ("pose", {"yaw": 0.3}, "0.2 to 0.4 yaw"),
        ("pitch", {"pitch": -0.3}, ">= 0.2 pitch"),
        ("roll", {"roll": -4.0}, "< 5 deg"),
        ("sharpness", {"sharpness": 10.0}, "< 50"),
        ("exposure", {"exposure": 0.05}, "0.02 to 0.1 clipped"),
    ],
)
def test_a_quality_has_its_class(name: str, quality: dict[str, float], expected: str) -> None:
    """A row per quality; signs do not matter for angles."""
    classes = MEASURED[name]
    assert classes.names[classes.of(replace(GOOD, **quality))] == expected


def test_a_comparison_belongs_to_the_class_of_its_worse_picture() -> None:
    """A good picture against a small one says something about small faces."""
    small = replace(GOOD, eye_distance_px=15)
    sightings = [
        seen("a1", (1, 0), identity="a"),
        seen("a2", (1, 0), identity="a", quality=small),
        seen("b1", (0, 1), identity="b"),
    ]
    rows = {row.name: row for row in by(compare(sightings), sightings, "size", 0.5)}
    assert set(rows) == {"40 to 60 px", "< 20 px"}
    assert (rows["< 20 px"].mated, rows["< 20 px"].non_mated, rows["< 20 px"].pictures) == (1, 1, 1)
    assert (rows["40 to 60 px"].mated, rows["40 to 60 px"].non_mated) == (0, 1)
    assert rows["40 to 60 px"].fnmr is None


def test_a_group_has_no_order_and_two_groups_are_mixed() -> None:
    """A comparison across two cameras belongs to neither."""
    sightings = [
        seen("a1", (1, 0), identity="a", camera="x"),
        seen("a2", (1, 0), identity="a", camera="y"),
        seen("b1", (0, 1), identity="b", camera="x"),
        seen("c1", (1, 1), identity="c", camera=""),
    ]
    rows = {row.name: (row.mated, row.non_mated) for row in by(compare(sightings), sightings, "camera", 0.5)}
    assert rows == {"x": (0, 1), "y": (0, 0), "not said": (0, 0), MIXED: (1, 4)}


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([*MEASURED, "camera"]))
def test_every_comparison_has_one_class(seed: int, name: str) -> None:
    """The classes add up to all comparisons and all errors, and every interval holds its rate."""
    sightings = varied(seed)
    comparisons = compare(sightings)
    rows = by(comparisons, sightings, name, 0.6)
    assert sum(row.mated for row in rows) == len(comparisons.mated)
    assert sum(row.non_mated for row in rows) == len(comparisons.non_mated)
    assert sum(row.missed for row in rows) == (comparisons.mated < 0.6).sum()
    assert sum(row.false_matches for row in rows) == (comparisons.non_mated >= 0.6).sum()
    assert sum(row.pictures for row in rows) == len(sightings)
    for row in rows:
        for value, (low, high) in ((row.fnmr, row.fnmr_ci), (row.fmr, row.fmr_ci)):
            assert value is None or 0 <= low <= value <= high <= 1


def test_an_unknown_name_is_refused() -> None:
    """Neither measured nor a column."""
    check_names(["size", "camera"], ["file", "camera"])
    with pytest.raises(UsageError, match="splitting by age"):
        check_names(["size", "age"], ["file", "identity"])
