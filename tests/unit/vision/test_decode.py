"""Bytes from a network become pixels or a reason, and never cost more than their header allows."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InvalidMessage, UsageError
from pipeline.vision.decode import MAX_SCANS, Image, decode_jpeg, read_image


def picture(height: int = 96, width: int = 128) -> Image:
    """Soft colours, as a camera sees them."""
    noise = np.random.default_rng(3).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)


def jpeg(image: Image | None = None, colour: str = "BGR") -> bytes:
    """A baseline JPEG."""
    data: bytes = simplejpeg.encode_jpeg(picture() if image is None else image, quality=85, colorspace=colour)
    return data


def with_header_size(width: int, height: int) -> bytes:
    """A JPEG whose header announces another size than it holds."""
    data = jpeg()
    start = data.index(b"\xff\xc0")
    return data[: start + 5] + struct.pack(">HH", height, width) + data[start + 9 :]


def png(image: Image) -> bytes:
    """The picture as PNG."""
    return cv2.imencode(".png", image)[1].tobytes()


JPEG = jpeg()
PROGRESSIVE = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
# Start-of-scan markers inside a comment: the file would decode, but markers are counted, not parsed.
MANY_SCANS = b"\xff\xfe" + struct.pack(">H", 2 + 2 * (MAX_SCANS + 1)) + b"\xff\xda" * (MAX_SCANS + 1)
# A sequential JPEG whose first scan says that it holds one of the three components: more could follow.
_SCAN = JPEG.index(b"\xff\xda")
ONE_COMPONENT_A_SCAN = (
    JPEG[:2] + MANY_SCANS + JPEG[2:_SCAN] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + JPEG[_SCAN + 14 :]
)
CUT_IN_HALF = JPEG[: len(JPEG) // 2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_jpeg"),
        (b"hello" * 100, "not_jpeg"),
        (png(picture()), "not_jpeg"),
        (b"\xff\xd8", "not_jpeg"),
        (b"\xff\xd8\xff", "jpeg_truncated"),
        (JPEG[:150], "jpeg_truncated"),
        (JPEG[: JPEG.index(b"\xff\xc0") + 6], "jpeg_truncated"),
        (CUT_IN_HALF, "jpeg_truncated"),
        (JPEG[:-1], "jpeg_truncated"),
        (JPEG[:-2], "jpeg_truncated"),
        (with_header_size(500, 500), "jpeg_corrupt"),
        (with_header_size(10_000, 10_000), "image_too_large"),
        (with_header_size(65_535, 65_535), "image_too_large"),
        (with_header_size(128, 0), "image_too_small"),
        (with_header_size(0, 96), "image_too_small"),
        (with_header_size(1, 1), "image_too_small"),
        (jpeg(picture(31, 64)), "image_too_small"),
        (PROGRESSIVE[:2] + MANY_SCANS + PROGRESSIVE[2:], "jpeg_corrupt"),
        (ONE_COMPONENT_A_SCAN, "jpeg_corrupt"),
        (jpeg(np.zeros((64, 64, 4), np.uint8), "CMYK"), "not_jpeg"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_bad_bytes_are_refused_with_their_reason(data: bytes, reason: str) -> None:
    """A row per kind of bad input; the expected reason last."""
    with pytest.raises(InvalidMessage) as refused:
        decode_jpeg(data)
    assert refused.value.reason == reason


@pytest.mark.parametrize("data", [JPEG[:2] + MANY_SCANS + JPEG[2:], PROGRESSIVE], ids=["one scan", "few scans"])
def test_no_more_than_few_scans_are_taken_as_they_are(data: bytes) -> None:
    """A file whose only scan holds everything cannot have another, whatever its comments hold."""
    assert decode_jpeg(data).shape == (96, 128, 3)


def test_a_second_scan_behind_one_that_held_everything_is_not_decoded() -> None:
    """What lets the count be left out: libjpeg-turbo gives up there, at once."""
    again = JPEG[:-2] + JPEG[_SCAN:]
    with pytest.raises(InvalidMessage, match="jpeg_corrupt"):
        decode_jpeg(again)


def test_a_header_of_100_megapixels_costs_no_memory() -> None:
    """Refused before anything of its size is allocated."""
    bomb = with_header_size(10_000, 10_000)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidMessage, match="image_too_large"):
            decode_jpeg(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_of_pixels_is_the_callers() -> None:
    """Exactly the limit passes, one less does not."""
    assert decode_jpeg(JPEG, max_pixels=128 * 96).shape == (96, 128, 3)
    with pytest.raises(InvalidMessage, match="image_too_large"):
        decode_jpeg(JPEG, max_pixels=128 * 96 - 1)


def test_a_jpeg_becomes_blue_green_red_pixels() -> None:
    """A blue picture is blue in the first channel."""
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[..., 0] = 250
    assert decode_jpeg(jpeg(blue))[32, 32].tolist() == pytest.approx([250, 0, 0], abs=3)


def test_greyscale_gets_three_equal_channels() -> None:
    """Infrared cameras send one channel."""
    grey = decode_jpeg(jpeg(picture()[..., :1].copy(), "GRAY"))
    assert grey.shape == (96, 128, 3)
    assert (grey[..., 0] == grey[..., 2]).all()


def test_a_progressive_jpeg_decodes() -> None:
    """Few cameras send them, but they are good pictures."""
    data = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert decode_jpeg(data).shape == (96, 128, 3)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_decode_or_are_refused(data: st.DataObject) -> None:
    """Flipped, cut and inserted bytes: pixels of a bounded size or `InvalidMessage`, nothing else."""
    damaged = bytearray(JPEG)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        change = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if change == "flip":
            damaged[position] ^= data.draw(st.integers(1, 255))
        elif change == "cut":
            del damaged[position : position + data.draw(st.integers(1, 64))]
        else:
            damaged[position:position] = data.draw(st.binary(min_size=1, max_size=64))
        if not damaged:
            break
    try:
        pixels = decode_jpeg(bytes(damaged), max_pixels=1_000_000)
    except InvalidMessage:
        return
    assert pixels.size <= 3_000_000


def test_files_of_both_kinds_are_read(tmp_path: Path) -> None:
    """PNG without loss, with or without transparency; JPEG as the decoder gives it."""
    image = picture()
    (tmp_path / "a.png").write_bytes(png(image))
    assert (read_image(tmp_path / "a.png") == image).all()
    (tmp_path / "b.png").write_bytes(png(np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])))
    assert (read_image(tmp_path / "b.png") == image).all()
    (tmp_path / "c.jpg").write_bytes(JPEG)
    assert (read_image(tmp_path / "c.jpg") == decode_jpeg(JPEG)).all()


def test_a_picture_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    """EXIF orientation 6, as telephones write it: the file is read as viewers show it."""
    tags = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    segment = b"Exif\0\0" + tags
    exif = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    (tmp_path / "side.jpg").write_bytes(JPEG[:2] + exif + JPEG[2:])
    turned = read_image(tmp_path / "side.jpg")
    assert turned.shape == (128, 96, 3)
    assert (turned == cv2.rotate(decode_jpeg(JPEG), cv2.ROTATE_90_CLOCKWISE)).all()


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("absent.jpg", None, "No such file"),
        ("text.jpg", b"hello", "not_jpeg"),
        ("cut.jpg", CUT_IN_HALF, "jpeg_truncated"),
        ("cut.png", png(picture())[:-40], "png_truncated"),
        ("short.png", png(picture())[:20], "png_truncated"),
        ("huge.png", png(picture())[:16] + struct.pack(">II", 50_000, 50_000) + png(picture())[24:], "image_too_large"),
        ("broken.png", png(picture())[:60] + b"\0" * 400 + png(picture())[-12:], "png_corrupt"),
    ],
)
def test_a_file_that_is_no_image_is_named_in_one_sentence(
    tmp_path: Path, name: str, data: bytes | None, found: str
) -> None:
    """What was tried, what was found, what to do."""
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError) as refused:
        read_image(tmp_path / name)
    assert name in str(refused.value)
    assert found in str(refused.value)
    assert "pass a JPEG or PNG file" in str(refused.value)
