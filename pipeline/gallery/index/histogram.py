"""How like the rest of the gallery some vectors are, counted from a scan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.gallery.index.codes import Probes
from pipeline.gallery.index.hits import View
from pipeline.gallery.index.kernels import Kernel
from pipeline.gallery.index.segments import Rows
from pipeline.ports import Vector

_ROWS_AT_ONCE = 2048


def histogram(kernel: Kernel, vectors: Vector, own: Rows, edges: Vector, view: View) -> npt.NDArray[np.int64]:
    """See `ExactIndex.histogram`; `own` (n,): payer codes, -1 for a payer who has no template."""
    scan = kernel.scan(Probes.of(vectors))
    unit = scan.unit[:, None]
    counts = np.zeros((len(vectors), len(edges) - 1), np.int64)
    inner = edges[1:-1].astype(np.float64)
    for segment, count in view.parts:
        error = scan.error(segment)[:, None]
        for first in range(0, count, _ROWS_AT_ONCE):
            end = min(count, first + _ROWS_AT_ONCE)
            upper = scan.scores(segment, first, end) * unit + error
            counted = segment.dead[first:end] > view.moment
            others = counted & (segment.payer_of[first:end] != own[:, None])
            for number, (row, chosen) in enumerate(zip(upper, others, strict=True)):
                bins = np.searchsorted(inner, row[chosen], side="right")
                counts[number] += np.bincount(bins, minlength=counts.shape[1])
    return counts
