"""Is this a bona fide face or a presentation attack (a print, a screen)? MiniFASNet models, fused.

Each model looks at its own cut-out around the detector's box. The fused score is the weighted sum that the manifest's
fusion says; it exists only when all of its models answered, because its threshold means nothing for fewer. Whether that
threshold was proven stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.vision.decode import Image
from pipeline.vision.faces import Box
from pipeline.vision.models import CropContract, FusionSpec
from pipeline.vision.sessions import Session, Tensor
from pipeline.vision.tensors import Pixels

FUSED = "fused"


class Liveness:
    """Scores faces with every liveness model that it was given, and fuses them as `fusion` says."""

    def __init__(self, sessions: Sequence[Session], fusion: FusionSpec | None = None) -> None:
        self._models = [(session, Pixels(session.spec.input, inside=session.pixels)) for session in sessions]
        self._weights = {} if fusion is None else fusion.weights

    def score(self, images: Sequence[Image], boxes: Sequence[Box]) -> list[dict[str, float]]:
        """For `boxes[i]` in `images[i]`: the probability of a live face by model name, and `fused` when there is a
        fusion and all of its models answered.
        """
        scores: list[dict[str, float]] = [{} for _ in boxes]
        for session, pixels in self._models:
            for score, live in zip(scores, _run(session, pixels, images, boxes).tolist(), strict=True):
                score[session.spec.name] = live
        for score in scores:
            fused = fuse(score, self._weights)
            if fused is not None:
                score[FUSED] = fused
        return scores


def fuse(scores: Mapping[str, float], weights: Mapping[str, float]) -> float | None:
    """The weighted sum; None without weights, or unless each weighted score is there and finite."""
    if not weights or not all(math.isfinite(scores.get(name, math.nan)) for name in weights):
        return None
    return sum(weight * scores[name] for name, weight in weights.items())


def _run(session: Session, pixels: Pixels, images: Sequence[Image], boxes: Sequence[Box]) -> Tensor:
    """Probability of the live class, float32 (n,)."""
    spec = session.spec
    assert spec.crop is not None, "every liveness model of the manifest has a crop"  # noqa: S101 - a test holds the manifest to it
    side = spec.input.shape[2]
    result = np.empty(len(boxes), np.float32)
    seen = [cut_out(image, box, spec.crop, side) for image, box in zip(images, boxes, strict=True)]
    for part, outputs in session.runs(
        len(boxes), lambda size: pixels.shape(size, side, side), lambda bound, part: pixels.fill(bound, seen[part])
    ):
        answers = outputs[0][: part.stop - part.start]
        result[part] = (_softmax(answers) if spec.softmax else answers)[:, spec.live_class]
    return result


def cut_out(image: Image, box: Box, crop: CropContract, side_px: int) -> Image:
    """What a model sees of a face: uint8 (side_px, side_px, 3)."""
    return (
        _shifted(image, box, crop.scale, side_px)
        if crop.kind == "shifted"
        else _square(image, box, crop.scale, side_px)
    )


def _shifted(image: Image, box: Box, scale: float, side_px: int) -> Image:
    """The box widened `scale` times, less where the picture is too small, and shifted to lie inside it."""
    height, width = image.shape[:2]
    scale = min(scale, (height - 1) / max(box.h, 1.0), (width - 1) / max(box.w, 1.0))
    wide, high = max(box.w, 1.0) * scale, max(box.h, 1.0) * scale
    left = min(max(box.x + box.w / 2 - wide / 2, 0.0), width - 1 - wide)
    top = min(max(box.y + box.h / 2 - high / 2, 0.0), height - 1 - high)
    # The models were trained on corners cut down to whole pixels, both corners included.
    inside = image[int(top) : int(top + high) + 1, int(left) : int(left + wide) + 1]
    return np.asarray(cv2.resize(inside, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def _square(image: Image, box: Box, scale: float, side_px: int) -> Image:
    """A square of `scale` times the longer side around the box's middle; what lies outside the picture is mirrored into
    it.
    """
    height, width = image.shape[:2]
    longer = max(box.w, box.h, 1.0)
    side = max(int(longer * scale), 1)
    # A middle outside the picture would leave nothing to mirror.
    middle_x = min(max(box.x + box.w / 2, 0.0), width - 1.0)
    middle_y = min(max(box.y + box.h / 2, 0.0), height - 1.0)
    left, top = int(middle_x - longer * scale / 2), int(middle_y - longer * scale / 2)
    inside = image[max(top, 0) : max(top + side, 1), max(left, 0) : max(left + side, 1)]
    outside = max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0)
    padded = cv2.copyMakeBorder(inside, *outside, cv2.BORDER_REFLECT_101) if any(outside) else inside
    interpolation = cv2.INTER_AREA if padded.shape[0] > side_px else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(padded, (side_px, side_px), interpolation=interpolation), np.uint8)


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
