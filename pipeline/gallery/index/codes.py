"""Vectors as 8-bit codes of one scale, and how far each is from its code.

The components of a unit vector in the protected space are about normal with deviation 1/sqrt(d), because the space is
turned at random. So one scale serves all rows, and a scan compares plain integers: a code is `round(x / step)`, held to
+-127, with 127 steps = `REACH` deviations. What is cut off and what is rounded away is not estimated but measured: the
residual of a row is the length of vector minus code, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

REACH = 5.0
"""Deviations that a code reaches. Less cuts more off (in 8,192 rows of 512 some lie beyond 5), more is coarser."""
STEPS = 127
SLACK = 1e-7
"""More than the rounding of all float64 arithmetic on lengths and scores of unit vectors (about d * 2^-53)."""

Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coded:
    """Codes int8 (n, d), the largest distance of a vector from its code, and the length of the longest code."""

    codes: Codes
    residual: float
    length: float


@dataclass(frozen=True, slots=True)
class Coder:
    """Codes for templates of one dimension."""

    dimension: int

    @property
    def step(self) -> float:
        """What one unit of a code stands for."""
        return min(1.0, REACH / float(np.sqrt(self.dimension))) / STEPS

    def code(self, vectors: npt.NDArray[np.floating]) -> Coded:
        """Codes of `vectors` (n, d)."""
        exact = vectors.astype(np.float64)
        codes = np.rint(exact / self.step).clip(-STEPS, STEPS)
        decoded = codes * self.step
        return Coded(
            codes.astype(np.int8),
            float(np.linalg.norm(exact - decoded, axis=1).max(initial=0.0)),
            float(np.linalg.norm(decoded, axis=1).max(initial=0.0)),
        )


@dataclass(frozen=True, slots=True)
class Probes:
    """A few probes as a scan takes them: `exact` float64 (n, d), `codes` int8 (n, d) with a step of each one's own, so
    that nothing is cut off; `residual` and `length` float64 (n,): distance from the code, and of the probe itself."""

    exact: Floats
    codes: Codes
    step: Floats
    residual: Floats
    length: Floats

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32]) -> Probes:
        """From float32 (n, d)."""
        exact = vectors.astype(np.float64)
        largest = np.abs(exact).max(axis=1, initial=0.0)
        step = np.where(largest > 0, largest, 1.0) / STEPS
        codes = np.rint(exact / step[:, None])
        residual = np.linalg.norm(exact - codes * step[:, None], axis=1)
        return cls(exact, codes.astype(np.int8), step, residual, np.linalg.norm(exact, axis=1))
