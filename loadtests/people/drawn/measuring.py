"""What drawing costs, in CPU time of one thread: a new person, a view for training, a frame of a stream, its JPEG."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from loadtests.motion import encode_jpeg
from loadtests.people.drawn.attacks import Instrument, Species
from loadtests.people.drawn.factors import person
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.pictures import sample
from loadtests.people.drawn.stream import CameraStream
from loadtests.people.drawn.truth import Pixels
from loadtests.people.drawn.view import random_view

CAMERAS, RATE_FPS = 50, 5.0


def measure(rounds: int = 40) -> list[tuple[str, float, float]]:
    """Rows of (what, median ms of CPU, 90 % of them below)."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(1)
    painters = [Painter(person(index)) for index in range(4)]
    canvas = np.full((256, 256, 3), 140, np.uint8)
    streams = [CameraStream(index, painters[index % 4], bystanders=painters[:2]) for index in range(4)]
    large = CameraStream(9, painters[0], bystanders=painters[1:3], size=(1280, 720))
    attacks = {species: Instrument(painters[0], species, rng) for species in Species}
    for stream in (*streams, large):
        for index in range(0, 40, 2):
            stream.frame(index)
    frames: list[Pixels] = [stream.frame(3).pixels for stream in streams]
    # Streams take turns, each with consecutive frames, as on a core that draws several cameras.
    rows = [
        _row("a new person", rounds, lambda n: Painter(person(1000 + n))),
        _row(
            "draw a random view, face of 110 .. 180 px",
            rounds,
            lambda n: painters[n % 4].draw(random_view(rng, face_px=(110, 180), centre=(128, 128)), canvas),
        ),
        _row("sample of 256 px (background, view, lens, noise)", rounds, lambda n: sample(painters[n % 4], rng)),
        _row("stream frame VGA, two bystanders", 4 * rounds, lambda n: streams[n % 4].frame(n // 4)),
        _row("stream frame 720p, two bystanders", rounds, large.frame),
        _row("JPEG of a VGA frame, quality 85", rounds, lambda n: encode_jpeg(frames[n % 4])),
    ]
    for species, held in attacks.items():
        rows.append(_row(f"present a {species.value}", rounds, partial(_present, held, rng, canvas)))
    return rows


def _present(held: Instrument, rng: np.random.Generator, canvas: Pixels, _: int) -> None:
    held.present(random_view(rng, face_px=(110, 180), centre=(128, 128)), canvas)


def _row(what: str, rounds: int, act: Callable[[int], object]) -> tuple[str, float, float]:
    act(0)
    taken = []
    for number in range(rounds):
        start = time.thread_time()
        act(number)
        taken.append(1000 * (time.thread_time() - start))
    return what, statistics.median(taken), statistics.quantiles(taken, n=10)[-1]


def cameras_per_core(frame_ms: float) -> float:
    """How many cameras at `RATE_FPS` one core draws, their JPEGs apart."""
    return 1000 / frame_ms / RATE_FPS
