"""Suppression of overlapping boxes, and outputs of a network that has gone wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from pipeline.vision.detector import STRIDES, TOP_CANDIDATES, YuNet, suppress
from pipeline.vision.models import ModelSpec, manifest

Floats = npt.NDArray[np.float32]

BOXES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)), max_size=40)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union, one pair at a time."""
    across = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    shared = across * down
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


@given(BOXES)
def test_suppression_is_the_greedy_rule(boxes: list[tuple[int, int, int, int]]) -> None:
    """A box stays exactly when it overlaps no earlier kept box by more than the limit."""
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if all(overlap(box, boxes[k]) <= 0.3 for k in kept):
            kept.append(index)
    assert suppress(np.array(boxes, np.float32).reshape(-1, 4), 0.3).tolist() == kept


class Wire:
    """A session that answers every cell of one image with one number per output."""

    def __init__(self, *, cls: float, obj: float, box: float, point: float) -> None:
        self.spec: ModelSpec = next(spec for spec in manifest() if spec.role == "detector")
        self.pixels = False
        self._values = (cls, obj, box, point)

    def runs(
        self, items: int, shape: Callable[[int], tuple[int, ...]], fill: Callable[..., None]
    ) -> list[tuple[slice, list[Floats]]]:
        """One by one, outputs in the manifest's order."""
        size = shape(1)
        cells = [(size[2] // stride) * (size[3] // stride) for stride in STRIDES]
        outputs = [
            np.full((1, count, width), value, np.float32)
            for value, width in zip(self._values, (1, 1, 4, 10), strict=True)
            for count in cells
        ]
        return [(slice(item, item + 1), outputs) for item in range(items)]


def detect(wire: Wire, side: int = 64) -> int:
    """How many faces come out of a black picture."""
    found = YuNet(wire).detect([np.zeros((side, side, 3), np.uint8)])[0]  # type: ignore[arg-type]
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.landmarks).all()
    return len(found.scores)


def test_outputs_that_are_not_finite_are_no_faces() -> None:
    """NaN scores, boxes that overflow, points at infinity: nothing is reported, nothing is raised."""
    assert detect(Wire(cls=1, obj=1, box=0, point=0)) > 0
    assert detect(Wire(cls=np.nan, obj=1, box=0, point=0)) == 0
    assert detect(Wire(cls=1, obj=1, box=1e4, point=0)) == 0
    assert detect(Wire(cls=1, obj=1, box=np.nan, point=0)) == 0
    assert detect(Wire(cls=1, obj=1, box=0, point=np.inf)) == 0


def test_scores_above_one_are_clipped_and_low_ones_dropped() -> None:
    """score = sqrt(clip(cls) * clip(obj)) against 0.6."""
    assert detect(Wire(cls=0.36, obj=1.0, box=0, point=0)) > 0
    assert detect(Wire(cls=0.35, obj=1.0, box=0, point=0)) == 0
    assert detect(Wire(cls=0.35, obj=5.0, box=0, point=0)) == 0


def test_a_picture_full_of_faces_costs_a_bounded_work() -> None:
    """Small boxes that do not overlap, one in each cell: no more than the bound enters the suppression."""
    assert detect(Wire(cls=1, obj=1, box=-3, point=0), side=640) <= TOP_CANDIDATES
