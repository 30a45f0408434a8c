"""The rows that may answer one probe, by two looks: memory is what a single probe waits for.

The first look reads 4-bit codes, half the bytes of 8-bit ones, and gives what each row's similarity is at most. The
greatest of each block of rows are computed in float64; the best other payer among them gives a floor. The second look
takes the rows whose most reaches the floor, a few in a hundred, and asks their 8-bit codes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.gallery.index.codes import SLACK, Floats, Probes
from pipeline.gallery.index.hits import Hits, View, exact
from pipeline.gallery.index.segments import Rows, Segment

Look = npt.NDArray[np.float32]
_BLOCK = 512
_SMALL_BLOCK = 32
_SMALL = 8192
"""Galleries up to this size have small blocks, so that a floor is found there as well."""
_PEAKS = 8
"""So many of the best block's greatest are computed, and as many of other payers than the best one's."""


class TwoLooks(Protocol):
    """One probe, made ready for both."""

    unit: Floats

    def error(self, segment: Segment) -> Floats:
        """See `kernels.Scan.error`."""
        ...

    def most(self, segment: Segment, count: int) -> Look:
        """What the similarity of each row is at most, by its 4-bit code: (count,)."""
        ...

    def chosen(self, segment: Segment, most: Look, floor: float) -> tuple[Rows, npt.NDArray[np.int32]]:
        """Rows and scores of those whose similarity may reach `floor` by both codes; `most` is what `most` gave."""
        ...


def single_hits(scan: TwoLooks, probes: Probes, view: View) -> Hits:
    """Rows among which the answer for one probe is."""
    looks = [scan.most(segment, count) for segment, count in view.parts]
    block = _SMALL_BLOCK if sum(map(len, looks)) <= _SMALL else _BLOCK
    peaks = Hits.joined([Hits.none(), *(_peaks(look, part, block, view) for part, look in enumerate(looks))])
    floor = _floor(peaks, probes, view)
    found = []
    for part, look in enumerate(looks):
        segment = view.parts[part][0]
        row, score = scan.chosen(segment, look, floor)
        if not len(row):
            continue
        alive = segment.dead[row] > view.moment
        row, upper = row[alive], score[alive] * scan.unit + scan.error(segment)
        found.append(Hits.of(part, row, segment.payer_of[row], upper))
    return Hits.joined([Hits.none(), *found])


def _peaks(look: Look, part: int, block: int, view: View) -> Hits:
    """The greatest of each block, unless it was removed."""
    whole = len(look) // block * block
    rows = look[:whole].reshape(-1, block).argmax(axis=1) + np.arange(0, whole, block)
    if whole < len(look):
        rows = np.append(rows, whole + look[whole:].argmax())
    segment = view.parts[part][0]
    rows = rows[segment.dead[rows] > view.moment]
    return Hits.of(part, rows, segment.payer_of[rows], look[rows].astype(np.float64))


def _floor(peaks: Hits, probes: Probes, view: View) -> float:
    """A similarity that the best other payer of the gallery reaches; minus infinity if only one payer was found."""
    if not len(peaks):
        return -np.inf
    peaks = peaks.only(np.argsort(-peaks.upper))
    others = peaks.only(peaks.payer != peaks.payer[0])
    some = Hits.joined([peaks.only(slice(_PEAKS)), others.only(slice(_PEAKS))])
    similar = exact(some, probes, view)
    rivals = similar[some.payer != some.payer[similar.argmax()]]
    return float(rivals.max()) - SLACK if len(rivals) else -np.inf
