"""Presentation attacks on a drawn person: a print, a replay on a screen, a cut-out paper mask.

An `Instrument` is the thing held up (ISO/IEC 30107-3: presentation attack instrument): made once, it stays the same in
every frame. Whatever is flat moves as a plane: no parallax, no light of the room on noses, edges that are straight. Who
holds it is often seen behind or beside it, as are fingers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.drawn.artwork import FACE_PX, Display, Photograph, photograph, printed, sitting, wall
from loadtests.people.drawn.body import brightness
from loadtests.people.drawn.factors import person
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.truth import Floats, Pixels, Truth
from loadtests.people.drawn.view import View

HOLDERS = 24
_FIRST_HOLDER = 3_000_000_000
_FAR = 5.0
"""Distance from camera to sheet in widths of the face: how strong perspective is."""


class Species(StrEnum):
    """The kinds of presentation attack (ISO/IEC 30107-3: presentation attack instrument species)."""

    PRINT = "print"
    SCREEN = "screen"
    CUTOUT_MASK = "cutout_mask"


@lru_cache(maxsize=HOLDERS)
def _holder(number: int) -> Painter:
    return Painter(person(_FIRST_HOLDER + number))


class Instrument:
    """One thing that shows `painter`'s person, with whoever holds it. `rng` chooses what it is like."""

    def __init__(self, painter: Painter, species: Species, rng: np.random.Generator) -> None:
        self._painter, self._species = painter, species
        self._holder = _holder(int(rng.integers(HOLDERS)))
        self._outfit = int(rng.integers(0, 1 << 30))
        self._tilt = rng.normal(0, 1, 2).clip(-2, 2) * (7.0, 6.0)
        self._held = bool(rng.random() < 0.6)
        self._behind = bool(rng.random() < 0.5)
        self._fingers = rng.random((5, 3))
        self._sitting = sitting(rng)
        wide, tall = rng.uniform(1.35, 2.6), rng.uniform(1.05, 1.45)
        size = (int(wide * FACE_PX), int(wide * tall * FACE_PX))
        if species is Species.CUTOUT_MASK:
            size = (int(1.5 * FACE_PX), int(1.9 * FACE_PX))
        self._wall = wall(rng, size)
        self._photo = photograph(painter, self._sitting, self._wall)
        self._display = Display.drawn(rng) if species is Species.SCREEN else None
        self._paper = self._photo.pixels if self._display is not None else printed(rng, self._photo.pixels)
        self._holes = bool(rng.random() < 0.4)
        self._cut = _oval(self._photo, rng) if species is Species.CUTOUT_MASK else np.zeros((1, 1), np.uint8)

    def present(self, view: View, canvas: Pixels) -> Truth:
        """Draw it over `canvas` (in place) where and in the light that `view` says. On a screen the person also moves
        lids, eyes and mouth as `view` says: a recording is replayed.
        """
        if self._species is Species.CUTOUT_MASK:
            return self._worn(view, canvas)
        if self._behind:
            self._holder.draw(replace(view, outfit=self._outfit, yaw_deg=0.5 * view.yaw_deg), canvas)
        shown, photo, lids = self._shown(view)
        return self._laid(shown, photo, view, lids, canvas)

    def _shown(self, view: View) -> tuple[Pixels, Photograph, tuple[float, float]]:
        """The sheet's pixels, where the face is on it, and how far its eyes are open."""
        if self._display is None:
            return _in_light(self._paper, view), self._photo, self._sitting.eyes_open
        moving = replace(
            self._sitting,
            eyes_open=view.eyes_open,
            gaze=view.gaze,
            smile=view.smile,
            mouth_open=view.mouth_open,
            brow=view.brow,
        )
        photo = photograph(self._painter, moving, self._wall)
        right, down = self._display.margin(photo.pixels.shape[1])
        moved = Photograph(
            photo.pixels,
            photo.landmarks + np.array([right, down], np.float32),
            (photo.box[0] + right, photo.box[1] + down, photo.box[2], photo.box[3]),
            (photo.middle[0] + right, photo.middle[1] + down),
        )
        return self._display.show(photo.pixels), moved, view.eyes_open

    def _laid(self, shown: Pixels, photo: Photograph, view: View, lids: tuple[float, float], canvas: Pixels) -> Truth:
        """A whole sheet laid over the picture, fingers over its edge."""
        plane = self._plane(photo, view)
        height, width = shown.shape[:2]
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        mask = _blend(canvas, shown, None, plane)
        if mask and self._held:
            self._hold(canvas, _map(plane, corners), view)
        return _truth(photo, plane, lids)

    def _plane(self, photo: Photograph, view: View) -> npt.NDArray[np.float64]:
        """The homography from the sheet to the picture: turned a third as far as a head would, in perspective."""
        yaw, pitch = np.radians([0.35 * view.yaw_deg + self._tilt[0], 0.35 * view.pitch_deg + self._tilt[1]])
        roll = math.radians(view.roll_deg)
        turn = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]])
        lean = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
        whole = lean @ nod @ turn
        scale = view.face_px / FACE_PX
        sheet = whole[:, :2] @ np.array([[1, 0, -photo.middle[0]], [0, 1, -photo.middle[1]]])
        far = _FAR * FACE_PX
        rows = np.vstack([sheet[:2] * scale, -sheet[2:] / far + np.array([[0, 0, 1.0]])])
        return np.asarray(np.array([[1, 0, view.centre[0]], [0, 1, view.centre[1]], [0, 0, 1]]) @ rows)

    def _hold(self, canvas: Pixels, corners: Floats, view: View) -> None:
        """Fingers over the lower or a side edge."""
        skin = self._holder.palette.skin * brightness(view.light)
        long, thick = 0.34 * view.face_px, max(2, round(0.125 * view.face_px))
        edges = ((3, 2), (0, 3), (1, 2))
        middle = corners.mean(axis=0)
        for index, (place, choice, reach) in enumerate(self._fingers[: 2 + int(self._fingers[4, 0] * 3)]):
            start, end = edges[(int(self._fingers[0, 1] * 3) + (index == 0)) % 3]
            at = corners[start] + (corners[end] - corners[start]) * (0.55 + 0.11 * index + 0.05 * place)
            inward = (middle - at) / max(float(np.linalg.norm(middle - at)), 1.0)
            tip = at + inward * long * (0.25 + 0.5 * reach) + 3 * (choice - 0.5)
            root = at - inward * long
            for shade, width in ((0.72, thick), (0.95, round(thick * 0.72))):
                cv2.line(canvas, _point(root), _point(tip), _bgr(skin * shade), max(1, width), cv2.LINE_AA, 3)
            cv2.circle(canvas, _point(tip), round(thick * 0.24 * 8), _bgr(skin * 1.12), -1, cv2.LINE_AA, 3)

    def _worn(self, view: View, canvas: Pixels) -> Truth:
        """A face cut out of paper before the holder's head."""
        head = replace(view, outfit=self._outfit, glasses=None, mask=False, mouth_open=0.0)
        self._holder.draw(head, canvas)
        plane = self._plane(self._photo, view)
        lids = self._sitting.eyes_open
        mask = self._cut
        if self._holes:
            mask = mask.copy()
            for eye in self._photo.landmarks[:2]:
                cv2.ellipse(
                    mask,
                    _point(eye),
                    (round(0.115 * FACE_PX * 8), round(0.062 * FACE_PX * 8)),
                    0,
                    0,
                    360,
                    0,
                    -1,
                    cv2.LINE_AA,
                    3,
                )
            lids = view.eyes_open
        shadow = np.array([[1, 0, 0.025 * view.face_px], [0, 1, 0.03 * view.face_px], [0, 0, 1]]) @ plane
        _blend(canvas, np.zeros_like(self._paper), (mask * np.float32(0.45)).astype(np.uint8), shadow)
        _blend(canvas, _in_light(self._paper, view), mask, plane)
        return _truth(self._photo, plane, lids)


def attack(painter: Painter, species: Species, view: View, canvas: Pixels, rng: np.random.Generator) -> Truth:
    """Draw an attack that shows `painter`'s person over `canvas` (in place), presented as `view` says: face_px, centre,
    roll and light as for a bona fide face. No sensor noise. The truth has `bona_fide` false. Equal states of `rng` hold
    up the same thing; for many frames of it an `Instrument` is cheaper.
    """
    return Instrument(painter, species, rng).present(view, canvas)


def _oval(photo: Photograph, rng: np.random.Generator) -> Pixels:
    """What scissors leave: a polygon of straight cuts about the face, uint8 (h, w), 255 inside."""
    x, y, w, h = photo.box
    count = int(rng.integers(9, 26))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.04, count)
    reach = rng.uniform(1.0, 1.16) + rng.normal(0, 0.018, count)
    points = np.column_stack(
        [x + w / 2 + 0.5 * w * reach * np.cos(angle), y + 0.47 * h + 0.54 * h * reach * np.sin(angle)]
    )
    mask = np.zeros(photo.pixels.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(points * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return mask


def _in_light(paper: Pixels, view: View) -> Pixels:
    """Paper in the room's light: one gain for all of it, for it is flat."""
    gain = np.append(brightness(view.light) * 0.92, 0)
    return np.asarray(cv2.multiply(paper, gain), np.uint8)


def _blend(canvas: Pixels, shown: Pixels, mask: Pixels | None, plane: npt.NDArray[np.float64]) -> bool:
    """Lay `shown` (where `mask`) over the picture, in place; false when it lies outside."""
    height, width = shown.shape[:2]
    at = _map(plane, np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32))
    low = np.maximum(np.floor(at.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(at.max(axis=0)).astype(int) + 1, (canvas.shape[1], canvas.shape[0]))
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    if min(size) < 2:
        return False
    moved = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]]) @ plane
    whole = np.full((height, width), 255, np.uint8) if mask is None else mask
    part = canvas[low[1] : high[1], low[0] : high[0]]
    # Where the sheet gets smaller, what the lens would average is averaged first.
    shrink = float(np.sqrt(abs(np.linalg.det(plane[:2, :2]))))
    if shrink < 0.75:
        shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), 0.42 / shrink), np.uint8)
    colour = cv2.warpPerspective(shown, moved, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = cv2.warpPerspective(whole, moved, size, flags=cv2.INTER_LINEAR).astype(np.float32) * np.float32(1 / 255)
    part[:] = cv2.blendLinear(colour, part, weight, 1 - weight)
    return True


def _map(plane: npt.NDArray[np.float64], points: Floats) -> Floats:
    return np.asarray(cv2.perspectiveTransform(points[None].astype(np.float64), plane)[0], np.float32)


def _truth(photo: Photograph, plane: npt.NDArray[np.float64], lids: tuple[float, float]) -> Truth:
    x, y, w, h = photo.box
    edge = _map(plane, np.array([[x, y + h / 2], [x + w, y + h / 2], [x + w / 2, y], [x + w / 2, y + h]], np.float32))
    (left, top), (right, bottom) = edge.min(axis=0), edge.max(axis=0)
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return Truth(box, _map(plane, photo.landmarks), lids, bona_fide=False)


def _point(at: npt.NDArray[np.floating]) -> tuple[int, int]:
    return round(float(at[0]) * 8), round(float(at[1]) * 8)


def _bgr(colour: npt.NDArray[np.floating]) -> tuple[int, int, int]:
    blue, green, red = (int(min(max(value, 0), 255)) for value in colour)
    return blue, green, red
