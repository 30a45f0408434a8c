"""What the keyed transform is worth against a thief: linking two galleries that are protected under two keys.

The thief has the protected vectors of both, not the keys, and wants to know which rows are of one person. A rotation
keeps every inner product, so the thief looks at how a person stands to the others (the Gram matrix), which is the same
in both spaces:

* with no known pair, each row's sorted similarities to everybody are a signature; the surest matches of signatures are
  a first guess;
* with known pairs (people whose rows the thief knows in both), each row's similarities to them say who it is;
* from either start the guess is grown: the surest matches become landmarks in their turn, in rounds (seeded graph
  matching by percolation: Yartseva and Grossglauser, 2013), and once there are as many as dimensions the rotation
  between the spaces is solved (orthogonal Procrustes: Schoenemann, 1966), which undoes the protection.

`alone` is what revocation rests on: old vectors find nobody in a gallery of which the thief has no more than one vector
at a time to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.ports import Vector

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

_ROUNDS = 25
_SIGNATURE = 256
"""Numbers of a signature: quantiles of a row's similarities."""
_FIRST_GUESS = 16
_TAKEN = -2.0
"""Below every cosine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """Of one run: how many rows that the thief did not know were linked to the right person, of how many."""

    known: int
    right: int
    asked: int


def link(one: Floats, other: Floats, known: tuple[Rows, Rows] | None = None) -> Rows:
    """For each row of `one`, float64 (n, d), which row of `other` (m, d) the thief takes for the same person.

    `known`: rows of `one` and of `other` that the thief knows to be of the same people."""
    landmarks = known if known is not None else (np.empty(0, np.int64), np.empty(0, np.int64))
    likeness = _signatures(one, other) if known is None else _by_landmarks(one, other, landmarks)
    for turn in range(1, _ROUNDS + 1):
        likeness[landmarks[0], :] = _TAKEN  # of known rows nothing is asked
        likeness[:, landmarks[1]] = _TAKEN
        best, sure = _matches(likeness)
        wanted = max(_FIRST_GUESS, round(len(one) * min(1.0, turn / (0.7 * _ROUNDS))))
        taken = np.argsort(-sure, kind="stable")[:wanted]
        taken = taken[sure[taken] >= 0]
        grown = (np.concatenate([landmarks[0], taken]), np.concatenate([landmarks[1], best[taken]]))
        likeness = _by_landmarks(one, other, grown)
    likeness[:, landmarks[1]] = _TAKEN
    guess: Rows = likeness.argmax(axis=1)
    guess[landmarks[0]] = landmarks[1]
    return guess


def alone(one: Floats, other: Floats) -> Rows:
    """The same without the Gram matrix: whoever is nearest. What a stolen vector is worth as a probe in a gallery under
    another key."""
    guess: Rows = (one @ other.T).argmax(axis=1)
    return guess


def attack(one: Vector, other: Vector, known: int | None, seed: int) -> Linked:
    """One run: `one` and `other`, float32 (n, d), hold the same people in the same rows, in clear; each is rotated
    under a fresh key and `other` shuffled. `known`: pairs that the thief knows; None: `alone`."""
    rng = np.random.default_rng(seed)
    people, dimension = one.shape
    order = rng.permutation(people)
    place: Rows = np.argsort(order)
    a = one.astype(np.float64) @ haar(dimension, rng)
    b = (other.astype(np.float64) @ haar(dimension, rng))[order]
    if known is None:
        return Linked(known=0, right=int((alone(a, b) == place).sum()), asked=people)
    seen: Rows = rng.permutation(people)[:known]
    guess = link(a, b, (seen, place[seen]) if known else None)
    asked = np.setdiff1d(np.arange(people), seen)
    return Linked(known=known, right=int((guess[asked] == place[asked]).sum()), asked=len(asked))


def haar(dimension: int, rng: np.random.Generator) -> Floats:
    """A random rotation, float64 (d, d), as `transform` makes them from its key."""
    q, r = np.linalg.qr(rng.normal(size=(dimension, dimension)))
    rotation: Floats = q * np.sign(np.diag(r))
    return rotation


def drawn(people: int, dimension: int, mated_cosine: float, seed: int) -> tuple[Vector, Vector]:
    """Two pictures' embeddings of each of `people` who do not exist, float32 (n, d) each: identities in all directions,
    and noise at right angles so that two pictures of one person have `mated_cosine` on average; 1 is the same picture
    twice."""
    rng = np.random.default_rng(seed)
    identity = _unit(rng.normal(size=(people, dimension)))

    def picture() -> Vector:
        noise = rng.normal(size=identity.shape)
        noise = _unit(noise - (noise * identity).sum(axis=1, keepdims=True) * identity)
        vectors: Vector = (np.sqrt(mated_cosine) * identity + np.sqrt(1 - mated_cosine) * noise).astype(np.float32)
        return vectors

    first = picture()
    return first, first if mated_cosine == 1 else picture()


def spread(runs: Sequence[Linked], seed: int = 1) -> tuple[float, float, float]:
    """The rate of right links over runs and its 95 % interval: runs are resampled (a run is all or nothing: its people
    are no independent trials), and no interval is narrower than that of the people of one run."""
    right, asked = (np.array([getattr(run, name) for run in runs], np.float64) for name in ("right", "asked"))
    rate = float(right.sum() / asked.sum())
    drawn_runs = np.random.default_rng(seed).integers(0, len(runs), size=(2_000, len(runs)))
    rates = right[drawn_runs].sum(axis=1) / asked[drawn_runs].sum(axis=1)
    # Wilson's interval (1927) for the people of the smallest run: all runs have the same people.
    n, z = float(asked.min()), 1.96
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    low, high = np.quantile(rates, [0.025, 0.975])
    return rate, max(0.0, min(float(low), middle - half)), min(1.0, max(float(high), middle + half))


def _signatures(one: Floats, other: Floats) -> Floats:
    """How alike the distributions of similarities of two rows are: minus the squared distance of their quantiles."""
    at = np.linspace(0, 1, _SIGNATURE)
    a, b = (np.quantile(rows @ rows.T, at, axis=1).T for rows in (one, other))
    nearness: Floats = 2 * a @ b.T - np.square(a).sum(axis=1)[:, None] - np.square(b).sum(axis=1)[None]
    return nearness


def _by_landmarks(one: Floats, other: Floats, landmarks: tuple[Rows, Rows]) -> Floats:
    """Cosines of the rows as the landmarks see them; with at least d landmarks, in the space that they make one."""
    a, b = one[landmarks[0]], other[landmarks[1]]
    if len(a) < one.shape[1]:
        seen: Floats = _unit(one @ a.T) @ _unit(other @ b.T).T
        return seen
    left, _, right = np.linalg.svd(a.T @ b)
    solved: Floats = (one @ (left @ right)) @ other.T
    return solved


def _matches(likeness: Floats) -> tuple[Rows, Floats]:
    """Each row's best column, and how far it is ahead of the second; -1 where the column has a better row."""
    best: Rows = likeness.argmax(axis=1)
    two = np.partition(likeness, -2, axis=1)[:, -2:]
    ahead: Floats = two[:, 1] - two[:, 0]
    mutual = likeness.argmax(axis=0)[best] == np.arange(len(best))
    ahead[~mutual | (two[:, 1] <= _TAKEN)] = -1.0
    return best, ahead


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
