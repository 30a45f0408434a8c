"""Scans of codes by compiled loops (`machine_code`): many probes over 8-bit codes, one over 4-bit codes first."""

from __future__ import annotations

import math
import threading
from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.gallery.index.codes import WIDTH, Coder, Floats, Probes
from pipeline.gallery.index.hits import Hits, View
from pipeline.gallery.index.kernels import CodedScan, Scan, Scores, Whole, whole
from pipeline.gallery.index.machine_code import PROBE_VECTORS, TILE_ROWS, MachineCode, machine_code
from pipeline.gallery.index.segments import Form, Rows, Segment, aligned
from pipeline.gallery.index.single import single_hits

LANES = 16
_WRONG = "compiling scans of 8-bit codes: the loops do not compute what numpy does"
_LOWEST = int(np.iinfo(np.int32).min)
_ROOM = 1 << 15
"""Hits that one call may write before it is called again."""
_HALF_SLACK = 1e-5
"""More than the rounding of the few float32 operations from a sum to a similarity."""


class CompiledKernel:
    """Both ways over the rows."""

    name = "int8 (compiled)"
    one_by_one = 2

    def __init__(self, dimension: int) -> None:
        """Raises `UsageError` where the loops cannot be compiled, or do not what they should."""
        self.coder = Coder(dimension, coarse=True)
        self._code = checked_code(self.coder.width)

    def scan(self, probes: Probes) -> Scan:
        """See `Kernel.scan`."""
        return _CompiledScan(self.coder, probes, self._code)

    def single(self, probes: Probes, view: View) -> Hits:
        """See `Kernel.single`."""
        return single_hits(SingleScan(self.coder, probes, self._code), probes, view)


class _CompiledScan(CodedScan):
    """Up to 64 probes."""

    def __init__(self, coder: Coder, probes: Probes, code: MachineCode) -> None:
        super().__init__(coder, probes)
        self._code = code
        self._width = coder.width
        self._vectors = next(size for size in PROBE_VECTORS if len(probes) <= size * LANES)
        self._lanes = self._vectors * LANES
        unsigned = np.zeros((self._lanes, coder.width), np.uint8)
        unsigned[: len(probes)] = probes.padded(coder.width).view(np.uint8) ^ 0x80
        fours = unsigned.reshape(self._lanes, -1, 4).transpose(1, 0, 2)
        self._packed = aligned(1, fours.size)[0]
        self._packed[:] = fours.ravel()

    def scores(self, segment: Segment, first: int, end: int) -> Scores:
        """See `Scan.scores`."""
        out: Whole = np.empty((end - first + TILE_ROWS, self._lanes), np.int32)
        self._code.scores[self._vectors](
            *segment.addresses[:2], first, end, self._width, self._packed.ctypes.data, out.ctypes.data,
            _buffers.stopped.ctypes.data,
        )  # fmt: skip
        return np.ascontiguousarray(out[: end - first, : len(self._probes)].T)

    def hits(self, segment: Segment, first: int, end: int, floors: Floats) -> tuple[Rows, Rows, Scores]:
        """See `Scan.hits`."""
        bounds: Whole = np.full(self._lanes, np.iinfo(np.int32).max, np.int32)
        bounds[: len(floors)] = whole(floors)
        found = []
        while first < end:
            count = self._code.hits[self._vectors](
                *segment.addresses[:2], first, end, self._width, self._packed.ctypes.data, bounds.ctypes.data,
                *_buffers.addresses, _ROOM, _buffers.stopped.ctypes.data,
            )  # fmt: skip
            first = int(_buffers.stopped[0])
            found.append(_buffers.hits[:, :count].copy())
        rows, probes, scores = found[0] if len(found) == 1 else np.concatenate(found, axis=1)
        # The last tile may have gone beyond the end, and nobody's probe may have reached the greatest bound.
        real = (rows < end) & (probes < len(floors))
        return probes[real].astype(np.int64), rows[real].astype(np.int64), scores[real]


class SingleScan(CodedScan):
    """One probe: a look at the 4-bit codes of all rows, then at the 8-bit codes of the few that are left."""

    def __init__(self, coder: Coder, probes: Probes, code: MachineCode) -> None:
        super().__init__(coder, probes)
        self._code = code
        self._width = coder.width
        self.codes = aligned(1, coder.width)[0].view(np.int8)
        self.codes[:] = probes.padded(coder.width)[0]
        self._unsigned = aligned(1, coder.width)[0]
        self._unsigned[:] = self.codes.view(np.uint8) ^ 0x80
        self._levels = np.tile((coder.levels + 128).astype(np.uint8), 4)
        self._offset = -128 * int(self.codes.sum(dtype=np.int32))
        self.half_unit = float(probes.step[0]) * coder.level_step
        self.length = float(probes.length[0])
        self._addresses = [part.ctypes.data for part in (self.codes, self._unsigned, self._levels)]

    def most(self, segment: Segment, count: int) -> npt.NDArray[np.float32]:
        """What the similarity of each row is at most, by its 4-bit code: (count,)."""
        most = np.empty(count + LANES, np.float32)
        _, _, halves, residuals = segment.addresses
        self._code.coarse(
            halves, residuals, count, self._addresses[0], self._addresses[2], self._offset,
            self.half_unit, self.length, self.half_slack(segment), most.ctypes.data,
        )  # fmt: skip
        # Not a number is not at least anything, minus infinity neither.
        most[count:] = np.nan
        return most[:count]

    def chosen(self, segment: Segment, most: npt.NDArray[np.float32], floor: float) -> tuple[Rows, Whole]:
        """Rows and scores of those whose similarity may reach `floor` by both codes; `most` is what `most` gave."""
        rows = np.empty((3, len(most) + 2 * LANES), np.int32)
        listed = rows.ctypes.data
        row_out, score_out = listed + rows.strides[0], listed + 2 * rows.strides[0]
        # Rounded down, so that no row is lost to the rounding of the floor.
        lower = np.nextafter(np.float32(floor), np.float32(-np.inf))
        kept = self._code.chosen(
            most.ctypes.data, len(most), float(lower), listed, *segment.addresses[:2], self._width,
            self._addresses[1], self.least(segment, floor), row_out, score_out,
        )  # fmt: skip
        return rows[1, :kept].astype(np.int64), rows[2, :kept]

    def least(self, segment: Segment, floor: float) -> int:
        """The least score of a row whose similarity may reach `floor`."""
        least = (floor - float(self.error(segment)[0])) / float(self.unit[0])
        return max(_LOWEST, math.ceil(least)) if math.isfinite(least) else _LOWEST

    def half_slack(self, segment: Segment) -> float:
        """What coding the probe can make wrong of a 4-bit score, and rounding."""
        return float(self._probes.residual[0]) * segment.half_length + self.length * _HALF_SLACK


class _Buffers(threading.local):
    """A thread's room for hits: rows, probes, scores."""

    def __init__(self) -> None:
        # One call ends with the tile that fills the room.
        self.hits: Whole = np.empty((3, _ROOM + (TILE_ROWS * max(PROBE_VECTORS) + 1) * LANES), np.int32)
        self.addresses = [row.ctypes.data for row in self.hits]
        self.stopped = np.zeros(1, np.int64)


_buffers = _Buffers()


@cache
def checked_code(width: int) -> MachineCode:
    """The loops, after they gave on random codes what numpy gives; raises `UsageError` if they did not."""
    code = machine_code(width)
    draw = np.random.default_rng(1)
    coder = Coder(width - 3, coarse=True)
    segment = Segment(Form(coder.dimension, "float32", None, coder), 64)
    vectors = draw.normal(size=(61, coder.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    segment.write([""] * 61, np.zeros(61, np.int32), np.zeros(61, np.bool_), vectors)
    for count in (1, 16, 17, 64):
        probes = Probes.of(draw.normal(size=(count, coder.dimension)).astype(np.float32))
        scan = _CompiledScan(coder, probes, code)
        exact = probes.codes.astype(np.int32) @ segment.codes[3:61, : coder.dimension].astype(np.int32).T
        floors = np.median(exact, axis=1)
        probe, row, score = scan.hits(segment, 3, 61, floors)
        expected = np.nonzero(exact >= floors[:, None])
        order = np.lexsort((row, probe))
        if not (
            np.array_equal(scan.scores(segment, 3, 61), exact)
            and np.array_equal(probe[order], expected[0])
            and np.array_equal(row[order] - 3, expected[1])
            and np.array_equal(score[order], exact[expected])
        ):
            raise UsageError(_WRONG)
    _check_single(SingleScan(coder, Probes.of(vectors[:1]), code), coder, segment, len(vectors))
    return code


def _check_single(scan: SingleScan, coder: Coder, segment: Segment, count: int) -> None:
    """The same for one probe."""
    pairs = segment.halves[:count].reshape(count, -1, 1, WIDTH // 2)
    numbers = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(count, -1)
    codes = scan.codes.astype(np.int32)
    coarse = coder.levels[numbers].astype(np.int32) @ codes * scan.half_unit
    most = scan.most(segment, count)
    wrong = most - coarse - scan.length * segment.residuals[:count] - scan.half_slack(segment)
    fine = segment.codes[:count].astype(np.int32) @ codes
    floor = float(np.median(most))
    expected = np.flatnonzero((most >= floor) & (fine >= scan.least(segment, floor)))
    rows, scores = scan.chosen(segment, most, floor)
    if not (np.abs(wrong).max() < 1e-5 and np.array_equal(rows, expected) and np.array_equal(scores, fine[expected])):
        raise UsageError(_WRONG)
