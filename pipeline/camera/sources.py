"""Where pictures come from: a folder of images, a video file, or a live device or stream.

A source yields (captured_at_us, JPEG): the time is the camera's clock when the picture was taken, or, for a recording,
when its moment was played. A recording pauses while nobody wants pictures; a live camera goes on and its pictures are
dropped before they are even decoded.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from pipeline.camera.pace import Pace
from pipeline.camera.pictures import as_jpeg, encode_jpeg
from pipeline.errors import OutsideError, UsageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_LATE_US = 200_000


class Source(Protocol):
    """What a camera films."""

    def frames(self, pace: Pace) -> Iterator[tuple[int, bytes]]:
        """(captured_at_us, JPEG), each yielded when its time has come; ends with the source or with `pace`."""
        ...


class FolderSource:
    """The images of a folder in the order of their names, one per turn; `loop` begins again after the last."""

    def __init__(self, folder: Path, *, loop: bool = False) -> None:
        self._folder = folder
        self._loop = loop
        if not folder.is_dir():
            raise UsageError(f"opening the folder of pictures {folder}: no such folder")
        self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self._files:
            raise UsageError(f"opening the folder of pictures {folder}: it holds no image (JPEG, PNG, BMP, WebP, TIFF)")

    def frames(self, pace: Pace) -> Iterator[tuple[int, bytes]]:
        """See `Source`. A file that is no picture is left out; raises `UsageError` if all are."""
        shown = False
        while True:
            for path in self._files:
                jpeg = self._read(path)
                if jpeg is None:
                    continue
                if not pace.wait_turn():
                    return
                shown = True
                yield pace.now_us(), jpeg
            if not shown:
                raise UsageError(f"reading the pictures of {self._folder}: none of its files can be decoded")
            if not self._loop:
                return

    def _read(self, path: Path) -> bytes | None:
        try:
            return as_jpeg(path.read_bytes())
        except OSError as error:
            raise OutsideError(f"reading the picture {path}: {error.strerror}") from None


class VideoSource:
    """A video file, played at its own speed by its own timestamps, or a device number or stream address, live; frames
    beyond the pace's rate are skipped. `loop` begins a file again at its end."""

    def __init__(self, source: str, *, loop: bool = False) -> None:
        self._name = source
        self._loop = loop
        self._recorded = Path(source).is_file()
        self._capture = cv2.VideoCapture(int(source)) if source.isdecimal() else cv2.VideoCapture(source)
        if not self._capture.isOpened():
            if self._recorded:
                raise UsageError(f"opening the video {source}: it is no video that can be decoded")
            if source.isdecimal() or "://" in source:
                raise OutsideError(f"opening the camera {source}: no such device or stream answers")
            raise UsageError(f"opening the video {source}: no such file or folder")

    def frames(self, pace: Pace) -> Generator[tuple[int, bytes], None, None]:
        """See `Source`. Raises `OutsideError` when a live camera stops delivering."""
        try:
            yield from self._play(pace) if self._recorded else self._film(pace)
        finally:
            self._capture.release()

    def _play(self, pace: Pace) -> Iterator[tuple[int, bytes]]:
        not_before_us = 0
        while True:
            start_us: int | None = None  # the clock at the video's position 0
            next_us = number = 0
            while pace.wait_wanted() and self._capture.grab():
                position_us = self._position_us(number)
                number += 1
                if position_us < next_us:
                    continue
                next_us = position_us + pace.interval_us - 1000
                if start_us is None or pace.now_us() - (start_us + position_us) > _LATE_US:
                    # The beginning, or the end of a pause.
                    start_us = max(pace.now_us(), not_before_us) - position_us
                if not pace.wait_until(start_us + position_us):
                    return
                not_before_us = start_us + position_us + pace.interval_us
                yield from self._taken(start_us + position_us)
            if not self._loop or not number or not pace.running():
                return
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)

    def _film(self, pace: Pace) -> Iterator[tuple[int, bytes]]:
        due_us = 0
        while pace.running():
            if not self._capture.grab():
                raise OutsideError(
                    f"filming with {self._name}: the camera stopped delivering; check it and start again"
                )
            now_us = pace.now_us()
            if now_us >= due_us and pace.wanted():
                due_us = now_us + pace.interval_us
                yield from self._taken(now_us)

    def _taken(self, at_us: int) -> Iterator[tuple[int, bytes]]:
        """The grabbed frame, unless it is damaged."""
        whole, pixels = self._capture.retrieve()
        if whole:
            yield at_us, encode_jpeg(pixels.astype(np.uint8))

    def _position_us(self, number: int) -> int:
        """The grabbed frame's own timestamp; by its number where the container has none."""
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if position_ms > 0 or number == 0:
            return round(position_ms * 1000)
        return round(number * 1_000_000 / (self._capture.get(cv2.CAP_PROP_FPS) or 25.0))


def open_source(source: str, *, loop: bool = False) -> FolderSource | VideoSource:
    """A folder if `source` is one, else a video file, a device number or a stream address."""
    return FolderSource(Path(source), loop=loop) if Path(source).is_dir() else VideoSource(source, loop=loop)
