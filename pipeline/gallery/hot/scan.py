"""One pass over the whole gallery for some hot templates: who is how near to each, and how the gallery spreads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.gallery.hot.gallery import Gallery
from pipeline.gallery.hot.standing import BINS, EDGES
from pipeline.ports import Vector

ROUNDING = np.float32(1e-5)
"""How far a cosine in float32 may be too small; all are counted as so much larger."""

_SAMPLE = 32_768
_NEAR = 0.2
_NOBODY = -1


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """`counts` int64 (n, BINS): templates of other payers by their cosine to each vector, without those in `nearest`:
    the payers of the templates nearest to it. `second` float32 (d, d): the mean of u u' over a sample of the gallery's
    templates u, and of how many `payers` they are."""

    counts: npt.NDArray[np.int64] = field(repr=False)
    nearest: list[tuple[str, ...]] = field(repr=False)
    second: npt.NDArray[np.float32] = field(repr=False)
    payers: int


def scan(gallery: Gallery, vectors: Vector, payer_ids: Sequence[str], nearest: int) -> Scanned:
    """Compares `vectors`, float32 (n, d), of the payers `payer_ids`, with every template of this moment."""
    codes = {payer_id: code for code, payer_id in enumerate(dict.fromkeys(payer_ids))}
    own = np.array([codes[payer_id] for payer_id in payer_ids])
    counts = np.zeros((len(vectors), BINS), np.int64)
    near = _Nearest(len(vectors), nearest)
    second = np.zeros((gallery.dimension, gallery.dimension), np.float64)
    stride, sampled, sampled_payers = max(1, gallery.size // _SAMPLE), 0, set[str]()
    for part in gallery.dump_parts():
        rows = part.vectors.astype(np.float32, copy=False)
        some = rows[::stride].astype(np.float64)
        second += some.T @ some
        sampled += len(some)
        sampled_payers.update(part.payer_ids[::stride])
        theirs = np.array([codes.get(payer_id, _NOBODY) for payer_id in part.payer_ids], np.int64)
        cosines = vectors @ rows.T + ROUNDING
        counts[:, 0] += len(rows)
        # The few that are near are looked at one by one, all others are in the first bin.
        which, row = np.nonzero(cosines >= EDGES[1])
        value = cosines[which, row]
        np.subtract.at(counts[:, 0], which, 1)
        others = theirs[row] != own[which]
        which, row, value = which[others], row[others], value[others]
        bins = np.minimum(np.searchsorted(EDGES, value, side="right") - 1, BINS - 1)
        np.add.at(counts, (which, bins), 1)
        near.add(which, row, value, part.payer_ids)
    for number, taken in enumerate(near.cosines()):
        bins = np.minimum(np.searchsorted(EDGES, taken, side="right") - 1, BINS - 1)
        np.subtract.at(counts[number], bins, 1)
    mean = (second / max(sampled, 1)).astype(np.float32)
    return Scanned(counts, near.payers(), mean, len(sampled_payers))


class _Nearest:
    """The `most` nearest templates to each of `count` vectors, of those that come by."""

    def __init__(self, count: int, most: int) -> None:
        self._most = most
        self._found: list[list[tuple[float, str]]] = [[] for _ in range(count)]
        self._floors = np.full(count, _NEAR, np.float32)

    def add(
        self,
        which: npt.NDArray[np.int64],
        row: npt.NDArray[np.int64],
        value: npt.NDArray[np.float32],
        payer_ids: Sequence[str],
    ) -> None:
        if not self._most:
            return
        for place in np.flatnonzero(value >= self._floors[which]).tolist():
            self._found[which[place]].append((float(value[place]), payer_ids[row[place]]))
        for number in np.unique(which).tolist():
            if len(self._found[number]) > self._most:
                kept = sorted(self._found[number], reverse=True)[: self._most]
                self._found[number] = kept
                self._floors[number] = kept[-1][0]

    def cosines(self) -> list[npt.NDArray[np.float32]]:
        """Of each vector's nearest."""
        return [np.array([cosine for cosine, _ in found], np.float32) for found in self._found]

    def payers(self) -> list[tuple[str, ...]]:
        """Of each vector's nearest, each once."""
        return [tuple(dict.fromkeys(payer_id for _, payer_id in found)) for found in self._found]
