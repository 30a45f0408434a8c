"""Sources: the order, number and times of the pictures that a folder or a video gives."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.camera.pace import Pace
from pipeline.camera.sources import FolderSource, VideoSource, open_source
from pipeline.errors import OutsideError, UsageError

START_US = 1_000_000_000


class Shop:
    """A clock that waiting moves, and whether pictures are wanted. Stands for the stop event and the lease."""

    def __init__(self, *, rate: float = 10) -> None:
        self.now_us = START_US
        self.is_wanted = True
        self.stopped = threading.Event()
        self.waits: list[float] = []
        self.pace = Pace(rate, lambda: self.now_us, self, self)  # type: ignore[arg-type]

    def is_set(self) -> bool:
        return self.stopped.is_set()

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        self.now_us += round(timeout * 1_000_000)
        return self.stopped.is_set()

    def wait_held(self, timeout_s: float) -> bool:
        if not self.is_wanted and timeout_s:
            self.now_us += round(timeout_s * 1_000_000)
        return self.is_wanted


def picture(level: int) -> bytes:
    return cv2.imencode(".png", np.full((48, 64, 3), level, np.uint8))[1].tobytes()


def level(jpeg: bytes) -> int:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return round(float(pixels.mean()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in (3, 1, 2):
        (tmp_path / f"{i}.png").write_bytes(picture(i * 60))
    (tmp_path / "broken.jpg").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two seconds at 25 frames a second, each frame's brightness its number."""
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for i in range(50):
        writer.write(np.full((48, 64, 3), i * 5, np.uint8))
    writer.release()
    return path


def test_a_folder_is_shown_in_order_at_the_rate(folder: Path) -> None:
    """Each image once, by name, one interval apart; what is no picture is left out."""
    shop = Shop(rate=10)
    shown = [(at_us - START_US, level(jpeg)) for at_us, jpeg in FolderSource(folder).frames(shop.pace)]
    assert shown == [(0, 60), (100_000, 120), (200_000, 180)]


def test_a_folder_waits_while_nobody_wants_pictures(folder: Path) -> None:
    """A pause loses no image, and the times go on from its end without a burst."""
    shop = Shop(rate=10)
    frames = FolderSource(folder).frames(shop.pace)
    next(frames)
    shop.is_wanted = False
    threading.Timer(0.05, lambda: setattr(shop, "is_wanted", True)).start()
    at_us, jpeg = next(frames)
    assert level(jpeg) == 120
    assert at_us > START_US + 100_000
    assert next(frames)[0] == at_us + 100_000


def test_a_folder_may_loop_until_it_is_stopped(folder: Path) -> None:
    """With `loop` the first image follows the last; `stop` ends it before the next picture."""
    shop, levels = Shop(), []
    for _, jpeg in FolderSource(folder, loop=True).frames(shop.pace):
        levels.append(level(jpeg))
        if len(levels) == 5:
            shop.stopped.set()
    assert levels == [60, 120, 180, 60, 120]


def test_a_video_plays_by_its_own_timestamps(video: Path) -> None:
    """At a higher rate than its own every frame comes, each at the clock time of its own position."""
    shop = Shop(rate=60)
    shown = [(at_us - START_US, level(jpeg)) for at_us, jpeg in VideoSource(str(video)).frames(shop.pace)]
    assert len(shown) == 50
    assert all(abs(at_us - i * 40_000) <= 1000 for i, (at_us, _) in enumerate(shown))
    assert all(abs(seen - i * 5) <= 3 for i, (_, seen) in enumerate(shown))
    assert shop.now_us - START_US == pytest.approx(1_960_000, abs=1000)


def test_frames_beyond_the_rate_are_skipped(video: Path) -> None:
    """At five a second, every fifth of 25: the video still takes its own time."""
    shop = Shop(rate=5)
    shown = [(at_us - START_US, level(jpeg)) for at_us, jpeg in VideoSource(str(video)).frames(shop.pace)]
    assert [round(at_us / 200_000, 2) for at_us, _ in shown] == list(range(10))
    assert all(abs(seen - i * 25) <= 3 for i, (_, seen) in enumerate(shown))


def test_a_video_pauses_while_nobody_wants_pictures(video: Path) -> None:
    """After a pause the next frame is the next of the video, with the time at which it was shown."""
    shop = Shop(rate=25)
    frames = VideoSource(str(video)).frames(shop.pace)
    levels = [level(next(frames)[1]) for _ in range(3)]
    shop.now_us += 10_000_000
    at_us, jpeg = next(frames)
    frames.close()
    assert [*levels, level(jpeg)] == pytest.approx([0, 5, 10, 15], abs=3)
    assert at_us == pytest.approx(START_US + 10_080_000, abs=1000)


def test_a_video_may_loop(video: Path) -> None:
    """With `loop` the first frame follows the last, later on the clock."""
    shop = Shop(rate=5)
    frames = VideoSource(str(video), loop=True).frames(shop.pace)
    shown = [next(frames) for _ in range(12)]
    frames.close()
    assert level(shown[10][1]) == pytest.approx(0, abs=3)
    times = [at_us for at_us, _ in shown]
    assert times == sorted(times)
    assert len(set(times)) == 12


def test_a_stopped_video_ends(video: Path) -> None:
    """`stop` ends a video before its next frame."""
    shop = Shop(rate=25)
    frames = VideoSource(str(video)).frames(shop.pace)
    next(frames)
    shop.stopped.set()
    assert list(frames) == []


def test_the_kind_of_a_source_is_found(folder: Path, video: Path) -> None:
    """A folder is a folder, a file a video."""
    assert isinstance(open_source(str(folder)), FolderSource)
    assert isinstance(open_source(str(video)), VideoSource)


def test_a_live_camera_drops_what_nobody_wants(video: Path) -> None:
    """A live camera goes on while nobody wants pictures, and gives none of them; when it ends, that is an error."""
    shop = Shop(rate=25)
    source = VideoSource(str(video))
    source._recorded = False  # a file in the place of a device: it delivers at once, then stops
    shop.is_wanted = False
    with pytest.raises(OutsideError, match="the camera stopped delivering"):
        next(source.frames(shop.pace))
    again = VideoSource(str(video))
    again._recorded = False
    shop.is_wanted = True
    at_us, _ = next(again.frames(shop.pace))
    assert at_us == shop.now_us


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("empty", UsageError, "holds no image"),
        ("junk.mp4", UsageError, "no video that can be decoded"),
        ("absent.mp4", UsageError, "no such file or folder"),
        ("rtsp://127.0.0.1:1/", OutsideError, "no such device or stream answers"),
    ],
)
def test_what_is_no_source_is_one_sentence(tmp_path: Path, source: str, error: type[Exception], says: str) -> None:
    """A folder without images, a file that is no video, a name of nothing."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.mp4").write_bytes(b"junk")
    with pytest.raises(error, match=says):
        open_source(source if "://" in source else str(tmp_path / source))


def test_a_folder_of_broken_images_says_so(tmp_path: Path) -> None:
    """Images that all fail to decode are an error, not an endless loop."""
    (tmp_path / "a.jpg").write_bytes(b"junk")
    with pytest.raises(UsageError, match="none of its files can be decoded"):
        next(FolderSource(tmp_path, loop=True).frames(Shop().pace))
