"""Aligned faces to embeddings: ArcFace-style networks of any width, compared by cosine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.vision.sessions import Session
from pipeline.vision.tensors import Pixels


class ArcFaceEmbedder:
    """Batches of aligned faces to vectors of length 1."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pixels = Pixels(session.spec.input, inside=session.pixels)
        self.dimension = session.spec.outputs[0].shape[1]

    def embed(self, aligned: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (n, 112, 112, 3) BGR to float32 (n, d), L2-normalised.

        A row that is not finite or has no length becomes zero: its cosine with every template is 0, so that it matches
        nobody and still counts as a face that stands there.
        """
        vectors = np.empty((len(aligned), self.dimension), np.float32)
        for part, outputs in self._session.runs(
            len(aligned),
            lambda size: self._pixels.shape(size, *aligned.shape[1:3]),
            lambda bound, part: self._pixels.fill(bound, list(aligned[part])),
        ):
            vectors[part] = outputs[0][: part.stop - part.start]
        return normalised(vectors)


def normalised(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows of length 1; rows without a finite length become zero."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
        scaled = vectors / lengths
    sound = np.isfinite(scaled).all(axis=1, keepdims=True)
    return scaled if sound.all() else np.where(sound, scaled, np.float32(0.0))
