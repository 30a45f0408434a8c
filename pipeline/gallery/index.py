"""Exact 1:N search in memory: one matrix of all templates, one GEMM per batch of probes.

Templates come and go while searches run. A row of the matrix is written once, before any search can see it, and never
again: a new template goes to the end, a removed one is only marked, and when the marked ones are half of all, or the
matrix is full, the living rows are copied into a new matrix. A search takes the matrix, its length and a copy of the
marks under the lock and computes outside it, so it sees the gallery of one moment and stops nobody.

The answer is exact: the best two payers are found in float32 over every row, and their similarities computed again
in float64, so that a probe's result does not depend on its batch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline import metrics
from pipeline.gallery.templates import NORM_TOLERANCE
from pipeline.ports import Match, Vector

_FIRST_ROWS = 256
_PROBES_AT_ONCE = 64
_NOBODY = -1
_BELOW_ALL = np.float32(-3.0)


class ExactIndex:
    """The search part of `ports.GallerySearch`, filled by `put` and `remove`; safe for several threads."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._lock = threading.Lock()
        self._matrix: Vector = np.empty((_FIRST_ROWS, dimension), np.float32)
        self._payer_of: npt.NDArray[np.int64] = np.full(_FIRST_ROWS, _NOBODY, np.int64)
        self._templates: list[str] = []
        self._rows: dict[str, int] = {}
        self._payers: list[str] = []
        self._codes: dict[str, int] = {}
        self._searching = 0
        self._unwiped: list[int] = []

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._dimension

    @property
    def size(self) -> int:
        """Number of templates searched."""
        return len(self._rows)

    @property
    def ready(self) -> bool:
        """True: what was put is what is searched. Whether a topic was read to its end, its reader knows."""
        return True

    def put(self, template_id: str, payer_id: str, vector: Vector) -> None:
        """Adds a template or replaces it, in one step for every search. `vector` float32 (d,), of length 1; raises
        `ValueError` for another shape or length."""
        if vector.shape != (self._dimension,):
            raise ValueError(f"a template has shape {vector.shape}, the gallery holds ({self._dimension},)")
        if not abs(float(np.linalg.norm(vector)) - 1.0) <= NORM_TOLERANCE:
            raise ValueError("a template is no finite vector of length 1")
        with self._lock:
            if len(self._templates) == len(self._matrix):
                self._copy_living()
            row = len(self._templates)
            self._matrix[row] = vector
            self._mark_removed(template_id)
            self._payer_of[row] = self._code(payer_id)
            self._templates.append(template_id)
            self._rows[template_id] = row
            metrics.GALLERY.set(len(self._rows))

    def remove(self, template_id: str) -> bool:
        """Takes a template out; False if there is none of that id."""
        with self._lock:
            removed = self._mark_removed(template_id)
            if removed and len(self._rows) < len(self._templates) // 2 and len(self._templates) > _FIRST_ROWS:
                self._copy_living()
            metrics.GALLERY.set(len(self._rows))
            return removed

    def search(self, probes: Vector) -> Sequence[Match | None]:
        """The best payer and the best other payer for each of `probes`, float32 (n, d), each of length 1; None for each
        when the gallery is empty. Raises `ValueError` for another shape."""
        if probes.ndim != 2 or probes.shape[1] != self._dimension:
            raise ValueError(f"probes have shape {probes.shape}, the gallery holds (n, {self._dimension})")
        with self._lock:
            if not self._rows:
                return [None] * len(probes)
            count = len(self._templates)
            matrix, payer_of = self._matrix[:count], self._payer_of[:count].copy()
            templates, payers = self._templates, self._payers
            self._searching += 1
        try:
            return _search(probes, matrix, payer_of, templates, payers)
        finally:
            with self._lock:
                self._searching -= 1
                self._wipe()

    def _mark_removed(self, template_id: str) -> bool:
        row = self._rows.pop(template_id, None)
        if row is None:
            return False
        self._payer_of[row] = _NOBODY
        self._unwiped.append(row)
        self._wipe()
        return True

    def _wipe(self) -> None:
        """Overwrites removed embeddings as soon as no search can be reading them."""
        if not self._searching:
            self._matrix[self._unwiped] = 0.0
            self._unwiped.clear()

    def _code(self, payer_id: str) -> int:
        code = self._codes.setdefault(payer_id, len(self._payers))
        if code == len(self._payers):
            self._payers.append(payer_id)
        return code

    def _copy_living(self) -> None:
        """A new matrix with the living rows and as much room again; running searches keep the old one."""
        living = np.flatnonzero(self._payer_of[: len(self._templates)] != _NOBODY)
        room = max(_FIRST_ROWS, 2 * len(living))
        matrix = np.empty((room, self._dimension), np.float32)
        matrix[: len(living)] = self._matrix[living]
        codes, new_codes = np.unique(self._payer_of[living], return_inverse=True)
        payer_of = np.full(room, _NOBODY, np.int64)
        payer_of[: len(living)] = new_codes
        self._matrix, self._payer_of = matrix, payer_of
        self._payers = [self._payers[code] for code in codes]
        self._codes = {payer: code for code, payer in enumerate(self._payers)}
        self._templates = [self._templates[row] for row in living]
        self._rows = {name: row for row, name in enumerate(self._templates)}
        self._unwiped = []


def _search(
    probes: Vector, matrix: Vector, payer_of: npt.NDArray[np.int64], templates: Sequence[str], payers: Sequence[str]
) -> list[Match | None]:
    """The matches of `probes` in the gallery of one moment: `matrix` float32 (n, d), the payer's code of each row."""
    removed = payer_of == _NOBODY
    found: list[Match | None] = []
    for first in range(0, len(probes), _PROBES_AT_ONCE):
        some = probes[first : first + _PROBES_AT_ONCE]
        similarities = some @ matrix.T
        similarities[:, removed] = _BELOW_ALL
        for probe, row_of in zip(some, similarities, strict=True):
            best, other = _best_two(row_of, payer_of)
            found.append(
                Match(
                    payer_id=payers[payer_of[best]],
                    template_id=templates[best],
                    similarity=_cosine(matrix[best], probe),
                    runner_up=-1.0 if other is None else _cosine(matrix[other], probe),
                )
            )
    return found


def _best_two(similarities: Vector, payer_of: npt.NDArray[np.int64]) -> tuple[int, int | None]:
    """The row of the best template, and that of the best template of any other payer, None if there is none."""
    best = int(np.argmax(similarities))
    others = np.where(payer_of == payer_of[best], _BELOW_ALL, similarities)
    other = int(np.argmax(others))
    return best, None if others[other] == _BELOW_ALL else other


def _cosine(template: Vector, probe: Vector) -> float:
    """The dot product in float64, held within the range that rounding can leave."""
    exact = float(np.dot(template.astype(np.float64), probe.astype(np.float64)))
    return min(1.0, max(-1.0, exact))
