"""Drawn people and worlds: they have the law that the benchmark says they have, and the trouble that it plants."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.bench.commuters import DAY_US, STRANGER, Region, days
from pipeline.bench.hot_worlds import KINDS, PULLED, Shape, probes, world
from pipeline.bench.population import Noise, Population, drawn

SMALL = Shape(payers=600, hot=100)


@pytest.mark.parametrize(("noise", "strays"), [("fitted", 0.098), ("hard", 0.114)])
def test_the_law_is_that_of_the_real_embedder(noise: Noise, strays: float) -> None:
    """Mean and spread of mated cosines, tail of non-mated ones; noise that strays as portraits do, or more."""
    law = drawn(noise)
    assert law.mated_mean == pytest.approx(0.825, abs=0.02)
    assert law.mated_sd == pytest.approx(0.100, abs=0.015)
    assert law.non_mated_mean == pytest.approx(0.023, abs=0.01)
    assert law.non_mated_1e3 == pytest.approx(0.36, abs=0.02)
    assert law.noise_sd == pytest.approx(strays, abs=0.004)
    assert law.noise_kurtosis == pytest.approx(3.0, abs=0.2)
    assert law.noise_predicted == pytest.approx(1.0, abs=0.05)


def test_every_vector_has_length_1_and_lookalikes_their_cosine() -> None:
    """What an index accepts, and what was asked for."""
    people = Population(3)
    templates = people.pictures(people.identities(50))
    cosines = np.linspace(0.4, 0.9, 50, dtype=np.float32)
    doubles = people.lookalikes(templates, cosines)
    assert np.allclose(np.linalg.norm(np.concatenate([templates, doubles]), axis=1), 1, atol=1e-5)
    assert np.allclose(np.einsum("ij,ij->i", templates, doubles), cosines, atol=1e-5)


def test_a_world_plants_lookalikes_outside_the_hot_set() -> None:
    """Half of the hot payers have one; twins are close, and every other twin is flagged with whose twin it is."""
    made = world(SMALL, (1, 0))
    assert len(made.double_of) == 50
    assert made.others == 150
    first = made.templates[: SMALL.payers]
    cosines = np.einsum("ij,ij->i", first[made.hot : made.others], first[made.double_of])
    assert ((cosines[::2] > 0.59) & (cosines[::2] < 0.91)).all()
    assert ((cosines[1::2] > 0.39) & (cosines[1::2] < 0.61)).all()
    flagged = set(made.payer[made.flagged].tolist())
    assert flagged == {*(made.hot + np.arange(0, 50, 4)).tolist(), *made.double_of[::4].tolist()}
    assert len(set(made.template_ids())) == len(made.payer_ids()) == len(made.templates)


def test_probes_are_fresh_and_of_every_kind() -> None:
    """Two draws share nothing; the same seed gives the same world and the same probes."""
    made = world(SMALL, (1, 0))
    seen, kinds = probes(made, 2_000)
    again, _ = probes(made, 2_000)
    assert set(kinds) == set(KINDS)
    assert not np.isin(seen[:, 0], again[:, 0]).any()
    assert np.allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    assert set(probes(made, 10, PULLED)[1]) == {"pulled"}
    other = world(SMALL, (1, 0))
    assert np.array_equal(made.templates, other.templates)
    assert np.array_equal(probes(other, 2_000)[0], seen)
    assert not np.array_equal(world(SMALL, (1, 1)).templates, made.templates)


def test_days_of_a_region() -> None:
    """In order, within their day, with the stated shares; a day off is quiet, and the same regulars come back."""
    region = Region(payers=5_000, regulars=1_000, stations=4, days=7, newcomers=3)
    seen = list(days(region))
    for day in seen:
        assert (np.diff(day.at_us) >= 0).all()
        assert ((day.at_us >= day.number * DAY_US) & (day.at_us < (day.number + 1) * DAY_US)).all()
        assert day.station.max() < region.stations
        assert (day.payer == STRANGER).mean() == pytest.approx(region.strangers, abs=0.005)
        assert ((day.payer >= region.regulars) & (day.payer < region.payers)).mean() == pytest.approx(
            region.visitors, abs=0.005
        )
        assert sorted(day.payer[day.payer >= region.payers]) == list(range(5_000, 5_000 + 3 * (day.number + 1)))
    assert len(seen[5]) < len(seen[4]) / 2
    regular = [set(day.payer[(day.payer >= 0) & (day.payer < region.regulars)].tolist()) for day in seen]
    assert len(regular[0] & regular[1]) > 0.6 * len(regular[0])
    assert np.array_equal(next(days(region)).payer, seen[0].payer)
