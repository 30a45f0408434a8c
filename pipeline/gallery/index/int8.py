"""Scans of 8-bit codes by NumKong, which finds the processor's instructions: where nothing can be compiled."""

from __future__ import annotations

import numkong
import numpy as np

from pipeline.gallery.index.codes import Coder, Probes
from pipeline.gallery.index.kernels import CodedScan, DenseHits, PlainKernel, Scan, Scores
from pipeline.gallery.index.segments import Segment


class NumKongKernel(PlainKernel):
    """Dot products of codes, all of them."""

    name = "int8 (numkong)"

    def __init__(self, dimension: int) -> None:
        self.coder = Coder(dimension)

    def scan(self, probes: Probes) -> Scan:
        """See `Kernel.scan`."""
        return _NumKongScan(self.coder, probes)


class _NumKongScan(CodedScan, DenseHits):
    def __init__(self, coder: Coder, probes: Probes) -> None:
        super().__init__(coder, probes)
        self._codes = probes.padded(coder.width)

    def scores(self, segment: Segment, first: int, end: int) -> Scores:
        """See `Scan.scores`."""
        return np.asarray(numkong.cdist(self._codes, segment.codes[first:end], "dot"))
