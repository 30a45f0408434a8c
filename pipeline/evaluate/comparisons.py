"""Who is compared with whom: every pair of seen pictures, told apart as mated, non-mated or neither.

Non-mated are all pairs of pictures of different identities. Mated are the pairs of a list where one is given, else all
pairs of one identity; same-identity pairs that the list does not name (near-copies of one photograph, say) are neither.
Scores are cosines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.evaluate.sightings import Labels, Sighting

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]

_ROWS = 512
"""Pictures whose scores against all others are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Scores with the pictures behind them.

    `person` (n,) is each picture's identity as a number below `people`; `mated` (m,) with `mated_pictures` (m, 2), and
    `non_mated` (k,) with `non_mated_pictures` (k, 2), the latter sorted with the highest score first. `not_compared`
    mated pairs lost a picture to a failure; `references` (r,) is one picture per identity, for a gallery.
    """

    people: int
    person: Indices
    embeddings: npt.NDArray[np.float32] = field(repr=False)
    mated: Floats
    mated_pictures: Indices
    non_mated: Floats
    non_mated_pictures: Indices
    not_compared: int = 0

    @property
    def mated_person(self) -> Indices:
        """The identity of each mated pair, (m,)."""
        return self.person[self.mated_pictures[:, 0]]


def compare(sightings: Sequence[Sighting], pairs: Iterable[Labels] | None = None) -> Comparisons:
    """Every comparison among the sightings that ended in `seen`; `pairs` has the columns file_x and file_y.

    Raises `UsageError` when a pair names a picture that is not in the index, or two identities.
    """
    seen = [s for s in sightings if s.outcome == "seen"]
    names = sorted({s.labels["identity"] for s in seen})
    number = {name: index for index, name in enumerate(names)}
    person = np.array([number[s.labels["identity"]] for s in seen], np.int32)
    faces = [s.face.embedding for s in seen if s.face is not None]
    embeddings = np.stack(faces) if faces else np.zeros((0, 1), np.float32)
    listed, lost = _own_pairs(seen, sightings) if pairs is None else _listed_pairs(seen, sightings, pairs)
    mated = np.einsum("ij,ij->i", embeddings[listed[:, 0]], embeddings[listed[:, 1]]).astype(np.float64)
    scores, pictures = _non_mated(embeddings, person)
    return Comparisons(len(names), person, embeddings, mated, listed, scores, pictures, lost)


def _own_pairs(seen: Sequence[Sighting], every: Sequence[Sighting]) -> tuple[Indices, int]:
    """All pairs of one identity, and how many more there would be without failures."""
    places: dict[str, list[int]] = {}
    for place, sighting in enumerate(seen):
        places.setdefault(sighting.labels["identity"], []).append(place)
    found = [(a, b) for held in places.values() for i, a in enumerate(held) for b in held[i + 1 :]]
    counts: dict[str, int] = {}
    for sighting in every:
        counts[sighting.labels["identity"]] = counts.get(sighting.labels["identity"], 0) + 1
    possible = sum(count * (count - 1) // 2 for count in counts.values())
    return _as_pairs(found), possible - len(found)


def _listed_pairs(seen: Sequence[Sighting], every: Sequence[Sighting], pairs: Iterable[Labels]) -> tuple[Indices, int]:
    place = {sighting.file: index for index, sighting in enumerate(seen)}
    identity = {sighting.file: sighting.labels["identity"] for sighting in every}
    found: dict[frozenset[int], tuple[int, int]] = {}
    lost = 0
    for pair in pairs:
        one, two = pair["file_x"], pair["file_y"]
        for name in (one, two):
            if name not in identity:
                raise UsageError(f"reading the pairs: {name} is not in the index; list only pictures that are")
        if identity[one] != identity[two] or one == two:
            raise UsageError(f"reading the pairs: {one} and {two} are not two pictures of one person; remove the pair")
        if one in place and two in place:
            found.setdefault(frozenset((place[one], place[two])), (place[one], place[two]))
        else:
            lost += 1
    return _as_pairs(sorted(found.values())), lost


def _as_pairs(found: Sequence[tuple[int, int]]) -> Indices:
    return np.array(found, np.int32).reshape(-1, 2)


def _non_mated(embeddings: npt.NDArray[np.float32], person: Indices) -> tuple[Floats, Indices]:
    """Scores of all pairs of different identities, highest first, and their pictures."""
    scores, pictures = [], []
    for start in range(0, len(person), _ROWS):
        block = embeddings[start : start + _ROWS] @ embeddings.T
        rows = np.arange(start, start + len(block))
        wanted = (person[rows, None] != person) & (rows[:, None] < np.arange(len(person)))
        row, column = np.nonzero(wanted)
        scores.append(block[row, column])
        pictures.append(np.stack([row + start, column], axis=1).astype(np.int32))
    if not scores:
        return np.zeros(0), np.zeros((0, 2), np.int32)
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="stable")
    return every[order].astype(np.float64), np.concatenate(pictures)[order]
