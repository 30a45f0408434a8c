"""A store as its camera sees it: the payer at the counter, bystanders behind, smaller and partly hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loadtests.people.drawn.backgrounds import background
from loadtests.people.drawn.noise import expose
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.truth import Pixels, Truth
from loadtests.people.drawn.view import Light, View, random_light, random_view

HIDDEN_SHARE = 0.5
"""A face of which more than this is hidden or outside the picture has no truth."""

Covers = tuple[float, float, float, float]


def scene(
    rng: np.random.Generator,
    painters: Sequence[Painter],
    *,
    size: tuple[int, int] = (640, 480),
    view: View | None = None,
) -> tuple[Pixels, tuple[Truth, ...]]:
    """One picture of a store with noise: the first of `painters` at the counter (in `view` if given), the others
    behind, smaller and partly hidden. Truths in the order of `painters`; a face hidden by more than half has no truth.
    """
    canvas = background(rng, size)
    light = random_light(rng)
    if view is None:
        unit = size[1] / 480
        middle = (size[0] * float(rng.uniform(0.38, 0.62)), size[1] * float(rng.uniform(0.40, 0.55)))
        view = replace(random_view(rng, face_px=(110 * unit, 220 * unit), centre=middle, max_yaw_deg=25), light=light)
    truths: list[Truth | None] = []
    behind = [bystander_view(rng, size, view.light) for _ in painters[1:]]
    behind.sort(key=lambda one: one.face_px)
    for painter, one in zip(painters[1:], behind, strict=True):
        truths.append(painter.draw(one, canvas))
    payer = painters[0].draw(view, canvas) if painters else None
    covers = [covered_by(view)] if painters else []
    seen: list[Truth] = []
    for truth, one in zip(reversed(truths), reversed(behind), strict=True):
        if truth is not None and hidden(truth, covers, size) <= HIDDEN_SHARE:
            seen.insert(0, truth)
        covers.append(covered_by(one))
    expose(canvas, rng, gain=float(rng.uniform(0.6, 2.0)))
    return canvas, (*((payer,) if payer is not None else ()), *seen)


def bystander_view(rng: np.random.Generator, size: tuple[int, int], light: Light) -> View:
    """Somebody further back, anywhere across the picture, who looks anywhere."""
    unit = size[1] / 480
    middle = (float(rng.uniform(0.04, 0.96)) * size[0], float(rng.uniform(0.28, 0.5)) * size[1])
    view = random_view(rng, face_px=(28 * unit, 70 * unit), centre=middle, max_yaw_deg=35, max_roll_deg=10)
    return replace(view, light=light)


def covered_by(view: View) -> Covers:
    """About what a person's head hides: left, top, right, bottom in pixels."""
    half = 0.62 * view.face_px
    x, y = view.centre
    return x - half, y - 1.15 * view.face_px, x + half, y + 0.75 * view.face_px


def hidden(truth: Truth, covers: Sequence[Covers], size: tuple[int, int]) -> float:
    """The share of a face's box that lies outside the picture or behind the largest of `covers`, 0..1."""
    x, y, w, h = truth.box
    inside = _overlap((x, y, x + w, y + h), (0, 0, size[0], size[1])) / max(w * h, 1e-6)
    behind = max((_overlap((x, y, x + w, y + h), cover) for cover in covers), default=0.0) / max(w * h, 1e-6)
    return min(1.0, (1 - inside) + behind)


def _overlap(one: Covers, other: Covers) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(down, 0.0)
