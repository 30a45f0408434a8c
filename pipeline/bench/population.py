"""People who are only embeddings: identities, their pictures, their lookalikes, by the law of a real embedder.

What is drawn resembles what mobilefacenet (128 numbers) sees on the portraits of `faces/congress`; `measured` takes
the same figures from a folder of portraits, so that a benchmark can print both side by side.

- An identity is a direction: a common mean of length `MEAN` (faces are a little alike) and a normal part whose
  variances fall along the axes as (1 - k / d) ** `DECAY`. That gives non-mated cosines the mean, the spread and the
  tail of the real ones (one in 1,000 above 0.36, one in 10,000 above 0.42).
- A picture of an identity is q * identity + sqrt(1 - q^2) * noise, of length 1, with q from a Beta law: two pictures of
  one person then have cosines of mean 0.82 and standard deviation 0.10, the worst one in a hundred 0.52.
- A lookalike is made from a template: cosine c to it, the rest another identity.

What decides whether a search may be cut short is how a picture y of template x meets somebody else's template o:
y.o = s c + sqrt(1 - s^2) sqrt(1 - c^2) z, with s = x.y and c = x.o. On the portraits z is normal with a standard
deviation of 0.098, and that of each picture follows from the other people's templates: with w the direction in which it
differs from its template and S the mean of o o', it is sqrt(w'S w). Noise of two kinds is drawn:

- `fitted`: variances of the power `FITTED` of the identities', which gives z the portraits' spread;
- `hard`: the identities' own variances, z 0.114: pictures stray towards other people more than real ones do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import InvalidMessage, UsageError
from pipeline.ports import Vector

if TYPE_CHECKING:
    from pipeline.vision.engine import OnnxEngine

DIMENSION = 128
MEAN = 0.159
DECAY = 1.8
FITTED = 0.25
QUALITY = (11.5, 1.17)
"""Beta law of a picture's cosine to its identity."""

Noise = Literal["fitted", "hard"]
Floats = npt.NDArray[np.float64]
_FEWEST = 20
MISLABELLED = frozenset({"020107"})
"""Identities of `faces/congress` whose two photographs show two people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Cosines of a set of pictures: mated and non-mated pairs, and the noise `z` (see the module)."""

    pairs: int
    mated_mean: float
    mated_sd: float
    mated_least: float
    non_mated_mean: float
    non_mated_sd: float
    non_mated_1e3: float
    """Above it lies one non-mated cosine in 1,000."""
    noise_sd: float
    noise_kurtosis: float
    noise_predicted: float
    """The root mean square of a picture's z over half of the others, by what the other half foretells: the median."""


class Population:
    """Draws identities, pictures and lookalikes as float32 (n, `dimension`), each of length 1."""

    def __init__(self, seed: int | Sequence[int], dimension: int = DIMENSION, *, noise: Noise = "hard") -> None:
        self._draw = np.random.default_rng(seed)
        self.dimension = dimension
        variances = (1.0 - np.arange(dimension) / dimension) ** DECAY
        self._scale = _scale(variances)
        self._noise_scale = _scale(variances**FITTED) if noise == "fitted" else self._scale
        # The mean's direction belongs to the population: a gallery of other people has the same one.
        mean = np.random.default_rng(dimension).standard_normal(dimension)
        self._mean = (MEAN * mean / np.linalg.norm(mean)).astype(np.float32)

    @property
    def draw(self) -> np.random.Generator:
        """The source of every choice about these people."""
        return self._draw

    def identities(self, count: int) -> Vector:
        """`count` people."""
        return _of_length_1(self._mean + np.float32((1 - MEAN**2) ** 0.5) * self._normal(count, self._scale))

    def pictures(self, identities: Vector, quality: npt.NDArray[np.float32] | None = None) -> Vector:
        """A picture of each; `quality` (n,) is its cosine to the identity, drawn where none is given."""
        if quality is None:
            quality = self._draw.beta(*QUALITY, len(identities)).astype(np.float32)
        return _towards(identities, self._normal(len(identities), self._noise_scale), quality)

    def lookalikes(self, templates: Vector, cosines: npt.NDArray[np.float32]) -> Vector:
        """Somebody else for each of `templates`, with that cosine to it."""
        return _towards(templates, self.identities(len(templates)), cosines)

    def _normal(self, count: int, scale: Vector) -> Vector:
        return np.asarray(self._draw.standard_normal((count, self.dimension), np.float32) * scale)


def _scale(variances: Floats) -> Vector:
    return np.asarray(np.sqrt(variances / variances.sum()), np.float32)


def _towards(vectors: Vector, others: Vector, cosines: npt.NDArray[np.float32]) -> Vector:
    """Vectors of length 1 with `cosines` to `vectors`, the rest along `others`."""
    across = others - np.einsum("ij,ij->i", others, vectors)[:, None] * vectors
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    cosine = cosines.astype(np.float32)[:, None]
    return _of_length_1(cosine * vectors + np.sqrt(1 - cosine**2) * across)


def law(first: Vector, second: Vector, others: Vector) -> Law:
    """Of people with two pictures each, float32 (n, d): row i of `first` and `second` show one person; `others` (m, d)
    has a picture of each of many more, in the order of nothing."""
    mated = np.einsum("ij,ij->i", first, second).astype(np.float64)
    s = mated[:, None]
    known = (first @ others.T).astype(np.float64)
    noise = ((second @ others.T).astype(np.float64) - s * known) / np.sqrt((1 - s**2) * (1 - known**2))
    half = others[::2].astype(np.float64)
    away = second - s * first
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    predicted = np.sqrt(((away @ half.T) ** 2).mean(axis=1))
    centred = noise - noise.mean()
    return Law(
        pairs=len(mated),
        mated_mean=float(mated.mean()),
        mated_sd=float(mated.std()),
        mated_least=float(mated.min()),
        non_mated_mean=float(known.mean()),
        non_mated_sd=float(known.std()),
        non_mated_1e3=float(np.quantile(known, 0.999)),
        noise_sd=float(noise.std()),
        noise_kurtosis=float((centred**4).mean() / noise.var() ** 2),
        noise_predicted=float(np.median(np.sqrt((noise[:, 1::2] ** 2).mean(axis=1)) / predicted)),
    )


def drawn(noise: Noise = "fitted", *, pairs: int = 400, others: int = 4_000, seed: int = 1) -> Law:
    """The law of the drawn population."""
    people = Population(seed, noise=noise)
    identities = people.identities(pairs)
    return law(people.pictures(identities), people.pictures(identities), people.pictures(people.identities(others)))


def measured(models: Path, folder: Path) -> Law:
    """The same of a folder of portraits, as the engine sees them: pairs are the persons who have two photographs.

    Raises `ModelError` and `UsageError` when models or portraits are absent.
    """
    from loadtests.people.portraits import load_people
    from pipeline.bootstrap import MAX_FACES
    from pipeline.vision.engine import OnnxEngine as Opened
    from pipeline.vision.sessions import Execution

    engine = Opened.open(models, Execution(threads=1), pad="off", max_faces=MAX_FACES)
    pairs: list[tuple[Vector, Vector]] = []
    others: list[Vector] = []
    for person in load_people(folder):
        if person.label in MISLABELLED:
            continue
        seen = [_embedded(engine, path) for path in dict.fromkeys((person.photographs[0], person.photographs[-1]))]
        found = [embedding for embedding in seen if embedding is not None]
        if len(found) == 2:
            pairs.append((found[0], found[1]))
        elif found:
            others.append(found[0])
    if min(len(pairs), len(others)) < _FEWEST:
        raise UsageError(
            f"measuring the law of embeddings on {folder}: {len(pairs)} persons have two photographs with a face and"
            f" {len(others)} have one; pass a folder with {_FEWEST} of each to --people"
        )
    return law(np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs]), np.stack(others))


def _embedded(engine: OnnxEngine, path: Path) -> Vector | None:
    from pipeline.vision.decode import read_image

    try:
        faces = engine.faces([read_image(path)])[0]
    except InvalidMessage:
        return None
    return faces[0].embedding if faces else None


def _of_length_1(vectors: Vector) -> Vector:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
