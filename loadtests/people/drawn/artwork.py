"""What an attacker holds up: the photograph, and what paper or a display makes of it.

Paper has grain, dots, a narrow range of tones, a bend; a display has its own light, a bluish white, lines, and between
its grid and the camera's a moire. Strengths are drawn at random down to almost none: no single sign is always there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from loadtests.people.drawn.backgrounds import background
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.truth import Floats, Pixels
from loadtests.people.drawn.view import Light, View

FACE_PX = 170.0
"""Width of a face's box on a photograph."""


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """`pixels` (h, w, 3); `landmarks` float32 (5, 2) and `box` on it; `middle` is the view's centre on it."""

    pixels: Pixels
    landmarks: Floats
    box: tuple[float, float, float, float]
    middle: tuple[float, float]


def sitting(rng: np.random.Generator) -> View:
    """How the person looked when the photograph was taken: about frontal, soft light."""
    small = rng.normal(0, 1, 5).clip(-2, 2)
    return View(
        yaw_deg=5 * small[0],
        pitch_deg=4 * small[1],
        roll_deg=2 * small[2],
        smile=float(np.clip(0.15 + 0.3 * small[3], -0.3, 0.9)),
        outfit=int(rng.integers(0, 1 << 30)),
        glasses=int(rng.integers(0, 8)) if rng.random() < 0.15 else None,
        light=Light(
            azimuth_deg=22 * small[4],
            elevation_deg=30,
            ambient=float(rng.uniform(0.5, 0.8)),
            warmth=float(rng.normal(0, 0.25)),
        ),
        face_px=FACE_PX,
    )


def wall(rng: np.random.Generator, size: tuple[int, int]) -> Pixels:
    """What lies behind the person on a photograph: a plain wall, or some place."""
    if rng.random() < 0.5:
        return background(rng, size)
    plain = np.empty((size[1], size[0], 3), np.uint8)
    plain[:] = np.clip(rng.uniform(60, 235) + rng.normal(0, 12, 3), 0, 255)
    return plain


def photograph(painter: Painter, view: View, behind: Pixels) -> Photograph:
    """The person in front of `behind`, seen in `view` but in the middle."""
    height, width = behind.shape[:2]
    canvas = behind.copy()
    middle = (width / 2, height * 0.48)
    truth = painter.draw(replace(view, centre=middle, face_px=FACE_PX), canvas)
    return Photograph(canvas, truth.landmarks, truth.box, middle)


def printed(rng: np.random.Generator, photo: Pixels) -> Pixels:
    """The photograph on paper, same size: tones, ink dots, bands, grain, border, bend."""
    height, width = photo.shape[:2]
    paper = np.float32(rng.uniform(205, 245)) * (1 + rng.normal(0, 0.02, 3).astype(np.float32))
    ink = rng.uniform(0.06, 0.24)
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)[..., None].astype(np.float32)
    dull = np.float32(rng.uniform(0.02, 0.50))
    share = (photo * (1 - dull) + grey * dull) * np.float32((1 - ink) / 255) + np.float32(ink)
    x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    share *= 1 - np.float32(rng.uniform(0.02, 0.20)) * _dots(rng, x, y)
    if rng.random() < 0.35:
        share *= (
            1 - np.float32(rng.uniform(0.01, 0.06)) * (np.sin(y / np.float32(rng.uniform(1.5, 6))) > 0.4)[..., None]
        )
    fine = rng.standard_normal((height // 2 + 1, width // 2 + 1), np.float32)
    grain = cv2.resize(cv2.GaussianBlur(fine, (0, 0), float(rng.uniform(0.4, 1.2))), (width, height))
    share *= 1 + np.float32(rng.uniform(0.01, 0.05)) * grain[..., None]
    share *= _bend(rng, x, y, width, height)[..., None]
    sheet = share * paper
    border = round(float(rng.choice([0.0, 0.0, rng.uniform(0.01, 0.07)])) * width)
    if border > 0:
        for edge in (sheet[:border], sheet[-border:], sheet[:, :border], sheet[:, -border:]):
            edge[:] = paper
    return np.clip(sheet, 0, 255).astype(np.uint8)


def _dots(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    """A halftone screen for each of three inks at its own angle, about 0 .. 1, (h, w, 3)."""
    period = rng.uniform(2.2, 5.0)
    planes = []
    for angle in np.radians([15.0, 75.0, 45.0]) + rng.normal(0, 0.1):
        cos, sin = np.float32(np.cos(angle) * 2 * np.pi / period), np.float32(np.sin(angle) * 2 * np.pi / period)
        planes.append(0.5 + 0.25 * (np.sin(x * cos + y * sin) + np.sin(x * -sin + y * cos)))
    return np.dstack(planes).astype(np.float32)


def _bend(rng: np.random.Generator, x: Floats, y: Floats, width: int, height: int) -> Floats:
    """What a slight bend, a crease and a gloss make of the light that falls on paper, float32 (h, w)."""
    along, across = x / width - 0.5, y / height - 0.5
    tilt = rng.normal(0, 1.3)
    way = along * np.float32(np.cos(tilt)) + across * np.float32(np.sin(tilt))
    light = 1 + np.float32(rng.normal(0, 0.16)) * way + np.float32(rng.normal(0, 0.45)) * way * way
    if rng.random() < 0.3:
        fold = way - np.float32(rng.uniform(-0.3, 0.3))
        light = light * (1 - np.float32(rng.uniform(0.05, 0.2)) * np.exp(-((fold / np.float32(0.008)) ** 2)))
    if rng.random() < 0.35:
        middle = np.float32(rng.uniform(-0.4, 0.4))
        light = light + np.float32(rng.uniform(0.05, 0.35)) * np.exp(
            -(((way - middle) / np.float32(rng.uniform(0.05, 0.2))) ** 2)
        )
    return np.asarray(light, np.float32)


@dataclass(frozen=True, slots=True)
class Display:
    """One display and the camera before it: what does not change from frame to frame. Strengths as shares."""

    gamma: float
    white: tuple[float, float, float]
    power: float
    grid: float
    moire: tuple[float, float, float, float]
    lines: float
    reflection: tuple[float, float, float]
    bezel: tuple[float, float, tuple[int, int, int]]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Display:
        """Some phone or tablet."""
        shade = int(rng.integers(6, 46))
        return cls(
            gamma=float(rng.uniform(0.8, 1.45)),
            white=(float(rng.uniform(1.0, 1.16)), float(rng.uniform(0.95, 1.04)), float(rng.uniform(0.86, 1.0))),
            power=float(rng.uniform(0.75, 1.30)),
            grid=float(rng.uniform(0.01, 0.10)),
            moire=(
                float(rng.uniform(0.015, 0.11)),
                float(rng.uniform(0.05, 0.5)),
                float(rng.uniform(0, np.pi)),
                float(rng.uniform(0, 6.3)),
            ),
            lines=float(rng.uniform(0.0, 0.05)),
            reflection=(float(rng.uniform(0, 0.28)), float(rng.uniform(-0.4, 0.4)), float(rng.uniform(0.05, 0.4))),
            bezel=(
                float(rng.uniform(0.02, 0.10)),
                float(rng.uniform(0.02, 0.22)),
                (shade, shade, shade + int(rng.integers(0, 6))),
            ),
        )

    def show(self, photo: Pixels) -> Pixels:
        """The photograph on the display, with the bezel around it."""
        table = 255 * self.power * np.power(np.arange(256) / 255, self.gamma)[:, None] * np.array(self.white) + 7
        lit = cv2.LUT(photo, np.clip(table, 0, 255).astype(np.uint8)[None])
        height, width = photo.shape[:2]
        x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
        strength, beat, angle, phase = (np.float32(value) for value in self.moire)
        wave = (x * np.cos(angle) + y * np.sin(angle)) * beat + 5 * np.sin((y - x) / 140 + phase)
        veil = (
            1
            + np.float32(self.lines) * np.sin(y * np.float32(0.045) + phase)
            + np.float32(self.grid) * (np.sin(y * 2.4) + np.sin(x * 2.4)) / 2
        )
        gains = [veil + strength * np.sin(wave + np.float32(shift)) for shift in (0.0, 2.0, 4.0)]
        out = lit * np.dstack(gains)
        share, place, wide = self.reflection
        streak = np.exp(-(((x / width - 0.5 - place + 0.4 * (y / height - 0.5)) / wide) ** 2))
        out += np.float32(215 * share) * streak[..., None]
        side, end, shade = self.bezel
        shown = np.clip(out, 0, 255).astype(np.uint8)
        wide_px, tall_px = round(side * width), round(end * width)
        return np.asarray(
            cv2.copyMakeBorder(shown, tall_px, tall_px, wide_px, wide_px, cv2.BORDER_CONSTANT, value=shade), np.uint8
        )

    def margin(self, width: int) -> tuple[int, int]:
        """How far the bezel shifts the photograph, in its pixels, right and down."""
        return round(self.bezel[0] * width), round(self.bezel[1] * width)
