"""Has this camera shown this picture before? Frozen pictures, loops and recompressed copies, found by their noise.

Whoever feeds a camera's place with a picture (a frozen frame, a recording in a loop) passes every other check: the
seal is the camera's own, time and nonce are fresh. But a live sensor never gives one picture twice: its noise is new
in each frame, however still the scene. A copy repeats the noise too, also when it was brightened and compressed again.

How it works. A JPEG holds the DCT coefficients of 8 x 8 blocks, rounded to multiples of the steps in its table (ITU-T
T.81, A.3.4). If the picture B is a recompressed copy of A, then each coefficient of A lies in the cell that was
rounded to B's coefficient: within half a step of it. Noise between them carries it out of the cell. So the distance
from A's coefficient to B's cell measures how much *noise* separates the two, whatever the quality of the recompression
was, and whatever texture a still scene has in both: a plain difference or correlation cannot tell a copy at quality 50
from a fresh frame of a quiet camera. A `Fingerprint` keeps the low coefficients of luma of some 200 blocks in a grid,
and B's steps. `separation` estimates the noise in grey levels (rms): the excess d of the distance over half a step
grows as d^2 ~ 1.6 noise^3 / (3 step) for noise well below a step. A gain of brightness is fitted on the blocks' means;
blocks with clipped pixels are left out; `TRIM` of the largest excesses is left out, they are what a gain or a clipping
moved.

Measured (`tests/unit/vision/test_copies.py` holds it): copies recompressed at quality 50 to 95 lie below
`SAME_PICTURE`, fresh frames of still scenes with noise down to 0.8 grey levels above it, those of moving faces far
above. What is not found: a copy that was scaled, shifted, turned or given fresh noise, one that passed a coarser
compression before its last, and pictures whose face has fewer than `LEAST_COEFFICIENTS` coefficients to compare.
Presentation-attack detection is another guard and stays one.

Where a face is given only the blocks around it are compared: the wall behind it may well be still, and a video codec
on the way repeats still blocks to the bit.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.vision.decode import Image
from pipeline.vision.faces import Box

SAME_PICTURE = 0.75
"""Grey levels of noise between two pictures below which one is a copy of the other."""
REMEMBERED = 16
"""Pictures of one camera that a new one is compared with."""
MAX_CAMERAS = 1_024
LEAST_COEFFICIENTS = 40
QUICK_COEFFICIENTS = 128
"""Enough to see that two pictures differ; only what may be a copy after that is looked at in full."""
_QUICK_DOUBT = 2.0 * SAME_PICTURE
TRIM = 0.05
_BLOCKS = 240
_ROUNDING = 0.3
"""Grey levels that decoding to 8 bits and back to luma adds on the way."""
_FINE = 8
"""Coefficients are kept as eighths."""
_SIDE = 8
_LOW = 5
_ORDER = tuple((u, v) for u in range(_LOW) for v in range(_LOW) if u + v < _LOW)
"""The kept coefficients, vertical and horizontal frequency, the mean first."""
_ZIGZAG = (
    (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2),
    (2, 1), (3, 0), (4, 0), (3, 1), (2, 2), (1, 3), (0, 4),
)  # fmt: skip
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)
_DEFAULT_STEP = 8.0

Floats = npt.NDArray[np.float32]


def _transform() -> Floats:
    """The orthonormal DCT-II of a block to its kept coefficients, as one matrix over pixels, float32 (64, 15)."""
    n = np.arange(_SIDE)
    rows = np.sqrt(2 / _SIDE) * np.cos(np.pi * (2 * n[None] + 1) * np.arange(_LOW)[:, None] / (2 * _SIDE))
    rows[0] /= np.sqrt(2)
    return np.stack([np.outer(rows[u], rows[v]).ravel() for u, v in _ORDER], axis=1).astype(np.float32)


_DCT = _transform()
_TO_COEFFICIENTS = (_LUMA[None, :, None] * _DCT[:, None] * _FINE).reshape(-1, len(_ORDER))
"""From the bytes of a block, BGR, to its coefficients in eighths, float32 (192, 15)."""
_GREY = 128 * _DCT.sum(axis=0) * _FINE
"""Those of a block of middle grey, which T.81 (A.3.1) takes as zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What is kept of a picture: below 8 KB, and no face can be made of it (one block in twenty, its low
    frequencies)."""

    shape: tuple[int, int]
    """Height and width, pixels."""
    coefficients: npt.NDArray[np.int16] = field(repr=False)
    """Eighths, int16 (n, 15)."""
    sound: npt.NDArray[np.bool_] = field(repr=False)
    """Blocks without clipped pixels, (n,)."""
    steps: Floats = field(repr=False)
    """The JPEG's steps for luma, (15,)."""
    checksum: tuple[int, int] = (0, 0)
    """Length and CRC-32 of the JPEG: equal bytes need no estimate."""

    @property
    def size_bytes(self) -> int:
        """Memory of its arrays."""
        return self.coefficients.nbytes + self.sound.nbytes + self.steps.nbytes


def fingerprint(image: Image, jpeg: bytes) -> Fingerprint:
    """Of a picture decoded at full scale from `jpeg`. Takes about 0.1 ms."""
    rows, columns, every = _grid(*image.shape[:2])
    high, wide, first = rows * _SIDE, columns * _SIDE, every // 2
    tiles = image[:high, :wide].reshape(rows, _SIDE, columns, _SIDE, 3)[first::every, :, first::every]
    blocks = tiles.transpose(0, 2, 1, 3, 4).reshape(-1, _SIDE * _SIDE * 3)
    return Fingerprint(
        shape=(image.shape[0], image.shape[1]),
        coefficients=np.asarray(np.rint(blocks.astype(np.float32) @ _TO_COEFFICIENTS - _GREY), np.int16),
        sound=cv2.inRange(blocks, 4, 251).min(axis=1) > 0,
        steps=_steps(jpeg),
        checksum=(len(jpeg), zlib.crc32(jpeg)),
    )


def separation(
    coefficients: npt.NDArray[np.int16],
    sound: npt.NDArray[np.bool_],
    new: Fingerprint,
    face: Box | None = None,
    *,
    most: int | None = None,
) -> Floats:
    """Grey levels of noise that separate `new` from each of k older fingerprints of its shape, (k,); infinite where
    that cannot be told.

    `coefficients` (k, n, 15) and `sound` (k, n) are theirs. `face`: where to look, pixels; None for the whole picture.
    `most` bounds the coefficients that are compared.
    """
    count = len(coefficients)
    there = np.flatnonzero(_around(new.shape, face) & new.sound)
    b = _grey(new.coefficients[there])
    where, which = np.nonzero(np.abs(b[:, 1:]) > 0.75 * new.steps[1:])
    if count == 0 or len(where) < LEAST_COEFFICIENTS:
        return np.full(count, np.inf, np.float32)
    if most is not None and len(where) > most:
        some = np.linspace(0, len(where) - 1, most).astype(np.int64)
        where, which = where[some], which[some]
    taken = there[where] * len(_ORDER) + which + 1
    a = _grey(coefficients.reshape(count, -1)[:, taken])
    gain = _gain(_grey(coefficients[:, there, 0]), _grey(new.coefficients[there, 0]), sound[:, there])
    steps = new.steps[1:][which]
    excess = np.abs(gain[:, None] * a - b[where, which + 1]) - (steps / 2 + _ROUNDING)
    cubes = np.square(np.clip(excess, 0, 8)) * (3 * steps / 1.6)
    usable = sound[:, there[where]]
    cubes[~usable] = np.inf  # sorted to the end and never reached
    counts = (usable.sum(axis=1) * (1 - TRIM)).astype(np.int64)
    sums = np.cumsum(np.sort(cubes, axis=1), axis=1)[np.arange(count), np.maximum(counts - 1, 0)]
    found = np.cbrt(sums / np.maximum(counts, 1))
    return np.asarray(np.where(counts >= LEAST_COEFFICIENTS * (1 - TRIM), found, np.inf), np.float32)


class _Ring:
    """The last fingerprints of one camera, all of one shape."""

    def __init__(self, like: Fingerprint, size: int) -> None:
        self.shape = like.shape
        self._coefficients = np.zeros((size, *like.coefficients.shape), np.int16)
        self._sound = np.zeros((size, *like.sound.shape), np.bool_)
        self._checksums: deque[tuple[int, int]] = deque(maxlen=size)
        self._added = 0

    def has(self, new: Fingerprint, face: Box | None) -> bool:
        if new.checksum in self._checksums:
            return True
        held = min(self._added, len(self._coefficients))
        old, sound = self._coefficients[:held], self._sound[:held]
        near = separation(old, sound, new, face, most=QUICK_COEFFICIENTS) < _QUICK_DOUBT
        return bool(near.any()) and bool((separation(old[near], sound[near], new, face) < SAME_PICTURE).any())

    def add(self, new: Fingerprint) -> None:
        at = self._added % len(self._coefficients)
        self._coefficients[at], self._sound[at] = new.coefficients, new.sound
        self._checksums.append(new.checksum)
        self._added += 1


class RecentPictures:
    """The last pictures of each camera, across intents. One caller at a time."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._cameras: dict[tuple[int, str], _Ring] = {}

    def seen_before(self, partition: int, camera: str, new: Fingerprint, face: Box | None) -> bool:
        """Whether the camera has shown this picture lately; a new one is noted. A camera is known by its lane's
        partition and its name; another resolution begins anew."""
        ring = self._cameras.pop((partition, camera), None)
        if ring is None or ring.shape != new.shape:
            ring = _Ring(new, self._remembered)
        self._cameras[partition, camera] = ring  # now the last used
        if len(self._cameras) > MAX_CAMERAS:
            self._cameras.pop(next(iter(self._cameras)))
        repeated = ring.has(new, face)
        if not repeated:
            # A copy adds nothing to what is known, and must not push out what it is a copy of.
            ring.add(new)
        return repeated

    def forget(self, partition: int) -> None:
        """Drops the cameras of a lane that was taken away."""
        self._cameras = {key: kept for key, kept in self._cameras.items() if key[0] != partition}


@lru_cache(maxsize=64)
def _grid(height: int, width: int) -> tuple[int, int, int]:
    """Rows and columns of whole blocks, and every how many-th of each is kept."""
    rows, columns = height // _SIDE, width // _SIDE
    every = max(1, int(np.ceil(np.sqrt(rows * columns / _BLOCKS))))
    return rows, columns, every


@lru_cache(maxsize=64)
def _centres(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """The middles of the kept blocks, x and y in pixels, (n,) each."""
    rows, columns, every = _grid(*shape)
    y = np.arange(every // 2, rows, every) * _SIDE + _SIDE / 2
    x = np.arange(every // 2, columns, every) * _SIDE + _SIDE / 2
    return np.asarray(np.tile(x, len(y)), np.float32), np.asarray(np.repeat(y, len(x)), np.float32)


def _around(shape: tuple[int, int], face: Box | None) -> npt.NDArray[np.bool_]:
    """The kept blocks around a face, (n,)."""
    x, y = _centres(shape)
    if face is None:
        return np.ones(len(x), np.bool_)
    # Half a face more on each side: hair, collar and shoulders move with it and have much to compare.
    across, down = abs(x - face.x - face.w / 2), abs(y - face.y - face.h / 2)
    return np.asarray((across <= face.w) & (down <= face.h), np.bool_)


def _grey(eighths: npt.NDArray[np.int16]) -> Floats:
    return np.divide(eighths, _FINE, dtype=np.float32)


def _gain(a: Floats, b: Floats, sound: npt.NDArray[np.bool_]) -> Floats:
    """By how much b's blocks differ more among each other than each row of a's, (k,): the change of contrast."""
    weights = sound.astype(np.float32)
    count = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    from_a = (a - (a * weights).sum(axis=1, keepdims=True) / count) * weights
    from_b = (b - (b * weights).sum(axis=1, keepdims=True) / count) * weights
    spread = np.square(from_a).sum(axis=1)
    gain = (from_a * from_b).sum(axis=1) / np.maximum(spread, 1e-6)
    return np.asarray(np.where(spread > 1.0, np.clip(gain, 0.5, 2.0), 1.0), np.float32)


def _steps(jpeg: bytes) -> Floats:
    """The first quantisation table of a JPEG (T.81, B.2.4.1), which is luma's in every camera's; float32 (15,)."""
    at = jpeg.find(b"\xff\xdb", 0, 4096)
    wide = at >= 0 and at + 5 < len(jpeg) and jpeg[at + 4] >> 4 == 1
    size = 2 if wide else 1
    data = jpeg[at + 5 : at + 5 + size * len(_ZIGZAG)]
    if at < 0 or len(data) < size * len(_ZIGZAG):
        return np.full(len(_ORDER), _DEFAULT_STEP, np.float32)
    return _ordered(data)


@lru_cache(maxsize=64)
def _ordered(table: bytes) -> Floats:
    """The beginning of a quantisation table, bytes or words, in the order of the coefficients; a camera sends the same
    one with each picture."""
    values = np.frombuffer(table, np.uint8 if len(table) == len(_ZIGZAG) else ">u2")
    found = dict(zip(_ZIGZAG, values.tolist(), strict=True))
    steps = np.array([max(1, found[place]) for place in _ORDER], np.float32)
    steps.flags.writeable = False
    return steps
