"""Stores without people: walls, shelves of goods, counters, lamps, out of focus as behind a face at a counter."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.drawn.truth import Floats, Pixels


def background(rng: np.random.Generator, size: tuple[int, int]) -> Pixels:
    """One store, (width, height): uint8 (h, w, 3) BGR. Painted at a third of the size: it is out of focus anyway."""
    width, height = max(size[0] // 3, 16), max(size[1] // 3, 16)
    wall = rng.uniform(50, 215) * (1 + rng.normal(0, 0.06, 3))
    canvas = np.empty((height, width, 3), np.float32)
    slope = rng.normal(0, 0.25, 2)
    canvas[:] = wall
    canvas *= (
        1 + slope[0] * np.linspace(-1, 1, width)[None, :, None] + slope[1] * np.linspace(-1, 1, height)[:, None, None]
    )
    kind = rng.random()
    if kind < 0.55:
        _shelves(rng, canvas)
    elif kind < 0.8:
        _patches(rng, canvas)
    if rng.random() < 0.4:
        _lamps(rng, canvas)
    blurred = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.5, 2.2)))
    blurred = np.clip(blurred, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _shelves(rng: np.random.Generator, canvas: Floats) -> None:
    height, width = canvas.shape[:2]
    board = _colour(rng, 40, 200)
    y = int(rng.integers(0, 12))
    while y < height:
        rise = int(rng.integers(max(height // 9, 4), max(height // 4, 6)))
        x = 0
        while x < width:
            wide = int(rng.integers(3, max(width // 12, 5)))
            tall = rise * rng.uniform(0.5, 0.95)
            if rng.random() < 0.9:
                goods = _colour(rng, 15, 240)
                cv2.rectangle(canvas, (x, int(y + rise - tall)), (x + wide - 2, y + rise), goods.tolist(), -1)
                if rng.random() < 0.6:
                    middle = int(y + rise - tall * 0.55)
                    cv2.rectangle(
                        canvas,
                        (x, middle),
                        (x + wide - 2, int(middle + tall * 0.25)),
                        _colour(rng, 60, 250).tolist(),
                        -1,
                    )
            x += wide
        cv2.rectangle(canvas, (0, y + rise), (width, y + rise + 2), board.tolist(), -1)
        y += rise + 3


def _patches(rng: np.random.Generator, canvas: Floats) -> None:
    height, width = canvas.shape[:2]
    for _ in range(int(rng.integers(3, 12))):
        x, y = rng.uniform(-0.1, 0.9) * width, rng.uniform(-0.1, 0.9) * height
        w, h = rng.uniform(0.05, 0.5) * width, rng.uniform(0.05, 0.7) * height
        cv2.rectangle(canvas, (int(x), int(y)), (int(x + w), int(y + h)), _colour(rng, 20, 235).tolist(), -1)


def _lamps(rng: np.random.Generator, canvas: Floats) -> None:
    height, width = canvas.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        at = (int(rng.uniform(0, width)), int(rng.uniform(0, 0.3 * height)))
        size = (int(rng.uniform(0.05, 0.25) * width), int(rng.uniform(0.01, 0.06) * height) + 1)
        cv2.ellipse(canvas, at, size, float(rng.uniform(-12, 12)), 0, 360, (250.0, 252.0, 255.0), -1, cv2.LINE_AA)


def _colour(rng: np.random.Generator, low: float, high: float) -> npt.NDArray[np.float64]:
    """Some colour; most things in a store are not vivid."""
    vivid = 0.15 + 0.75 * rng.random() ** 2
    return np.asarray(rng.uniform(low, high) * (1 - vivid) + rng.uniform(low, high, 3) * vivid)
