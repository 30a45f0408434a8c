"""Pictures that a camera shows twice: copies are found by their noise, fresh frames are not taken for copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
import simplejpeg

from loadtests.motion import Motion
from loadtests.people.drawn import person, portrait
from pipeline.vision.copies import (
    LEAST_COEFFICIENTS,
    MAX_CAMERAS,
    REMEMBERED,
    SAME_PICTURE,
    Fingerprint,
    RecentPictures,
    fingerprint,
    separation,
)
from pipeline.vision.decode import Image, decode_jpeg
from pipeline.vision.faces import Box

FACE = Box(240, 120, 160, 200)
"""Where the face stands on the scenes below."""
QUALITIES = (50, 60, 70, 80, 90, 95)


def compressed(pixels: Image, quality: int = 85) -> bytes:
    """A JPEG as a camera would send it."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "BGR", "420")
    return data


def of(jpeg: bytes) -> Fingerprint:
    """The fingerprint of a JPEG."""
    return fingerprint(decode_jpeg(jpeg), jpeg)


def apart(old: Sequence[Fingerprint], new: Fingerprint, face: Box | None = FACE) -> list[float]:
    """The noise between the new picture and each old one."""
    coefficients, sound = np.stack([each.coefficients for each in old]), np.stack([each.sound for each in old])
    return [float(value) for value in separation(coefficients, sound, new, face)]


@pytest.fixture(scope="module")
def scenes() -> list[Image]:
    """Still scenes without noise: three drawn people before a wall, uint8 (480, 640, 3)."""
    made = []
    for seed in range(3):
        drawn = portrait(person(seed), seed)
        scaled = cv2.resize(drawn, (round(drawn.shape[1] * 430 / drawn.shape[0]), 430), interpolation=cv2.INTER_AREA)
        canvas = np.full((480, 640, 3), (150, 160, 172), np.uint8)
        left = (640 - scaled.shape[1]) // 2
        canvas[25:455, left : left + scaled.shape[1]] = scaled
        made.append(canvas)
    return made


def noisy(scene: Image, rng: np.random.Generator, sigma: float) -> Image:
    """The scene through a sensor: fresh noise of `sigma` grey levels."""
    return np.asarray(np.clip(np.rint(scene + rng.normal(0, sigma, scene.shape)), 0, 255), np.uint8)


@pytest.mark.parametrize(("sigma", "camera_quality"), [(1.0, 92), (1.5, 85), (3.0, 75)])
def test_copies_are_found_and_fresh_frames_of_a_still_scene_are_not(
    scenes: list[Image], sigma: float, camera_quality: int
) -> None:
    """Compressed again at quality 50 to 90: a copy, nine in ten at least; brightened or darkened as well, or at quality
    95, where the rounding is as fine as what is measured by: mostly. The same scene with fresh noise: never.
    """
    rng = np.random.default_rng(11)
    again: dict[int, list[float]] = {quality: [] for quality in QUALITIES}
    lit: list[float] = []
    fresh: list[float] = []
    for scene in scenes:
        first, *others = (compressed(noisy(scene, rng, sigma), camera_quality) for _ in range(4))
        shown, pixels = [of(first)], decode_jpeg(first)
        fresh += [value for other in others for value in apart(shown, of(other))]
        for quality in QUALITIES:
            again[quality] += apart(shown, of(compressed(pixels, quality)))
        for quality in (50, 70, 90):
            for gain, offset in ((0.85, 6), (1.06, -5)):
                copy = np.asarray(cv2.convertScaleAbs(pixels, alpha=gain, beta=offset), np.uint8)
                lit += apart(shown, of(compressed(copy, quality)))
    assert min(fresh) >= SAME_PICTURE
    found = [value < SAME_PICTURE for quality in QUALITIES[:-1] for value in again[quality]]
    assert np.mean(found) >= 0.9
    assert np.mean(np.array(lit) < SAME_PICTURE) >= 0.75
    assert np.mean(np.array(again[95]) < SAME_PICTURE) >= 0.6


def test_fresh_frames_of_people_who_stand_still_are_far_from_copies(scenes: list[Image]) -> None:
    """Also 5 ms apart: breathing and noise separate them by more than twice the limit, each of 396 pairs."""
    for rate_s in (0.005, 0.2):
        for seed, scene in enumerate(scenes):
            motion = Motion(np.ascontiguousarray(scene[25:455, 150:490]), seed=seed)
            shown = [of(compressed(motion.frame(index, index * rate_s))) for index in range(12)]
            pairs = [value for n in range(1, 12) for value in apart(shown[:n], shown[n])]
            assert min(pairs) > 2 * SAME_PICTURE


def test_a_still_wall_behind_a_moving_face_is_no_copy(scenes: list[Image]) -> None:
    """A video codec on the way repeats still blocks to the bit: what counts is the face."""
    rng = np.random.default_rng(2)
    first = noisy(scenes[0], rng, 2)
    second = first.copy()
    second[90:350, 200:440] = noisy(scenes[0], rng, 2)[90:350, 200:440]
    one, two = of(compressed(first)), of(compressed(second))
    assert apart([one], two)[0] >= SAME_PICTURE
    # and the same two looked at as a whole: most of it is a copy
    assert apart([one], two, None)[0] < apart([one], two)[0]


def test_a_face_with_too_little_to_compare_is_not_called_a_copy(scenes: list[Image]) -> None:
    """Nothing to compare, clipped pixels, a face outside the picture: unknown, unless the bytes are the same."""
    flat = compressed(np.full((480, 640, 3), 90, np.uint8))
    white = compressed(np.full((480, 640, 3), 255, np.uint8))
    assert apart([of(flat)], of(flat)) == [float("inf")]
    assert apart([of(white)], of(white)) == [float("inf")]
    shown = of(compressed(scenes[0]))
    assert apart([shown], shown) == [0.0]
    assert apart([shown], shown, Box(5000, 5000, 100, 100)) == [float("inf")]
    assert apart([shown], shown, Box(300, 220, 24, 24)) == [float("inf")], "some coefficients, and too few"
    assert apart([replace(shown, sound=np.zeros_like(shown.sound))], shown) == [float("inf")]
    recent = RecentPictures()
    assert [recent.seen_before(0, "cam", of(flat), FACE) for _ in range(2)] == [False, True]
    assert LEAST_COEFFICIENTS > 0


def test_a_camera_remembers_its_last_pictures(scenes: list[Image]) -> None:
    """Each camera its own, `REMEMBERED` of them; a copy pushes nothing out; another resolution begins anew; a lane that
    was taken away takes its cameras along.
    """
    rng = np.random.default_rng(5)
    shown = [of(compressed(noisy(scenes[0], rng, 3))) for _ in range(REMEMBERED + 1)]
    recent = RecentPictures()
    assert not any(recent.seen_before(3, "cam", each, FACE) for each in shown[:REMEMBERED])
    assert all(recent.seen_before(3, "cam", shown[REMEMBERED - 1], FACE) for _ in range(REMEMBERED))
    assert all(recent.seen_before(3, "cam", each, FACE) for each in shown[:REMEMBERED])
    assert not recent.seen_before(3, "other", shown[0], FACE)
    assert not recent.seen_before(4, "cam", shown[0], FACE)
    assert not recent.seen_before(3, "cam", shown[REMEMBERED], FACE)
    assert not recent.seen_before(3, "cam", shown[0], FACE)
    recent.forget(4)
    assert recent.seen_before(3, "cam", shown[REMEMBERED], FACE)
    recent.forget(3)
    assert not recent.seen_before(3, "cam", shown[REMEMBERED], FACE)
    half = of(compressed(np.ascontiguousarray(scenes[0][::2, ::2])))
    assert not recent.seen_before(3, "cam", half, FACE)
    assert not recent.seen_before(3, "cam", shown[REMEMBERED], FACE)


def test_memory_is_bounded(scenes: list[Image]) -> None:
    """Below 8 KB a picture whatever its size, and the camera that was silent longest is forgotten first."""
    sizes = [(480, 640), (720, 1280), (1080, 1920), (2160, 3840), (33, 35)]
    assert all(of(compressed(np.full((*size, 3), 90, np.uint8))).size_bytes < 8_000 for size in sizes)
    recent, small = RecentPictures(1), of(compressed(np.full((32, 32, 3), 90, np.uint8)))
    for number in range(MAX_CAMERAS):
        recent.seen_before(0, str(number), small, None)
    assert recent.seen_before(0, "0", small, None)
    assert not recent.seen_before(0, "new", small, None)
    assert recent.seen_before(0, "0", small, None)
    assert not recent.seen_before(0, "1", small, None)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_steps_are_read_from_the_jpeg(quality: int) -> None:
    """As libjpeg derives them from a quality (T.81, K.1): 16, 11, 12 for the first three, scaled."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    expected = [max(1, (value * int(scale) + 50) // 100) for value in (16, 11, 12)]
    steps = of(compressed(np.full((64, 64, 3), 90, np.uint8), quality)).steps
    assert [steps[0], steps[1], steps[5]] == expected


def test_a_jpeg_without_a_readable_table_has_steps_all_the_same() -> None:
    """The picture was decoded by somebody: nothing here may fail on its bytes."""
    pixels = np.full((64, 64, 3), 90, np.uint8)
    for jpeg in (b"", b"\xff\xd8", b"\xff\xdb", b"\xff\xdb\x00\x43\x10" + bytes(40)):
        assert fingerprint(pixels, jpeg).steps.min() >= 1
