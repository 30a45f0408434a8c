"""JPEG bytes to pixels, as careful as input from a network needs.

The header is read before anything is allocated, so that a few hundred bytes that announce 100 megapixels cost a header
and no more. libjpeg-turbo only warns about data that ends early and fills the rest with grey; here every warning is an
error, because half a face must not be matched. Nothing of the picture is repeated in an error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from pipeline.errors import InvalidMessage, UsageError

Image = npt.NDArray[np.uint8]
"""Pixels, uint8 (height, width, 3), channels in the order blue, green, red."""

MAX_PIXELS = 16_000_000
"""Default bound of a camera frame: 4K is 8.3 megapixels."""

MAX_FILE_PIXELS = 64_000_000
"""Bound of a still image given by a person: larger than the sensors of cameras in the shops."""

MIN_SIDE_PX = 32
"""The detector's coarsest stride: below it there is nothing to find."""

MAX_SCANS = 64
"""A progressive JPEG of a camera has about 10 scans; each one costs a pass over the whole image, however few bytes it
has.
"""

_JPEG_START = b"\xff\xd8\xff"
_PNG_START = b"\x89PNG\r\n\x1a\n"


def decode_jpeg(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture in `data`, uint8 (height, width, 3) BGR; greyscale gets three equal channels.

    Raises `InvalidMessage` with the reason `not_jpeg`, `jpeg_truncated`, `jpeg_corrupt`, `image_too_large` or
    `image_too_small`.
    """
    if not data.startswith(_JPEG_START):
        raise InvalidMessage("not_jpeg", f"{len(data)} bytes do not begin as a JPEG does")
    try:
        height, width, colourspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        _refuse_header(data, max_pixels)
    _check_size(width, height, max_pixels)
    if colourspace in {"CMYK", "YCCK"}:
        raise InvalidMessage("not_jpeg", "a JPEG in print colours (CMYK) is not a camera's")
    if not _has_one_scan(data) and data.count(b"\xff\xda") > MAX_SCANS:
        raise InvalidMessage("jpeg_corrupt", f"the JPEG has more than {MAX_SCANS} scans")
    try:
        pixels: Image = simplejpeg.decode_jpeg(data, colorspace="BGR", strict=True)
    except ValueError as error:
        # libjpeg-turbo tells the two apart only in words; both are refused, the reason is for the operator.
        reason = "jpeg_truncated" if "Premature end of JPEG file" in str(error) else "jpeg_corrupt"
        raise InvalidMessage(reason, f"the JPEG of {width} x {height} pixels does not decode to its end") from None
    return pixels


def read_image(path: Path, *, max_pixels: int = MAX_FILE_PIXELS) -> Image:
    """The still image in a JPEG or PNG file, uint8 (height, width, 3) BGR, upright as viewers show it (EXIF
    orientation).

    Raises `UsageError` when the file cannot be read or is no such image: one sentence that names the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"reading the image {path}: {error.strerror}; pass a JPEG or PNG file") from None
    try:
        if data.startswith(_PNG_START):
            return _decode_png(data, max_pixels)
        pixels = decode_jpeg(data, max_pixels=max_pixels)
    except InvalidMessage as error:
        raise UsageError(
            f"reading the image {path}: {error.detail} ({error.reason}); pass a JPEG or PNG file"
        ) from None
    if b"Exif\0\0" in data[:65536]:
        # OpenCV turns the picture by its EXIF tag; decoded twice, because only the strict decoder above refuses a
        # truncated file.
        turned = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if turned is not None:
            return _as_image(turned)
    return pixels


def _refuse_header(data: bytes, max_pixels: int) -> NoReturn:
    """Why libjpeg-turbo could not use a header: the data ends before it, its size is extreme, or it is no picture."""
    size = _frame_size(data)
    if size is None:
        raise InvalidMessage("jpeg_truncated", f"the JPEG of {len(data)} bytes ends before its frame header")
    _check_size(*size, max_pixels)
    raise InvalidMessage("not_jpeg", "the JPEG's frame header describes no picture that can be decoded")


def _has_one_scan(data: bytes) -> bool:
    """Whether the first scan of a sequential JPEG holds all components, as a camera's does: libjpeg-turbo takes no
    second one then. Looking for further scans costs a search through the whole file.
    """
    components = 0
    for marker, position in _segments(data):
        if marker in {0xC0, 0xC1} and position + 9 < len(data):
            components = data[position + 9]
        if marker == 0xDA:
            return position + 4 < len(data) and 0 < components == data[position + 4]
    return False


def _frame_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the start-of-frame segment (ITU-T T.81, B.2.2), or None when the segments end before one."""
    for marker, position in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC} and position + 9 <= len(data):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and position of each segment up to the first scan's (ITU-T T.81, B.1.1.4)."""
    position, marker = 2, 0
    while marker != 0xDA and position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        yield marker, position
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")


def _decode_png(data: bytes, max_pixels: int) -> Image:
    """A PNG by OpenCV, 8 bits per channel without alpha; IHDR (the PNG specification, 11.2.2) is read first, for its
    size.
    """
    if len(data) < 33:
        raise InvalidMessage("png_truncated", f"the PNG of {len(data)} bytes ends within its header")
    width, height = struct.unpack(">II", data[16:24])
    _check_size(width, height, max_pixels)
    # OpenCV returns what it got of a file that was cut off; the closing chunk is the proof that it is whole.
    if b"IEND" not in data[-64:]:
        raise InvalidMessage("png_truncated", f"the PNG of {width} x {height} pixels has no closing chunk")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise InvalidMessage("png_corrupt", f"the PNG of {width} x {height} pixels does not decode")
    return _as_image(pixels)


def _as_image(pixels: npt.ArrayLike) -> Image:
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InvalidMessage("image_too_large", f"{width} x {height} pixels are more than the {max_pixels} allowed")
    if min(width, height) < MIN_SIDE_PX:
        raise InvalidMessage("image_too_small", f"{width} x {height} pixels: each side needs at least {MIN_SIDE_PX}")
