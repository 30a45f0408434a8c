"""A photograph to what a camera at a counter would see: frames in which somebody stands, moves and breathes.

Each frame is a plain wall with one or two portraits on it: a small pan, zoom and rotation along smooth curves, a light
that drifts, sensor noise. `Scene` says how far away they stand. Equal seeds give equal frames. Pixels are uint8
(480, 640, 3) BGR.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from pipeline.errors import OutsideError

Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480
JPEG_QUALITY = 85
_FEATHER = 0.03
_NOISE_LEVELS = 3.0


class Scene(StrEnum):
    """Who stands where."""

    FAR = "far"
    NEAR = "near"
    CLOSE = "close"
    TWO = "two"


_HEIGHTS_PX: Mapping[Scene, float] = MappingProxyType(
    {Scene.FAR: 85, Scene.NEAR: 430, Scene.CLOSE: 640, Scene.TWO: 330}
)
"""Height of a portrait in the frame: some steps away (faces below 45 pixels), at the counter (100 to 200), bent over
it, or two side by side."""


@lru_cache(maxsize=256)
def portrait(path: Path) -> Pixels:
    """The picture in a file, uint8 (h, w, 3) BGR; raises `OutsideError`."""
    try:
        found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise OutsideError(f"reading the portrait {path}: {error.strerror}") from None
    if found is None:
        raise OutsideError(f"reading the portrait {path}: it is no picture that OpenCV can read")
    return np.asarray(found, np.uint8)


@lru_cache(maxsize=1)
def _noise() -> tuple[Pixels, Pixels]:
    """Sensor noise (2 h, 2 w, 3), what it adds and what it takes, cut at a new place for each frame: drawing it anew
    would cost more than the scene."""
    drawn = np.random.default_rng(7).normal(0, _NOISE_LEVELS, (2 * HEIGHT, 2 * WIDTH, 3))
    return np.asarray(np.clip(drawn, 0, 255), np.uint8), np.asarray(np.clip(-drawn, 0, 255), np.uint8)


class Motion:
    """One visit of one person (and a companion, in `Scene.TWO`) before one camera."""

    def __init__(self, face: Pixels, *, seed: int, companion: Pixels | None = None) -> None:
        draw = random.Random(seed)
        self._draw_at = draw.randrange(1 << 30)
        grey = draw.randrange(150, 205)
        self._wall = (grey + draw.randrange(-14, 15), grey + draw.randrange(-14, 15), grey + draw.randrange(-14, 15))
        faces = [face] if companion is None else [face, companion]
        # Fading a portrait into the wall once, before it moves, leaves one warp per frame.
        self._faces = [_faded(each, self._wall) for each in faces]
        self._phases = [[draw.uniform(0, math.tau) for _ in range(5)] for _ in faces]
        self._speeds = [draw.uniform(1.2, 2.2) for _ in faces]

    def frame(self, index: int, at_s: float, scene: Scene = Scene.NEAR) -> Pixels:
        """What the camera sees `at_s` seconds into the visit. `index` chooses the noise."""
        pair = scene is Scene.TWO and len(self._faces) > 1
        matrix = self._where(0, at_s, _HEIGHTS_PX[scene], WIDTH * (0.27 if pair else 0.5))
        size = (WIDTH, HEIGHT)
        canvas = cv2.warpAffine(self._faces[0], matrix, size, borderMode=cv2.BORDER_CONSTANT, borderValue=self._wall)
        if pair:
            matrix = self._where(1, at_s, _HEIGHTS_PX[scene], WIDTH * 0.73)
            cv2.warpAffine(self._faces[1], matrix, size, dst=canvas, borderMode=cv2.BORDER_TRANSPARENT)
        light = 1.0 + 0.06 * math.sin(0.9 * at_s + self._phases[0][4])
        draw = random.Random(self._draw_at + index)
        top, left = draw.randrange(HEIGHT), draw.randrange(WIDTH)
        lit = cv2.convertScaleAbs(canvas, alpha=light)
        more, less = (each[top : top + HEIGHT, left : left + WIDTH] for each in _noise())
        return np.asarray(cv2.subtract(cv2.add(lit, more), less), np.uint8)

    def _where(self, who: int, at_s: float, height_px: float, centre_x: float) -> npt.NDArray[np.float64]:
        """The affine map (2, 3) from the portrait to the frame at that moment."""
        pan, tilt, zoom, turn, _ = self._phases[who]
        t = at_s * self._speeds[who]
        h, w = self._faces[who].shape[:2]
        scale = height_px / h * (1 + 0.03 * math.sin(t + zoom))
        angle = math.radians(3.5 * math.sin(0.8 * t + turn))
        swing = 12 * height_px / _HEIGHTS_PX[Scene.NEAR]
        x = centre_x + swing * math.sin(t + pan)
        y = HEIGHT * 0.5 + swing * 0.6 * math.sin(0.7 * t + tilt)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        return np.array(
            [[cos, -sin, x - cos * w / 2 + sin * h / 2], [sin, cos, y - sin * w / 2 - cos * h / 2]], np.float64
        )


def _faded(face: Pixels, wall: tuple[int, int, int]) -> Pixels:
    """The portrait with its borders faded into the colour of the wall."""
    h, w = face.shape[:2]
    rows = np.minimum(np.arange(h), np.arange(h)[::-1])[:, None]
    columns = np.minimum(np.arange(w), np.arange(w)[::-1])[None, :]
    mask = np.clip(np.minimum(rows, columns) / (_FEATHER * h), 0, 1)[..., None]
    return np.asarray(wall + (face - np.array(wall, np.float32)) * mask, np.uint8)


def encode_jpeg(pixels: Pixels, quality: int = JPEG_QUALITY) -> bytes:
    """The frame as a camera would send it."""
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "BGR", "420")
    return encoded


def thumbnail(picture: bytes, width_px: int, quality: int = 70) -> bytes:
    """A small JPEG of a picture file's bytes for a report; raises `OutsideError` when it is no picture."""
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OutsideError("making a thumbnail: the bytes are no picture that OpenCV can read")
    height_px = round(pixels.shape[0] * width_px / pixels.shape[1])
    small = cv2.resize(pixels, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(small, np.uint8), quality)
