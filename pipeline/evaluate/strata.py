"""The same error rates by light, size, pose, or by any column of the index: where a system fails is not in its mean.

A measured quality is cut into classes from best to worst, and a comparison belongs to the class of the worse of its two
pictures. A labelled group (`source`, say, or an age class where an index has one) has no order: there a comparison
belongs to a group when both pictures do, and to `mixed` otherwise. Intervals draw people anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.evaluate.comparisons import Comparisons, Floats
from pipeline.evaluate.intervals import Interval, percentiles, zero_errors_bound
from pipeline.evaluate.resampling import SEED, draws, ratio
from pipeline.evaluate.sightings import Sighting
from pipeline.vision.faces import Quality

MIXED = "mixed"
_REPLICATES = 500
_PAIRS = 20_000


@dataclass(frozen=True, slots=True)
class Classes:
    """How a quality is cut: `names` from best to worst, `of` gives the number of the class."""

    names: tuple[str, ...]
    of: Callable[[Quality], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The rates of the comparisons of one class at one threshold; a rate is None without a comparison."""

    by: str
    name: str
    threshold: float
    pictures: int
    mated: int
    missed: int
    fnmr: float | None
    fnmr_ci: Interval
    non_mated: int
    false_matches: int
    fmr: float | None
    fmr_ci: Interval


def _steps(unit: str, edges: Sequence[float], value: Callable[[Quality], float], *, falling: bool = False) -> Classes:
    """Classes between `edges`, which rise; best is the lowest, or the highest where quality is `falling` with them."""
    low = [f"< {edges[0]:g}{unit}", *(f"{a:g} to {b:g}{unit}" for a, b in itertools.pairwise(edges))]
    names = [*low, f">= {edges[-1]:g}{unit}"]

    def place(quality: Quality) -> int:
        step = int(np.searchsorted(edges, value(quality), side="right"))
        return len(edges) - step if falling else step

    return Classes(tuple(reversed(names)) if falling else tuple(names), place)


def _light(quality: Quality) -> int:
    """Between 0.4 and 0.6 of mean luma, bright, dark: in this order, since darkness also brings noise."""
    return 0 if 0.4 <= quality.brightness < 0.6 else 1 if quality.brightness >= 0.6 else 2


MEASURED: Mapping[str, Classes] = {
    "size": _steps(" px", (20, 30, 40, 60), lambda q: q.eye_distance_px, falling=True),
    "light": Classes(("luma 0.4 to 0.6", "luma >= 0.6", "luma < 0.4"), _light),
    "exposure": _steps(" clipped", (0.02, 0.1), lambda q: q.exposure),
    "sharpness": _steps("", (50, 100, 200, 400), lambda q: q.sharpness, falling=True),
    "pose": _steps(" yaw", (0.05, 0.1, 0.2, 0.4), lambda q: abs(q.yaw)),
    "pitch": _steps(" pitch", (0.05, 0.1, 0.2), lambda q: abs(q.pitch)),
    "roll": _steps(" deg", (5, 10, 20), lambda q: abs(q.roll)),
}
"""What `--by` knows besides columns: eye distance, mean luma, clipped share, Laplacian variance, and the head's angles.
"""


def check_names(names: Iterable[str], columns: Iterable[str]) -> None:
    """Raises `UsageError` for a name that is neither measured nor a column of the index."""
    known = {*MEASURED, *columns}
    for name in names:
        if name not in known:
            raise UsageError(
                f"splitting by {name}: it is no measured quality and no column; use {', '.join(MEASURED)} or "
                f"a column of the index"
            )


def by(comparisons: Comparisons, seen: Sequence[Sighting], name: str, threshold: float) -> list[Stratum]:
    """One row per class of `name` that has a picture; `seen` are the sightings behind `comparisons`, in order."""
    classes = MEASURED.get(name)
    if classes is not None:
        order = np.array([classes.of(s.face.quality) for s in seen if s.face is not None], np.int64)
        names = classes.names
    else:
        values = [s.labels.get(name, "") or "not said" for s in seen]
        names = (*sorted(set(values)), MIXED)
        order = np.array([names.index(value) for value in values], np.int64)

    def pair_class(pictures: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        one, two = order[pictures].T
        return np.maximum(one, two) if classes is not None else np.where(one == two, one, len(names) - 1)

    weights = np.vstack([np.ones(comparisons.people), draws(comparisons.people, _REPLICATES, SEED)])
    mated_class = pair_class(comparisons.mated_pictures)
    false = comparisons.non_mated_pictures[comparisons.non_mated >= threshold]
    false_class = pair_class(false)
    trials = _trials(comparisons, order, weights, len(names), ordered=classes is not None)
    rows = []
    for number, label in enumerate(names):
        inside = mated_class == number
        people = comparisons.mated_person[inside]
        missed = comparisons.mated[inside] < threshold
        drawn = weights[:, people]
        fnmr = ratio((drawn * missed).sum(axis=1), drawn.sum(axis=1))
        wrong = comparisons.person[false[false_class == number]]
        fmr = ratio(_weighed(weights, wrong), trials[number])
        if not (order == number).any() and not inside.any() and not trials[number][0]:
            continue
        rows.append(Stratum(
            by=name, name=label, threshold=threshold, pictures=int((order == number).sum()), mated=int(inside.sum()),
            missed=int(missed.sum()), fnmr=_estimate(fnmr), fnmr_ci=_interval(fnmr, len(np.unique(people))),
            non_mated=round(trials[number][0]), false_matches=len(wrong), fmr=_estimate(fmr),
            fmr_ci=_interval(fmr, round(trials[number][0])),
        ))  # fmt: skip
    return rows


def _trials(
    comparisons: Comparisons, order: npt.NDArray[np.int64], weights: Floats, classes: int, *, ordered: bool
) -> list[Floats]:
    """Per class the number of non-mated comparisons in each replicate, counted without listing them: the pairs of
    different people among pictures of the class (or of it and every better one, less those of the better ones alone).
    """
    held = np.zeros((comparisons.people, classes))
    np.add.at(held, (comparisons.person, order), 1.0)

    def pairs(pictures: Floats) -> Floats:
        weighted = weights * pictures
        return np.asarray((weighted.sum(axis=1) ** 2 - (weighted**2).sum(axis=1)) / 2)

    if ordered:
        upto = [pairs(held[:, : number + 1].sum(axis=1)) for number in range(classes)]
        return [upto[0], *(after - before for before, after in itertools.pairwise(upto))]
    own = [pairs(held[:, number]) for number in range(classes - 1)]
    return [*own, pairs(held.sum(axis=1)) - np.sum(own, axis=0)]


def _weighed(weights: Floats, pairs: npt.NDArray[np.int32]) -> Floats:
    """(replicates,): how often these pairs of people, (k, 2), were drawn; in parts, since there may be millions."""
    total = np.zeros(len(weights))
    for start in range(0, len(pairs), _PAIRS):
        one, two = pairs[start : start + _PAIRS].T
        total += (weights[:, one] * weights[:, two]).sum(axis=1)
    return total


def _estimate(values: Floats) -> float | None:
    return float(values[0]) if np.isfinite(values[0]) else None


def _interval(values: Floats, independent: int) -> Interval:
    """The first value is the estimate, the others its replicates."""
    if not np.isfinite(values[0]):
        return 0.0, 1.0
    low, high = percentiles(values[1:], float(values[0]))
    return low, (high if values[0] > 0 else max(high, zero_errors_bound(independent)))
