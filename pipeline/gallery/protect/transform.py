"""The keyed transform of a gallery key version: a secret rotation of the space of embeddings.

Every vector that leaves the engine is multiplied by an orthogonal matrix that only the holder of the keyring's secret
`gallery.<version>` can make. Inner products stay, so that searches in one version's space give the same cosines as in
the engine's; vectors of two versions are strangers to each other. What that is worth, and what not, is measured in
`linkage` and said in docs/template-protection.md: it is revocation, never secrecy. Secrecy is AES-GCM's.

The matrix is Haar distributed (Mezzadri, "How to generate random matrices from the classical compact groups", 2007):
QR of a matrix of standard normals, each column's sign fixed by the diagonal of R. The normals are made by Box and
Muller's method from the ChaCha20 keystream (RFC 8439) under a key derived from the secret, and not by numpy's
generators, whose streams may change between versions.

What is guaranteed: the keystream is the same everywhere to the bit. log, cos and LAPACK's QR differ between platforms
in the last bits of a float64, which the QR amplifies by the matrix' condition number; the entries agree within 1e-9
(held by a known answer), far below the rounding of the float32 that is stored (6e-8 relative). So a vector that
was protected on one machine is undone on another with an error of float32 rounding, and a cosine changes by less than
1e-5. Products are computed in float64 and rounded once: batches of different sizes give equal numbers but for rare
single last bits.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from pipeline.errors import SealError, SettingsError
from pipeline.keys.derivation import derive
from pipeline.keys.keyring import Keyring
from pipeline.ports import Vector

Matrix = npt.NDArray[np.float64]

_CACHED = 8
"""Versions and dimensions whose matrices are kept: 2 MiB each at 512 dimensions."""


class Transform:
    """The space of one key version. It holds its matrix: it stays usable when the version's secret is destroyed."""

    def __init__(self, version: int, matrix: Matrix) -> None:
        self.version = version
        self._matrix = matrix

    @classmethod
    def of(cls, keyring: Keyring, version: int, dimension: int) -> Transform:
        """The space of `version` for embeddings of `dimension` numbers. Raises `SealError` `unknown_key_version` if
        the keyring does not hold that version (any more)."""
        return _transform(version, version_key(keyring, version, "transform", str(dimension)), dimension)

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return len(self._matrix)

    def apply(self, vectors: Vector) -> Vector:
        """Clear embeddings, float32 (n, d) or (d,), in this space."""
        return _product(vectors, self._matrix.T)

    def undo(self, vectors: Vector) -> Vector:
        """Vectors of this space, float32 (n, d) or (d,), in clear."""
        return _product(vectors, self._matrix)

    def turn(self, vectors: Vector, of: Transform) -> Vector:
        """Vectors of the space `of`, float32 (n, d) or (d,), in this space; they are never in clear on the way."""
        if of is self:
            return vectors
        # (x A^T)(A B^T) = x B^T, rows being vectors; the middle is one matrix.
        return _product(vectors, _between(of, self))


def version_key(keyring: Keyring, version: int, *purpose: str) -> bytes:
    """A key derived from a gallery version's secret. Raises `SealError` `unknown_key_version` if the keyring does not
    hold that version (any more)."""
    try:
        secret = keyring.secret(f"gallery.{version}")
    except SettingsError:
        if version in keyring.versions("gallery"):
            raise  # it is there, and damaged or readable by others: that is no property of a template
        raise SealError("unknown_key_version", f"the keyring holds no gallery key of version {version}") from None
    return derive(secret, *purpose)


def _product(vectors: Vector, matrix: Matrix) -> Vector:
    product: Vector = (vectors.astype(np.float64) @ matrix).astype(np.float32)
    return product


@lru_cache(maxsize=_CACHED)
def _between(of: Transform, to: Transform) -> Matrix:
    turned: Matrix = of._matrix @ to._matrix.T  # noqa: SLF001 - of the class beside it
    return turned


@lru_cache(maxsize=_CACHED)
def _transform(version: int, key: bytes, dimension: int) -> Transform:
    return Transform(version, _rotation(key, dimension))


def _rotation(key: bytes, dimension: int) -> Matrix:
    """A Haar distributed orthogonal matrix, float64 (d, d), that `key` alone decides. Not to be written to."""
    q, r = np.linalg.qr(_normals(key, dimension * dimension).reshape(dimension, dimension))
    matrix: Matrix = np.ascontiguousarray(q * np.where(np.diag(r) < 0, -1.0, 1.0))
    matrix.setflags(write=False)
    return matrix


def _normals(key: bytes, count: int) -> Matrix:
    """`count` standard normals from the keystream of `key`: two of each pair of 53-bit uniforms (Box and Muller)."""
    pairs = -(-count // 2)
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(16 * pairs))
    # (0, 1): never 0, whose logarithm is none, and never 1.
    uniform = ((np.frombuffer(stream, "<u8") >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
