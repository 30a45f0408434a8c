"""Single pictures of one person: for training, and for enrolment."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from loadtests.people.drawn.backgrounds import background
from loadtests.people.drawn.factors import Person
from loadtests.people.drawn.noise import expose
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.truth import Pixels, Truth
from loadtests.people.drawn.view import Light, View, random_view


def sample(
    painter: Painter, rng: np.random.Generator, *, view: View | None = None, size: tuple[int, int] = (256, 256)
) -> tuple[Pixels, Truth]:
    """For training: one picture (width, height) with background, a random (or the given) view, blur and sensor noise.

    Without `view` the face is in the middle and fills 43 to 70 % of the smaller side.
    """
    if view is None:
        side = min(size)
        view = random_view(rng, face_px=(0.43 * side, 0.70 * side))
        middle = (size[0] / 2 + rng.normal(0, 0.03) * side, size[1] / 2 + rng.normal(0, 0.03) * side)
        view = replace(view, centre=middle)
    canvas = background(rng, size)
    truth = painter.draw(view, canvas)
    return lens(canvas, rng, view.light.level), truth


def lens(canvas: Pixels, rng: np.random.Generator, level: float = 1.0) -> Pixels:
    """Blur of a random strength and noise: what a random camera makes of the scene, in place where it can."""
    blur = abs(float(rng.normal(0, 0.75)))
    if blur > 0.35:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), min(blur, 1.8)), np.uint8)
    return expose(canvas, rng, gain=float(rng.uniform(0.5, 2.2)) / max(level, 0.5))


def portrait(who: Person | Painter, seed: int, *, size: tuple[int, int] = (480, 600)) -> Pixels:
    """A picture for enrolment: frontal, good light, eyes open, plain wall; `seed` chooses the small differences. A
    `Painter` at hand spares making one.
    """
    painter = who if isinstance(who, Painter) else Painter(who)
    rng = np.random.default_rng([71, painter.who.seed, seed])
    small = rng.normal(0, 1, 6).clip(-2, 2)
    view = View(
        yaw_deg=2.0 * small[0],
        pitch_deg=2.0 * small[1],
        roll_deg=1.5 * small[2],
        smile=float(np.clip(0.1 + 0.12 * small[3], -0.2, 0.5)),
        outfit=int(rng.integers(0, 1 << 30)),
        light=Light(azimuth_deg=14 * small[4], elevation_deg=30 + 6 * small[5], level=1.0, ambient=0.62),
        face_px=0.40 * min(size[0], size[1] * 0.8),
        centre=(size[0] / 2, size[1] * 0.5),
    )
    wall = np.round(rng.uniform(165, 215) + rng.normal(0, 5, 3)).astype(np.uint8)
    canvas = np.asarray(cv2.merge([np.full((size[1], size[0]), shade, np.uint8) for shade in wall]), np.uint8)
    painter.draw(view, canvas)
    return expose(canvas, rng, gain=0.6)
