"""Pictures: what becomes the JPEG of a frame, and how large it may be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.camera.pictures import Pixels, as_jpeg, encode_jpeg

NOISE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)


def decoded(jpeg: bytes | None) -> Pixels:
    assert jpeg is not None
    assert jpeg.startswith(b"\xff\xd8\xff")
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.astype(np.uint8)


def encoded(suffix: str, pixels: Pixels = NOISE) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    """`jpeg` with an APP1 segment that holds an orientation and a serial number (Exif 2.3, 4.5.4)."""
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff + b"serial 4711"
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def test_a_small_jpeg_passes_as_it_is() -> None:
    """A camera's JPEG is not encoded twice."""
    jpeg = encoded(".jpg")
    assert as_jpeg(jpeg) is jpeg


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff"])
def test_other_formats_become_jpeg(suffix: str) -> None:
    """The same picture in another format is encoded as JPEG at its own size."""
    assert decoded(as_jpeg(encoded(suffix))).shape == NOISE.shape


def test_exif_is_applied_and_left_out() -> None:
    """A JPEG that is to be turned comes out upright, without the data that its camera wrote beside it."""
    turned = as_jpeg(with_exif(encoded(".jpg"), orientation=6))
    assert decoded(turned).shape == (300, 200, 3)
    assert turned is not None
    assert b"Exif" not in turned
    assert b"serial" not in turned


@pytest.mark.parametrize("max_bytes", [60_000, 20_000, 2_000])
def test_a_frame_is_never_too_large(max_bytes: int) -> None:
    """A picture that would be too large is encoded at a lower quality, then at half its width, until it fits."""
    jpeg = encode_jpeg(NOISE, max_bytes=max_bytes)
    assert len(jpeg) <= max_bytes
    height, width = decoded(jpeg).shape[:2]
    assert abs(width / height - 1.5) < 0.05
    again = as_jpeg(encoded(".jpg"), max_bytes=max_bytes)
    assert again is not None
    assert len(again) <= max_bytes


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x89PNG\r\n\x1a\n", b"\0" * 5000])
def test_what_is_no_picture_is_none(junk: bytes) -> None:
    """Bytes that are no picture give None, not an exception."""
    assert as_jpeg(junk) is None
