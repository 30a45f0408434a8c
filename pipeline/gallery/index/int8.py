"""Scans of 8-bit codes: a quarter of the bytes of float32, and four times as many products per instruction."""

from __future__ import annotations

import numkong
import numpy as np

from pipeline.gallery.index.codes import SLACK, Coder, Floats, Probes
from pipeline.gallery.index.kernels import DenseHits, Scores
from pipeline.gallery.index.segments import Segment


class Int8Kernel(DenseHits):
    """Dot products of codes by NumKong, which finds the processor's instructions for them."""

    def __init__(self, dimension: int) -> None:
        self.coder = Coder(dimension)

    def unit(self, probes: Probes) -> Floats:
        """The product of both steps."""
        return probes.step * self.coder.step

    def error(self, probes: Probes, segment: Segment) -> Floats:
        """What coding the probe and coding the rows can make wrong."""
        return probes.residual * segment.length + probes.length * segment.residual + SLACK

    def scores(self, probes: Probes, segment: Segment, first: int, end: int) -> Scores:
        """See `Kernel.scores`."""
        return np.asarray(numkong.cdist(probes.codes, segment.codes[first:end], "dot"))
