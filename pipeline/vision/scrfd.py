"""Where the faces are: SCRFD (Guo et al., 2021), as InsightFace exports it, in the terms of YuNet.

The network looks at RGB, (pixel - 127.5) / 128, and puts two anchors on each cell of three grids (strides s = 8, 16,
32; row by row, both anchors of a cell beside each other). Per anchor it gives a score, the distances from the cell's
corner (col, row) * s to the box's left, top, right and bottom, and five points relative to that corner, all in strides.
The nine outputs stand in the order score, box, points, each for the three strides; files exported for one image leave
out the batch's axis. A box of distances (l, t, r, b) is YuNet's box of offset ((r - l) / 2, (b - t) / 2) and size
exp(log(l + r), log(t + b)), so that everything after the outputs is YuNet's own: thinning, bounds, refusal of numbers
that are not finite.

InsightFace offers its weights for non-commercial research. None was at hand: this adapter was never run with real ones.
Tests run it on graphs whose faces are known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.vision.bindings import Tensor
from pipeline.vision.detector import STRIDES, Cells, Indices, YuNet

ANCHORS = 2


class Scrfd(YuNet):
    """Batches of images to their faces."""

    def _likely(self, outputs: Sequence[Tensor], images: Indices, width: int) -> list[Cells]:
        """The anchors that reach the score in the outputs of one run, as YuNet's cells."""
        found = []
        for level, stride in enumerate(STRIDES):
            score, box, points = (output.reshape(-1, output.shape[-1]) for output in outputs[level :: len(STRIDES)])
            per_image = len(score) // (outputs[level].shape[0] if outputs[level].ndim == 3 else 1)
            # Rows after the images of the run are left over from another one.
            hits = np.flatnonzero(score[: per_image * len(images), 0] >= self._score)
            if not hits.size:
                continue
            left, top, right, bottom = box[hits].T
            # A box without an inside has no logarithm: not a number, which is dropped later.
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                boxes = [(right - left) / 2, (bottom - top) / 2, np.log(left + right), np.log(top + bottom)]
            # The score is sqrt(cls * obj): here both are the one that the network gives.
            values = np.column_stack([score[hits], score[hits], *boxes, points[hits]]).astype(np.float32, copy=False)
            row, anchor = np.divmod(hits, per_image)
            found.append(Cells(images[row], values, anchor // ANCHORS, width // stride, stride))
        return found
