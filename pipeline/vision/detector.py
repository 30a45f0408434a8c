"""Where the faces are: YuNet (Wu, Peng and Yu, 2023), its anchor-free outputs decoded and thinned in numpy.

An image is scaled down to the manifest's `max_side_px` where it is larger, then padded with black at the right and
bottom to multiples of 32; images of one padded size share a batch. For each cell of three grids (strides s = 8, 16, 32;
row by row) the network gives a class score, an objectness, a box and five points: score = sqrt(cls * obj); centre =
(col + b0, row + b1) * s; size = exp(b2, b3) * s; point k = (col + p2k, row + p2k+1) * s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.vision.decode import Image
from pipeline.vision.sessions import Session, Tensor, chunks
from pipeline.vision.tensors import Planes

STRIDES = (8, 16, 32)

TOP_CANDIDATES = 1000
"""Most cells per image that enter the suppression: it bounds the work that one crafted picture can cause."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The faces of one image, largest first: `boxes` (n, 4) as x, y, w, h, `landmarks` (n, 5, 2), both in pixels,
    `scores` (n,).
    """

    boxes: Floats
    landmarks: Floats
    scores: Floats


class YuNet:
    """Batches of images to their faces."""

    def __init__(self, session: Session, *, score: float | None = None, nms_iou: float | None = None) -> None:
        spec = session.spec
        self._session = session
        self._planes = Planes(spec.input)
        self._score = spec.thresholds["score"] if score is None else score
        self._nms_iou = spec.thresholds["nms_iou"] if nms_iou is None else nms_iou
        self._max_side = spec.max_side_px
        self._fixed = spec.input.shape[2] if spec.input.shape[2] != -1 else None
        # On a CPU several images at once are slower per image than one (the activations leave the cache): 12.9 against
        # 9.8 ms.
        self._batch = session.max_batch if session.on_gpu else 1

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """One `Detections` per image, in order; an image's result does not depend on its neighbours."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        fitted = [self._fit(image) for image in images]
        for index, (image, _) in enumerate(fitted):
            groups[self._padded(image)].append(index)
        found: list[Detections | None] = [None] * len(images)
        for (height, width), members in groups.items():
            for part in chunks(len(members), self._batch):
                indices = members[part]
                batch = np.zeros((len(indices), 3, height, width), np.float32)
                for row, index in enumerate(indices):
                    self._planes.write(fitted[index][0], batch[row])
                outputs = self._session.run(batch)
                for row, index in enumerate(indices):
                    found[index] = self._decode([output[row] for output in outputs], height, width, fitted[index][1])
        return [detections for detections in found if detections is not None]

    def _fit(self, image: Image) -> tuple[Image, float]:
        """The image as the network takes it, no side above the manifest's `max_side_px`, and the scale that was
        applied.
        """
        longest = max(image.shape[:2])
        if self._max_side is None or longest <= self._max_side:
            return image, 1.0
        scale = self._max_side / longest
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8), scale

    def _padded(self, image: Image) -> tuple[int, int]:
        if self._fixed is not None:
            return self._fixed, self._fixed
        height, width = image.shape[:2]
        return -(-height // 32) * 32, -(-width // 32) * 32

    def _decode(self, outputs: Sequence[Tensor], height: int, width: int, scale: float) -> Detections:
        """The outputs of one image, in the manifest's order (cls, obj, bbox, kps, each for strides 8, 16, 32), to its
        faces.
        """
        cls, obj, box, kps = (np.concatenate(outputs[start : start + 3]) for start in (0, 3, 6, 9))
        scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        keep = np.flatnonzero(scores >= self._score)
        keep = keep[np.argsort(-scores[keep], kind="stable")][:TOP_CANDIDATES]
        cells, strides = _grid(height, width)
        cell, stride, deltas = cells[keep], strides[keep, None], box[keep]
        # exp of a broken output may overflow to infinity: such a box is dropped below, not reported.
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.exp(deltas[:, 2:]) * stride
            boxes = np.hstack([(cell + deltas[:, :2]) * stride - size / 2, size])
        points = (kps[keep].reshape(-1, 5, 2) + cell[:, None]) * stride[:, None]
        sound = np.isfinite(boxes).all(axis=1) & np.isfinite(points).all(axis=(1, 2))
        boxes, points, scores = boxes[sound], points[sound], scores[keep][sound]
        chosen = suppress(boxes, self._nms_iou)
        chosen = chosen[np.argsort(-(boxes[chosen, 2] * boxes[chosen, 3]), kind="stable")]
        return Detections(boxes[chosen] / np.float32(scale), points[chosen] / np.float32(scale), scores[chosen])


def suppress(boxes: Floats, iou: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes (x, y, w, h; best first) that overlap no better kept one by
    more than `iou`, in the given order.
    """
    x, y, w, h = boxes.T
    right, bottom, area = x + w, y + h, w * h
    left = np.arange(len(boxes))
    kept: list[int] = []
    while left.size:
        best, rest = int(left[0]), left[1:]
        kept.append(best)
        across = np.minimum(right[best], right[rest]) - np.maximum(x[best], x[rest])
        down = np.minimum(bottom[best], bottom[rest]) - np.maximum(y[best], y[rest])
        shared = np.clip(across, 0, None) * np.clip(down, 0, None)
        left = rest[shared <= iou * (area[best] + area[rest] - shared)]
    return np.array(kept, dtype=np.intp)


@lru_cache(maxsize=16)
def _grid(height: int, width: int) -> tuple[Floats, Floats]:
    """For an input of this size: each cell's column and row, float32 (n, 2), and its stride, float32 (n,)."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[0 : height // stride, 0 : width // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full(rows.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)
