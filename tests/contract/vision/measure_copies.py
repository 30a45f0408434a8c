"""How often copies are found and fresh frames are taken for copies: the figures of docs/how-it-works.md.

    python -m tests.contract.vision.measure_copies ../shared/faces/congress [PORTRAITS]

Portraits become still scenes with fresh noise, and scenes in motion (`loadtests.motion`); copies are compressed again,
some of them brightened or darkened. Each picture is looked at as the embedding agent does.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from loadtests.motion import Motion, portrait
from pipeline.vision.copies import Fingerprint, RecentPictures, fingerprint
from pipeline.vision.decode import Image, decode_jpeg
from pipeline.vision.faces import Box

FACE = Box(240, 130, 150, 190)
CAMERA_QUALITIES = (75, 85, 90, 95)
COPY_QUALITIES = (50, 60, 70, 75, 80, 85, 90, 95)
LIGHTS = ((1.0, 0), (0.85, 6), (1.1, -10), (1.05, 0))
"""Gain and offset; the first leaves the picture as it is."""


def shot(pixels: Image, quality: int) -> Fingerprint:
    """What the agent keeps of a camera's picture."""
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "BGR", "420")
    return fingerprint(decode_jpeg(jpeg), jpeg)


def taken(shown: list[Fingerprint], new: Fingerprint) -> bool:
    """Whether a camera that has shown those pictures shows one of them again."""
    recent = RecentPictures(len(shown))
    for each in shown:
        recent.seen_before(0, "camera", each, FACE)
    return recent.seen_before(0, "camera", new, FACE)


def still(file: Path, grey: int) -> Image:
    """The portrait before a wall, without noise, uint8 (480, 640, 3)."""
    face = portrait(file)
    scaled = cv2.resize(face, (round(face.shape[1] * 430 / face.shape[0]), 430))[:, :640]
    canvas = np.full((480, 640, 3), grey, np.uint8)
    left = (640 - scaled.shape[1]) // 2
    canvas[25:455, left : left + scaled.shape[1]] = scaled
    return canvas


def main(folder: Path, portraits: int) -> None:
    """Prints how many of each kind were taken for copies."""
    rng = np.random.default_rng(3)
    counts: dict[str, list[bool]] = defaultdict(list)
    for number, file in enumerate(sorted(folder.rglob("*.jpg"))[:portraits]):
        motion = Motion(portrait(file), seed=number)
        for name, step_s in (("fresh, moving", 0.2), ("fresh, 5 ms apart", 0.005)):
            frames = [shot(motion.frame(index, index * step_s), 85) for index in range(8)]
            counts[name] += [taken(frames[:n], frames[n]) for n in range(1, 8)]
        scene = still(file, 150 + 3 * number)
        for sigma in (0.8, 1.0, 2.0, 3.0):
            for quality in CAMERA_QUALITIES:
                seen = [np.clip(np.rint(scene + rng.normal(0, sigma, scene.shape)), 0, 255) for _ in range(4)]
                frames = [shot(np.asarray(each, np.uint8), quality) for each in seen]
                counts[f"fresh, still, noise {sigma}, quality {quality}"] += [
                    taken(frames[:n], frames[n]) for n in range(1, 4)
                ]
                jpeg = simplejpeg.encode_jpeg(np.asarray(seen[0], np.uint8), quality, "BGR", "420")
                first = [fingerprint(decode_jpeg(jpeg), jpeg)]
                for again in COPY_QUALITIES:
                    for gain, offset in LIGHTS:
                        lit = cv2.convertScaleAbs(decode_jpeg(jpeg), alpha=gain, beta=offset)
                        kind = "copy" if gain == 1.0 else "copy, other light"
                        counts[f"{kind}, quality {again}"].append(taken(first, shot(np.asarray(lit, np.uint8), again)))
    for name, flags in sorted(counts.items()):
        sys.stdout.write(f"{name:40s} {sum(flags):6d} of {len(flags):6d} taken for a copy\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 24)
