"""Pixels and files to the JPEG that a frame carries: small enough for a frame, with nothing in it but the picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.keys.frames import MAX_JPEG_BYTES

Pixels = npt.NDArray[np.uint8]
"""uint8 (height, width, 3), channels in the order blue, green, red."""

_QUALITIES = (92, 80, 60)


def as_jpeg(file: bytes, *, max_bytes: int = MAX_JPEG_BYTES) -> bytes | None:
    """The picture of an image file as JPEG; None if it is no picture.

    A JPEG that is small enough passes as it is, unless it carries EXIF: a frame needs its pixels upright and nobody
    needs its place and serial number. Everything else is encoded again.
    """
    if file.startswith(b"\xff\xd8\xff") and len(file) <= max_bytes and b"Exif\0\0" not in file[:65536]:
        return file
    if not file:
        return None
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    return None if pixels is None else encode_jpeg(pixels.astype(np.uint8), max_bytes=max_bytes)


def encode_jpeg(pixels: Pixels, *, max_bytes: int = MAX_JPEG_BYTES) -> bytes:
    """A JPEG of at most `max_bytes`: at the best quality that fits, else of a picture half as wide."""
    while True:
        for quality in _QUALITIES:
            _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if encoded.size <= max_bytes:
                return encoded.tobytes()
        pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)
