"""What scans a segment: approximate scores of all rows, with a bound on their error that is proved.

For a probe q with code q' and a row t with code t', `q.t - q'.t' = (q - q').t' + q.(t - t')`, so by Cauchy-Schwarz the
error is at most `|q - q'| |t'| + |q| |t - t'|`. Integer dot products of codes are exact (512 * 127^2 < 2^31). A float32
product has no codes; its error is at most `d 2^-23 |q| |t|` (Higham, Accuracy and Stability of Numerical Algorithms,
3.1, whatever the order of summation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.gallery.index.codes import SLACK, Coder, Floats, Probes
from pipeline.gallery.index.hits import Hits, View
from pipeline.gallery.index.segments import Rows, Segment

KernelName = Literal["auto", "int8", "float32", "gpu"]
Whole = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64] | Whole


class Scan(Protocol):
    """Some probes, made ready for a kernel. A score times the probe's `unit` is a similarity, wrong by at most
    `error`."""

    unit: Floats
    """(n,): the similarity that a score of 1 stands for."""

    def error(self, segment: Segment) -> Floats:
        """(n,): no similarity in this segment is further than this from its score times the unit."""
        ...

    def scores(self, segment: Segment, first: int, end: int) -> Scores:
        """(n, end - first)."""
        ...

    def hits(self, segment: Segment, first: int, end: int, floors: Floats) -> tuple[Rows, Rows, Scores]:
        """Probe, row and score wherever the score is at least the probe's floor; `floors` (n,) in scores."""
        ...


class Kernel(Protocol):
    """One way to scan. `coder` is None where it scans the vectors themselves."""

    name: str

    @property
    def coder(self) -> Coder | None:
        """Makes the codes that are scanned."""
        ...

    @property
    def one_by_one(self) -> int:
        """So many probes go one by one, by `single`, because that is quicker; 0 where there is no such way."""
        ...

    def scan(self, probes: Probes) -> Scan:
        """Makes up to 64 probes ready."""
        ...

    def single(self, probes: Probes, view: View) -> Hits:
        """Rows among which the answer for one probe is."""
        ...


class PlainKernel:
    """A kernel without a way for one probe."""

    one_by_one = 0

    def single(self, probes: Probes, view: View) -> Hits:
        """Never called."""
        raise NotImplementedError


class DenseHits:
    """Hits by way of all scores."""

    def scores(self, segment: Segment, first: int, end: int) -> Scores:
        """See `Scan.scores`."""
        raise NotImplementedError

    def hits(self, segment: Segment, first: int, end: int, floors: Floats) -> tuple[Rows, Rows, Scores]:
        """See `Scan.hits`."""
        scores = self.scores(segment, first, end)
        # Whole scores are compared with whole bounds: numpy would make a wider copy of them otherwise.
        bounds = whole(floors) if scores.dtype == np.int32 else floors
        at = np.flatnonzero(scores >= bounds[:, None])
        probe, row = np.divmod(at, end - first)
        return probe, row + first, scores.ravel()[at]


def whole(floors: Floats) -> Whole:
    """The least whole scores that are not below `floors`."""
    limits = np.iinfo(np.int32)
    return np.ceil(floors).clip(limits.min, limits.max).astype(np.int32)


class CodedScan:
    """Unit and error of 8-bit codes."""

    def __init__(self, coder: Coder, probes: Probes) -> None:
        self.unit = probes.step * coder.step
        self._probes = probes

    def error(self, segment: Segment) -> Floats:
        """What coding the probe and coding the rows can make wrong."""
        return self._probes.residual * segment.length + self._probes.length * segment.residual + SLACK


class Float32Kernel(PlainKernel):
    """One float32 matrix product over the vectors themselves: everywhere, and without codes."""

    name = "float32"
    coder = None

    def scan(self, probes: Probes) -> Scan:
        """See `Kernel.scan`."""
        return _Float32Scan(probes)


@dataclass
class _Float32Scan(DenseHits):
    _probes: Probes

    def __post_init__(self) -> None:
        self.unit = np.ones(len(self._probes))
        self._vectors = self._probes.exact.astype(np.float32)

    def error(self, segment: Segment) -> Floats:
        """Rounding only."""
        rounding: float = self._vectors.shape[1] * 2.0**-23
        return self._probes.length * segment.length * rounding + SLACK

    def scores(self, segment: Segment, first: int, end: int) -> Scores:
        """See `Scan.scores`."""
        return np.asarray(self._vectors @ segment.vectors[first:end].astype(np.float32, copy=False).T)
