"""What the engine does around its models, part by part, as an agent pays for it: with caches that a model has emptied.

Before each measurement the detector runs once: its 10 ms leave nothing of pictures and buffers in the caches near the
processor, and the same work costs two to four times as much as in a loop of its own. CPU of the calling thread. Two
floors stand beside: reading a picture and writing the detector's input, each once and in order, without looking at
them; and the bare warp with the picture still in the cache.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.bench.bare import TapedEngine
from pipeline.vision.align import SIDE_PX, align, qualities, similarities
from pipeline.vision.decode import Image
from pipeline.vision.tensors import Pixels


def glue_parts(taped: TapedEngine, images: Sequence[Image], rounds: int) -> Mapping[str, float]:
    """By part, microseconds of CPU per picture with one face: medians of the rounds. Each image has a face."""
    detector, embedder = taped.sessions[:2]
    landmarks = np.stack([found[0].landmarks for found in taped.engine.faces(images)])
    aligned, transforms = align(images, landmarks), similarities(landmarks)
    height, width = images[0].shape[:2]
    whole, part = (
        Pixels(detector.spec.input, inside=detector.pixels),
        Pixels(embedder.spec.input, inside=embedder.pixels),
    )
    bound = detector.bound(whole.shape(1, height, width))
    small = [embedder.bound(part.shape(1, SIDE_PX, SIDE_PX), slot) for slot in range(len(images))]
    warped = np.empty_like(aligned[0])

    def cold(work: Callable[[], object]) -> float:
        detector.run_bound(bound)
        began = time.thread_time()
        work()
        return time.thread_time() - began

    def each(work: Callable[[Image], object]) -> float:
        return sum(cold(lambda image=image: work(image)) for image in images)  # type: ignore[misc]

    def warp(image: Image, transform: npt.NDArray[np.float64]) -> float:
        began = time.thread_time()
        cv2.warpAffine(image, transform, (SIDE_PX, SIDE_PX), warped, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        return time.thread_time() - began

    def warm_warps() -> float:
        # The first of two fills the cache.
        return sum((warp(*each), warp(*each))[1] for each in zip(images, transforms, strict=True))

    def fill_all() -> None:
        for target, face in zip(small, aligned, strict=True):
            part.fill(target, [face])

    def touch(image: Image) -> None:
        image.max()
        np.copyto(bound.input, 0)

    parts: dict[str, Callable[[], float]] = {
        "pixels": lambda: each(lambda image: whole.fill(bound, [image])),
        "pixels_floor": lambda: each(touch),
        "align": lambda: cold(lambda: align(images, landmarks)),
        "align_floor": warm_warps,
        "quality": lambda: cold(lambda: qualities(landmarks, aligned)),
        "embedder_input": lambda: cold(fill_all),
    }
    samples = [{name: measure() / len(images) * 1e6 for name, measure in parts.items()} for _ in range(rounds + 1)][1:]
    return {f"{name}_cpu_us": statistics.median(sample[name] for sample in samples) for name in parts}
