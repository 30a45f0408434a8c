"""Aligned faces of many people with the factors they are made of: what the embedder learns from."""

from __future__ import annotations

import numpy as np

from loadtests.people.drawn import ALBEDO, SHAPE, Painter, person, random_view
from loadtests.people.train.capturing import TRAINING, Pixels, as_found, picture
from loadtests.people.train.shards import Plan, Rows
from pipeline.vision.align import SIDE_PX, align

FACTORS = len(SHAPE) + len(ALBEDO)
PEOPLE_PER_CHUNK = 8
VIEWS = 10
"""Pictures per person: more people teach more than more pictures of them, but a person's textures have a price."""


def faces(people: int) -> Plan:
    """`VIEWS` aligned faces (RGB) of each of `people` persons, those of one person side by side."""
    rows = PEOPLE_PER_CHUNK * VIEWS
    fields = {"pixels": ((SIDE_PX, SIDE_PX, 3), "u1"), "factors": ((FACTORS,), "f4")}
    return Plan("faces", 2, people // PEOPLE_PER_CHUNK, rows, fields, chunk)


def chunk(number: int) -> Rows:
    """The faces of eight people."""
    pixels = np.empty((PEOPLE_PER_CHUNK, VIEWS, SIDE_PX, SIDE_PX, 3), np.uint8)
    factors = np.empty((PEOPLE_PER_CHUNK, VIEWS, FACTORS), np.float32)
    for index in range(PEOPLE_PER_CHUNK):
        seed = TRAINING + number * PEOPLE_PER_CHUNK + index
        painter = Painter(person(seed))
        rng = np.random.default_rng([1, seed])
        factors[index] = painter.who.factors
        for view in range(VIEWS):
            pixels[index, view] = enrolled(painter, rng) if view == 0 else at_counter(painter, rng)
    return {"pixels": pixels.reshape(-1, SIDE_PX, SIDE_PX, 3), "factors": factors.reshape(-1, FACTORS)}


def at_counter(painter: Painter, rng: np.random.Generator) -> Pixels:
    """An aligned face (112, 112, 3) RGB in any view in which people stand at a counter, and some beyond."""
    view = random_view(rng, face_px=(48.0, 220.0), closed=0.05)
    pixels, truth = picture(painter, view, rng)
    return _aligned(pixels, as_found(truth.landmarks, rng, spread=rng.uniform(0.0, 0.04)))


def enrolled(painter: Painter, rng: np.random.Generator) -> Pixels:
    """An aligned face (112, 112, 3) RGB as enrolment takes it."""
    view = random_view(
        rng,
        face_px=(140.0, 260.0),
        max_yaw_deg=6.0,
        max_pitch_deg=6.0,
        max_roll_deg=4.0,
        glasses=0.2,
        max_age_years=0.0,
    )
    pixels, truth = picture(painter, view, rng)
    return _aligned(pixels, as_found(truth.landmarks, rng, spread=rng.uniform(0.0, 0.02)))


def _aligned(pixels: Pixels, landmarks: np.ndarray) -> Pixels:
    return np.ascontiguousarray(align([pixels], landmarks[None])[0][..., ::-1])
