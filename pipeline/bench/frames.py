"""Camera frames for benchmarks: one portrait each, set into a noisy picture of camera size.

Their content is real faces, because the work after detection depends on what is found; their noise makes their JPEGs as
large as a camera's (about 50 KB at VGA).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from loadtests.people.portraits import load_people
from pipeline.errors import InvalidMessage, UsageError
from pipeline.vision.decode import Image, decode_jpeg, read_image

WIDTH, HEIGHT = 640, 480
_NOISE = 3.0
_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture as a camera sends it, and its pixels as decoded, uint8 (480, 640, 3) BGR."""

    jpeg: bytes = field(repr=False)
    pixels: Image = field(repr=False)


def camera_frames(people: Path, count: int, *, seed: int = 1) -> list[Frame]:
    """`count` frames of as many persons of the folder, in its order; raises `UsageError` when it holds too few."""
    noise = np.random.default_rng(seed)
    frames: list[Frame] = []
    for person in load_people(people):
        if len(frames) == count:
            break
        try:
            portrait = read_image(person.photographs[0])
        except (UsageError, InvalidMessage):
            continue
        frames.append(_frame(portrait, noise))
    if len(frames) < count:
        raise UsageError(f"reading portraits from {people}: {len(frames)} of {count} were found; pass a larger folder")
    return frames


def _frame(portrait: Image, noise: np.random.Generator) -> Frame:
    scale = min(WIDTH / portrait.shape[1], HEIGHT / portrait.shape[0])
    width, height = int(portrait.shape[1] * scale), int(portrait.shape[0] * scale)
    picture = np.full((HEIGHT, WIDTH, 3), 96.0, np.float32)
    left, top = (WIDTH - width) // 2, (HEIGHT - height) // 2
    picture[top : top + height, left : left + width] = cv2.resize(portrait, (width, height))
    picture += noise.normal(0.0, _NOISE, picture.shape).astype(np.float32)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    jpeg: bytes = simplejpeg.encode_jpeg(pixels, quality=_QUALITY, colorspace="BGR")
    return Frame(jpeg, decode_jpeg(jpeg))


def pictures(frames: Sequence[Frame]) -> list[Image]:
    """The pixels of all frames."""
    return [frame.pixels for frame in frames]
