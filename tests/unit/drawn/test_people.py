"""People: who they are is a vector of factors, nothing else, and each factor can be seen."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from loadtests.people.drawn import ALBEDO, SHAPE, Painter, Person, View, person, portrait

FRONTAL = View(face_px=140.0, centre=(128.0, 128.0))


def crop(who: Person) -> np.ndarray:
    """The face from the brows to the chin, cheek to cheek, float32."""
    canvas = np.full((256, 256, 3), 140, np.uint8)
    x, y, w, h = Painter(who).draw(FRONTAL, canvas).box
    return canvas[int(y) : int(y + h), int(x) : int(x + w)].astype(np.float32)


def test_equal_numbers_are_the_same_person_and_other_numbers_are_others() -> None:
    """The factors of person 7 are always the same, those of person 8 are not."""
    assert np.array_equal(person(7).factors, person(7).factors)
    assert not np.allclose(person(7).factors, person(8).factors, atol=0.5)


def test_there_are_enough_factors_and_each_has_a_name() -> None:
    """At least 40 of shape and 20 of colour, named once."""
    who = person(0)
    assert who.shape.shape == (len(SHAPE),)
    assert who.albedo.shape == (len(ALBEDO),)
    assert len(SHAPE) >= 40
    assert len(ALBEDO) >= 20
    assert len({*SHAPE, *ALBEDO}) == len(SHAPE) + len(ALBEDO)


def test_factors_are_independent_and_about_normal() -> None:
    """Over 2,000 people: mean 0, deviation 1, no two factors correlated beyond chance."""
    factors = np.array([person(seed).factors for seed in range(2000)])
    assert np.abs(factors.mean(axis=0)).max() < 0.1
    assert np.abs(factors.std(axis=0) - 1).max() < 0.1
    correlations = np.corrcoef(factors.T) - np.eye(factors.shape[1])
    assert np.abs(correlations).max() < 0.12


def test_equal_seeds_give_equal_pixels_and_other_people_other_pixels() -> None:
    """Two painters of one person draw the same picture; another person's differs widely."""
    one, same, other = crop(person(3)), crop(person(3)), crop(person(4))
    assert np.array_equal(one, same)
    least = min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1])
    assert np.abs(one[: least[0], : least[1]] - other[: least[0], : least[1]]).mean() > 8


def test_a_seed_that_is_only_a_number_changes_nothing() -> None:
    """The factors are the identity: a person with equal factors and another seed looks the same."""
    who = person(5)
    assert np.array_equal(crop(who), crop(replace(who, seed=99)))


@lru_cache(maxsize=4)
def picture_of(factor: str | None, man: float) -> np.ndarray:
    """Somebody average but for one factor and how masculine they look, int16."""
    factors = np.zeros(len(SHAPE) + len(ALBEDO), np.float32)
    factors[len(SHAPE) + ALBEDO.index("presentation")] = man
    if factor is not None:
        factors[(*SHAPE, *ALBEDO).index(factor)] += 1.5
    canvas = np.full((256, 256, 3), 140, np.uint8)
    Painter(Person(0, factors[: len(SHAPE)], factors[len(SHAPE) :])).draw(FRONTAL, canvas)
    return canvas.astype(np.int16)


@pytest.mark.parametrize("name", [*SHAPE, *ALBEDO])
def test_every_factor_can_be_seen(name: str) -> None:
    """Raising one factor of an average person changes the picture (a beard's factors: of an average man)."""
    man = 1.0 if name in {"beard", "moustache"} else 0.0
    changed = np.abs(picture_of(None, man) - picture_of(name, man)).max(axis=2) >= 6
    assert changed.sum() >= 25


def test_a_portrait_is_the_same_each_time_and_differs_by_its_seed() -> None:
    """Enrolment pictures are reproducible; a second one of the same person is another picture."""
    first = portrait(person(2), 0)
    assert first.shape == (600, 480, 3)
    assert np.array_equal(first, portrait(Painter(person(2)), 0))
    assert not np.array_equal(first, portrait(person(2), 1))
