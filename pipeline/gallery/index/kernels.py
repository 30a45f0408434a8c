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

from pipeline.errors import UsageError
from pipeline.gallery.index.codes import SLACK, Coder, Floats, Probes
from pipeline.gallery.index.segments import Rows, Segment

KernelName = Literal["auto", "int8", "float32", "gpu"]
Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.int32]


class Kernel(Protocol):
    """One way to scan. A score times the probe's `unit` is a similarity, wrong by at most `error`."""

    def unit(self, probes: Probes) -> Floats:
        """(n,): the similarity that a score of 1 stands for."""
        ...

    def error(self, probes: Probes, segment: Segment) -> Floats:
        """(n,): no similarity in this segment is further than this from its score times the unit."""
        ...

    def scores(self, probes: Probes, segment: Segment, first: int, end: int) -> Scores:
        """(n, end - first)."""
        ...

    def hits(self, probes: Probes, segment: Segment, first: int, end: int, floors: Floats) -> tuple[Rows, Rows, Scores]:
        """Probe, row and score wherever the score is at least the probe's floor; `floors` (n,) in scores."""
        ...


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a machine scans with: one kernel for few probes, one for many. `coder`: None if it scans no codes."""

    name: str
    coder: Coder | None
    few: Kernel
    many: Kernel
    few_probes: int

    def of(self, probes: int) -> Kernel:
        """The quicker kernel for so many probes."""
        return self.few if probes <= self.few_probes else self.many


def kernels(name: KernelName, dimension: int) -> Kernels:
    """The kernels of that name; raises `UsageError` if this machine has not what they need."""
    if name == "gpu":
        raise UsageError("searching on a GPU: this version has no kernel for it; choose int8 or float32")
    if name != "float32":
        try:
            from pipeline.gallery.index import int8
        except ImportError as error:
            if name == "int8":
                raise UsageError(
                    f"searching with 8-bit codes: {error}; install numkong, or choose the kernel float32"
                ) from None
        else:
            kernel = int8.Int8Kernel(dimension)
            return Kernels("int8", kernel.coder, kernel, kernel, 0)
    plain = Float32Kernel()
    return Kernels("float32", None, plain, plain, 0)


class DenseHits:
    """Hits by way of all scores."""

    def scores(self, probes: Probes, segment: Segment, first: int, end: int) -> Scores:
        """See `Kernel.scores`."""
        raise NotImplementedError

    def hits(self, probes: Probes, segment: Segment, first: int, end: int, floors: Floats) -> tuple[Rows, Rows, Scores]:
        """See `Kernel.hits`."""
        scores = self.scores(probes, segment, first, end)
        # Whole scores are compared with whole bounds: numpy would make a wider copy of them otherwise.
        bounds = whole(floors) if scores.dtype == np.int32 else floors
        at = np.flatnonzero(scores >= bounds[:, None])
        probe, row = np.divmod(at, end - first)
        return probe, row + first, scores.ravel()[at]


def whole(floors: Floats) -> npt.NDArray[np.int32]:
    """The least whole scores that are not below `floors`."""
    limits = np.iinfo(np.int32)
    return np.ceil(floors).clip(limits.min, limits.max).astype(np.int32)


class Float32Kernel(DenseHits):
    """One float32 matrix product over the vectors themselves: everywhere, and without codes."""

    def unit(self, probes: Probes) -> Floats:
        """A score is a similarity."""
        return np.ones(len(probes.exact))

    def error(self, probes: Probes, segment: Segment) -> Floats:
        """Rounding only."""
        rounding: float = probes.exact.shape[1] * 2.0**-23
        return probes.length * segment.length * rounding + SLACK

    def scores(self, probes: Probes, segment: Segment, first: int, end: int) -> Scores:
        """See `Kernel.scores`."""
        rows = segment.vectors[first:end].astype(np.float32, copy=False)
        return np.asarray(probes.exact.astype(np.float32) @ rows.T)
