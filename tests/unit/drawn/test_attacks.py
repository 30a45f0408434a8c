"""Presentation attacks: each species shows the person, is flat, and stays the same thing from frame to frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtests.people.drawn import Instrument, Light, Species, Truth, View, attack
from tests.unit.drawn.easel import MIDDLE, SIDE, aligned, drawn, painter

VIEW = View(face_px=130.0, centre=MIDDLE)
EACH = pytest.mark.parametrize("species", list(Species))


def attacked(species: Species, view: View = VIEW, seed: int = 3) -> tuple[np.ndarray, Truth]:
    canvas = np.full((SIDE, SIDE, 3), 120, np.uint8)
    return canvas, attack(painter(1), species, view, canvas, np.random.default_rng(seed))


@EACH
def test_an_attack_is_told_as_one_and_shows_a_face_of_the_size_asked_for(species: Species) -> None:
    """The truth says that it is no bona fide presentation, and where the face is."""
    truth = attacked(species)[1]
    assert not truth.bona_fide
    assert truth.box[2] == pytest.approx(130, rel=0.15)
    x, y, w, h = truth.box
    assert (truth.landmarks > (x, y)).all()
    assert (truth.landmarks < (x + w, y + h)).all()


@EACH
def test_an_attack_shows_the_person_and_no_other(species: Species) -> None:
    """Aligned, the attack is more like the person than like two others, over several instruments."""
    references = [aligned(*drawn(replace(VIEW, smile=0.1), who)).mean(axis=2) for who in (1, 2, 4)]

    def likeness(face: np.ndarray, other: np.ndarray) -> float:
        part = np.s_[25:105, 15:97]
        return float(np.corrcoef(face[part].ravel(), other[part].ravel())[0, 1])

    scores = np.array(
        [
            [likeness(aligned(*attacked(species, seed=seed)).mean(axis=2), reference) for reference in references]
            for seed in range(4)
        ]
    )
    assert scores[:, 0].mean() > scores[:, 1:].mean(axis=0).max()


@EACH
def test_equal_states_of_the_generator_hold_up_the_same_thing(species: Species) -> None:
    """Reproducible; another seed is another instrument."""
    assert np.array_equal(attacked(species)[0], attacked(species)[0])
    assert not np.array_equal(attacked(species)[0], attacked(species, seed=4)[0])


@EACH
def test_a_flat_thing_has_no_parallax(species: Species) -> None:
    """Turning by 20 degrees moves a real nose against the eyes; on a sheet it stays (within perspective's little)."""

    def offset(truth: Truth) -> float:
        right, left, nose = truth.landmarks[:3]
        across = left - right
        return float((nose - (right + left) / 2) @ across / (across @ across))

    turned = replace(VIEW, yaw_deg=20)
    flat = abs(offset(attacked(species, turned)[1]) - offset(attacked(species)[1]))
    real = abs(offset(drawn(turned)[1]) - offset(drawn(VIEW)[1]))
    assert flat < 0.03
    assert real > 0.15


def test_an_instrument_stays_the_same_from_frame_to_frame() -> None:
    """Presented twice in one view it gives equal pixels: paper does not change its grain."""
    held = Instrument(painter(1), Species.PRINT, np.random.default_rng(1))
    first, second = (np.full((SIDE, SIDE, 3), 120, np.uint8) for _ in range(2))
    held.present(VIEW, first)
    held.present(VIEW, second)
    assert np.array_equal(first, second)


def test_a_replay_blinks_and_a_print_does_not() -> None:
    """A screen shows a recording: its truth follows the view's lids. A photograph's eyes stay open."""
    shut = replace(VIEW, eyes_open=(0.0, 0.0))
    for species, blinks in ((Species.SCREEN, True), (Species.PRINT, False)):
        (open_eyed, _), (closed, truth) = attacked(species), attacked(species, shut)
        x, y = truth.landmarks[0].round().astype(int)
        eye = np.s_[y - 6 : y + 7, x - 10 : x + 11]
        assert (np.abs(open_eyed[eye].astype(int) - closed[eye]).max() > 25) == blinks
        assert (max(truth.eyes_open) == 0.0) is blinks


def test_paper_darkens_with_the_room_and_a_screen_does_not() -> None:
    """Half the light halves what paper gives back; a display brings its own."""
    dark = replace(VIEW, light=Light(level=0.4))

    def fall(species: Species) -> float:
        bright, dim = (aligned(*attacked(species, view, seed=5)).mean() for view in (VIEW, dark))
        return float(dim / bright)

    assert fall(Species.PRINT) < 0.75
    assert fall(Species.SCREEN) > 0.95


@EACH
def test_an_attack_may_leave_the_picture(species: Species) -> None:
    """Held mostly outside of the frame it is drawn as far as it is seen."""
    canvas, truth = attacked(species, replace(VIEW, centre=(250.0, 10.0)))
    assert canvas.shape == (SIDE, SIDE, 3)
    assert truth.box[0] + truth.box[2] > SIDE
