"""Where the faces are: YuNet (Wu, Peng and Yu, 2023), its anchor-free outputs decoded and thinned in numpy.

An image is scaled down to the manifest's `max_side_px` where it is larger, then padded with black at the right and
bottom to multiples of 32; images of one padded size share a batch. For each cell of three grids (strides s = 8, 16, 32;
row by row) the network gives a class score, an objectness, a box and five points: score = sqrt(cls * obj); centre =
(col + b0, row + b1) * s; size = exp(b2, b3) * s; point k = (col + p2k, row + p2k+1) * s.

Nearly all cells hold nothing. As neither factor of a score counts as more than 1, a cell whose objectness alone is
below the squared threshold is out before anything else is computed; the few others of all images are decoded together.
(The class score alone is high almost everywhere.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.vision.decode import Image
from pipeline.vision.sessions import Session, Tensor
from pipeline.vision.tensors import Pixels

STRIDES = (8, 16, 32)

TOP_CANDIDATES = 1000
"""Most cells per image that enter the suppression: it bounds the work that one crafted picture can cause."""

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The faces of one image, largest first: `boxes` (n, 4) as x, y, w, h, `landmarks` (n, 5, 2), both in pixels,
    `scores` (n,).
    """

    boxes: Floats
    landmarks: Floats
    scores: Floats


NOBODY = Detections(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of one stride that may hold a face: `image` (n,) is the index of theirs, `values` (n, 16) are cls, obj, box
    and points as the network gave them, `cell` (n,) the place in a grid of `columns`, row by row, `stride` pixels.
    """

    image: Indices
    values: Floats
    cell: Indices
    columns: int
    stride: int


class YuNet:
    """Batches of images to their faces."""

    def __init__(self, session: Session, *, score: float | None = None, nms_iou: float | None = None) -> None:
        spec = session.spec
        self._session = session
        self._pixels = Pixels(spec.input, inside=session.pixels)
        self._score = spec.thresholds["score"] if score is None else score
        self._nms_iou = spec.thresholds["nms_iou"] if nms_iou is None else nms_iou
        self._max_side = spec.max_side_px
        self._fixed = spec.input.shape[2] if spec.input.shape[2] != -1 else None

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """One `Detections` per image, in order; an image's result does not depend on its neighbours."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        fitted = [self._fit(image) for image in images]
        for index, (image, _) in enumerate(fitted):
            groups[self._padded(image)].append(index)
        cells: list[Cells] = []
        for (height, width), members in groups.items():
            pictures = [fitted[index][0] for index in members]
            for part, outputs in self._runs(pictures, height, width):
                cells += self._likely(outputs, np.array(members[part]), width)
        return self._faces(cells, [scale for _, scale in fitted])

    def _runs(self, pictures: Sequence[Image], height: int, width: int) -> list[tuple[slice, list[Tensor]]]:
        """The network's outputs for pictures of one padded size, as `Session.runs`."""
        return self._session.runs(
            len(pictures),
            lambda size: self._pixels.shape(size, height, width),
            lambda bound, part: self._pixels.fill(bound, pictures[part]),
        )

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

    def _likely(self, outputs: Sequence[Tensor], images: Indices, width: int) -> list[Cells]:
        """The cells worth a closer look in the outputs of one run, in the manifest's order (cls, obj, bbox, kps, each
        for strides 8, 16, 32); `images` are the indices of the run's rows.
        """
        found = []
        for level, stride in enumerate(STRIDES):
            objectness, count = outputs[len(STRIDES) + level], outputs[level].shape[1]
            # Rows after the images of the run are left over from another one.
            hits = np.flatnonzero(objectness[: len(images)] >= self._score**2)
            if not hits.size:
                continue
            values = np.concatenate([o.reshape(-1, o.shape[2])[hits] for o in outputs[level::3]], axis=1)
            row, cell = np.divmod(hits, count)
            found.append(Cells(images[row], values, cell, width // stride, stride))
        return found

    def _faces(self, cells: Sequence[Cells], scales: Sequence[float]) -> list[Detections]:
        """The faces of every image: `scales` has what each was scaled by."""
        faces = [NOBODY] * len(scales)
        if not cells:
            return faces
        image = np.concatenate([c.image for c in cells])
        values = np.concatenate([c.values for c in cells])
        grids = np.repeat([(c.columns, c.stride) for c in cells], [len(c.image) for c in cells], axis=0)
        row, column = np.divmod(np.concatenate([c.cell for c in cells]), grids[:, 0])
        place, stride = np.stack([column, row], axis=1).astype(np.float32), grids[:, 1:].astype(np.float32)
        factors = np.clip(values[:, :2], 0, 1)
        scores = np.sqrt(factors[:, 0] * factors[:, 1])
        # exp of a broken output may overflow to infinity: such a box is dropped below, not reported.
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.exp(values[:, 4:6]) * stride
            boxes = np.concatenate([(place + values[:, 2:4]) * stride - size / 2, size], axis=1)
            points = (values[:, 6:].reshape(-1, 5, 2) + place[:, None]) * stride[:, None]
            sound = (scores >= self._score) & np.isfinite(boxes.sum(axis=1) + points.sum(axis=(1, 2)))
        kept = np.flatnonzero(sound)
        kept = kept[np.lexsort((-scores[kept], image[kept]))]
        borders = np.searchsorted(image[kept], np.arange(len(scales) + 1))
        for index, scale in enumerate(scales):
            own = kept[borders[index] : borders[index + 1]][:TOP_CANDIDATES]
            if own.size:
                faces[index] = self._thinned(boxes[own], points[own], scores[own], scale)
        return faces

    def _thinned(self, boxes: Floats, points: Floats, scores: Floats, scale: float) -> Detections:
        """The faces of one image out of its cells, best first."""
        chosen = suppress(boxes, self._nms_iou)
        if chosen.size > 1:
            chosen = chosen[np.argsort(-(boxes[chosen, 2] * boxes[chosen, 3]), kind="stable")]
        boxes, points = boxes[chosen], points[chosen]
        if scale != 1.0:
            boxes, points = boxes / np.float32(scale), points / np.float32(scale)
        return Detections(boxes, points, scores[chosen])


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
