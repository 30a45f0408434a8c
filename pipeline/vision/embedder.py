"""Aligned faces to embeddings: ArcFace-style networks of any width, compared by cosine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.vision.sessions import Session, chunks
from pipeline.vision.tensors import Planes


class ArcFaceEmbedder:
    """Batches of aligned faces to vectors of length 1."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._planes = Planes(session.spec.input)
        self.dimension = session.spec.outputs[0].shape[1]

    def embed(self, aligned: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (n, 112, 112, 3) BGR to float32 (n, d), L2-normalised.

        A row that is not finite or has no length becomes zero: its cosine with every template is 0, so that it matches
        nobody and still counts as a face that stands there.
        """
        result = np.empty((len(aligned), self.dimension), np.float32)
        for part in chunks(len(aligned), self._session.max_batch):
            batch = np.empty((part.stop - part.start, *self._session.spec.input.shape[1:]), np.float32)
            for image, out in zip(aligned[part], batch, strict=True):
                self._planes.write(image, out)
            result[part] = normalised(self._session.run(batch)[0])
        return result


def normalised(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows of length 1; rows without a finite length become zero."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled = vectors / lengths
    sound = np.isfinite(scaled).all(axis=1, keepdims=True)
    return np.where(sound, scaled, np.float32(0.0))
