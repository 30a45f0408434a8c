"""Vectors as 8-bit codes of one scale (and 4-bit codes made of those), and how far each is from its code.

The components of a unit vector in the protected space are about normal with deviation 1/sqrt(d), because the space is
turned at random. So one scale serves all rows, and a scan compares plain integers: a code is `round(x / step)`, held
to +-127, with 127 steps = `REACH` deviations. A 4-bit code is one of 16 levels, those with the least mean squared error
for normal components. What is cut off and what is rounded away is not estimated but measured: the residual of a row is
the length of vector minus code, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

REACH = 5.5
"""Deviations that a code reaches. Less cuts more off (in 16,384 rows of 512 some lie beyond 5), more is coarser."""
STEPS = 127
SLACK = 1e-7
"""More than the rounding of all float64 arithmetic on lengths and scores of unit vectors (about d * 2^-53)."""
WIDTH = 128
"""Codes are as long as a multiple of this, with zeros at the end, so that loops have no remainder."""

# Max, Quantizing for Minimum Distortion, IRE Transactions on Information Theory 6 (1960), table I, 16 levels.
_NORMAL_LEVELS = (0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733)

Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coded:
    """Of n rows: `codes` int8 (n, width); `residual`, the largest distance of a vector from its code, and `length`,
    that of the longest code. `halves` uint8 (n, width / 2), 4-bit codes; `residuals` float32 (n,), no less than each
    row's distance from them; `half_length`, that of the longest."""

    codes: Codes
    residual: float
    length: float
    halves: npt.NDArray[np.uint8]
    residuals: npt.NDArray[np.float32]
    half_length: float


@dataclass(frozen=True)
class Coder:
    """Codes for templates of one dimension; 4-bit ones only if `coarse`."""

    dimension: int
    coarse: bool = False

    @property
    def width(self) -> int:
        """Numbers of a code: the dimension, and zeros up to a multiple of `WIDTH`."""
        return -(-self.dimension // WIDTH) * WIDTH

    @cached_property
    def step(self) -> float:
        """What one unit of a code stands for."""
        return min(1.0, REACH / float(np.sqrt(self.dimension))) / STEPS

    @cached_property
    def level_step(self) -> float:
        """What one unit of a level stands for."""
        return _NORMAL_LEVELS[-1] / float(np.sqrt(self.dimension)) / STEPS

    @cached_property
    def levels(self) -> npt.NDArray[np.int16]:
        """The level of each 4-bit code, (16,), ascending, -127 to 127."""
        upper = np.rint(np.array(_NORMAL_LEVELS) * (STEPS / _NORMAL_LEVELS[-1])).astype(np.int16)
        return np.concatenate([-upper[::-1], upper])

    @cached_property
    def _nearest(self) -> npt.NDArray[np.uint8]:
        """The 4-bit code next to each 8-bit code, (256,), by its bits."""
        values = np.arange(256, dtype=np.uint8).view(np.int8)
        between = (self.levels[1:] + self.levels[:-1]) * (self.level_step / 2)
        return np.searchsorted(between, values * self.step).astype(np.uint8)

    def code(self, vectors: npt.NDArray[np.floating]) -> Coded:
        """Codes of `vectors` (n, d)."""
        exact = vectors.astype(np.float64)
        rows = len(exact)
        codes = np.zeros((rows, self.width), np.int8)
        codes[:, : self.dimension] = np.rint(exact / self.step).clip(-STEPS, STEPS)
        residuals, lengths = _distances(exact, codes[:, : self.dimension] * self.step)
        halves: npt.NDArray[np.uint8] = np.empty((rows, 0), np.uint8)
        half_residuals = half_lengths = np.empty(0)
        if self.coarse:
            numbers = self._nearest[codes.view(np.uint8)]
            # Of each 128 numbers the first 64 are the low halves of 64 bytes, the others the high ones.
            blocks = numbers.reshape(rows, -1, 2, WIDTH // 2)
            halves = (blocks[:, :, 0] | (blocks[:, :, 1] << 4)).reshape(rows, -1).astype(np.uint8)
            levels = self.levels[numbers[:, : self.dimension]] * self.level_step
            half_residuals, half_lengths = _distances(exact, levels)
        return Coded(
            codes,
            float(residuals.max(initial=0.0)),
            float(lengths.max(initial=0.0)),
            halves,
            np.nextafter(half_residuals.astype(np.float32), np.float32(np.inf)),
            float(half_lengths.max(initial=0.0)),
        )


def _distances(exact: Floats, decoded: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """How far each vector is from what its code stands for, and how long that is."""
    return np.linalg.norm(exact - decoded, axis=1), np.linalg.norm(decoded, axis=1)


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

    def __len__(self) -> int:
        return len(self.exact)

    def padded(self, width: int) -> Codes:
        """Codes with zeros at the end, (n, width)."""
        codes = np.zeros((len(self), width), np.int8)
        codes[:, : self.codes.shape[1]] = self.codes
        return codes
