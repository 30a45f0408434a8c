"""Glasses and face masks: worn, taken off, never part of who somebody is."""

from __future__ import annotations

import cv2
import numpy as np

from loadtests.people.drawn.anatomy import Anatomy
from loadtests.people.drawn.grid import plane, sheet, step
from loadtests.people.drawn.marks import Marks
from loadtests.people.drawn.pose import Placement
from loadtests.people.drawn.relief import outline
from loadtests.people.drawn.truth import Pixels
from loadtests.people.drawn.view import View

STYLES = 8
"""How many frames of glasses there are: numbers 0 .. STYLES - 1, larger ones repeat."""


def draw_glasses(a: Anatomy, marks: Marks, placement: Placement, view: View, canvas: Pixels) -> None:
    """Rims before the eyes, a bridge, temples back to the ears, a reflection."""
    style = (view.glasses or 0) % STYLES
    power = [2.0, 2.6, 3.4, 2.2, 5.0, 2.0, 2.8, 4.0][style]
    width, height = [
        (0.36, 0.27),
        (0.37, 0.23),
        (0.35, 0.25),
        (0.33, 0.31),
        (0.38, 0.24),
        (0.34, 0.24),
        (0.39, 0.29),
        (0.36, 0.21),
    ][style]
    colour = [
        (28, 26, 26),
        (40, 52, 84),
        (20, 20, 22),
        (96, 110, 120),
        (60, 50, 40),
        (130, 140, 150),
        (26, 34, 60),
        (70, 30, 30),
    ][style]
    thick = [0.05, 0.045, 0.065, 0.02, 0.05, 0.018, 0.06, 0.045][style] * placement.scale
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    line = max(1, round(thick))
    front = float(marks.on(0.0, 0.02)[2]) + 0.10
    brightness = min(view.light.level, 1.2)
    shown = tuple(int(c * brightness) for c in colour)
    for side in (-1.0, 1.0):
        x = side * (a.eyes.x + 0.02) + width * np.sign(cos) * np.abs(cos) ** (2 / power)
        y = 0.045 + height * np.sign(sin) * np.abs(sin) ** (2 / power)
        at = placement.project(np.column_stack([x, y, front - 0.22 * (np.abs(x) - 0.1) ** 2]))
        points = np.round(at * 8).astype(np.int32)
        _glaze(canvas, at, view, side)
        cv2.polylines(canvas, [points], isClosed=True, color=shown, thickness=line, lineType=cv2.LINE_AA, shift=3)
        hinge = side * (a.eyes.x + 0.02 + width)
        back = np.array([[hinge, -0.05, front - 0.2], [side * a.bones.cheekbone_x * 1.0, -0.04, -0.35]])
        ends = placement.project(back)
        visible = (ends[1, 0] - ends[0, 0]) * side > 0.02 * placement.scale
        if visible:
            cv2.line(canvas, _whole(ends[0]), _whole(ends[1]), shown, max(1, line - 1), cv2.LINE_AA, 3)
    bridge = placement.project(
        np.array(
            [
                [-a.eyes.x - 0.02 + width, -0.02, front],
                [0, -0.06, front + 0.03],
                [a.eyes.x + 0.02 - width, -0.02, front],
            ]
        )
    )
    at = np.round(bridge * 8).astype(np.int32)
    cv2.polylines(canvas, [at], isClosed=False, color=shown, thickness=line, lineType=cv2.LINE_AA, shift=3)


def _whole(point: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[int, int]:
    return round(float(point[0]) * 8), round(float(point[1]) * 8)


def _glaze(canvas: Pixels, rim: np.ndarray[tuple[int, ...], np.dtype[np.float64]], view: View, side: float) -> None:
    """A pale streak over the glass."""
    low, high = np.floor(rim.min(axis=0)).astype(int), np.ceil(rim.max(axis=0)).astype(int)
    height, width = canvas.shape[:2]
    x0, y0, x1, y1 = max(low[0], 0), max(low[1], 0), min(high[0], width), min(high[1], height)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    part = canvas[y0:y1, x0:x1]
    layer = part.copy()
    inside = np.zeros(part.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(rim - (x0, y0)).astype(np.int32)], 255)
    span = x1 - x0
    start = (0.25 + 0.2 * np.sin(view.light.azimuth_deg / 30 + side)) * span
    streak = np.array(
        [[start, 0], [start + 0.22 * span, 0], [start - 0.10 * span, y1 - y0], [start - 0.32 * span, y1 - y0]]
    )
    cv2.fillPoly(layer, [np.round(streak).astype(np.int32)], (225, 222, 216), cv2.LINE_AA)
    mixed = cv2.addWeighted(part, 0.86, layer, 0.14, 0)
    cv2.copyTo(mixed, inside, part)


def paint_mask(a: Anatomy, now: Pixels, outfit: int) -> None:
    """A surgical mask over nose, mouth and chin, on the sheet (h, w, 4), in place; `outfit` chooses its colour."""
    x, y = sheet()
    colours = [(206, 190, 150), (228, 226, 222), (38, 36, 36), (196, 170, 205), (178, 200, 170)]
    colour = np.array(colours[outfit % len(colours)], np.float32)
    half = np.maximum(outline(a, np.clip(y, -0.5, a.bones.chin_y - 0.12)), 0.3)
    top = 0.20 + 0.12 * (np.abs(x) / 0.5).clip(0, 1) - 0.04 * np.exp(-((x / 0.2) ** 2))
    cover = step(y - top, -0.01, 0.02) * step(a.bones.chin_y + 0.07 - 0.10 * x * x - y, -0.01, 0.02)
    cover = cover * step(half * 0.99 - np.abs(x), 0.0, 0.02)
    strap = (
        np.exp(-(((y - 0.42 + 0.22 * (np.abs(x) - 0.8)) / 0.016) ** 2))
        * step(np.abs(x), 0.75, 0.85)
        * (np.abs(x) < 1.05)
    )
    pleats = 1 - 0.10 * np.exp(-((((y - 0.62) % 0.24) - 0.12) ** 2) / 0.0006) * (y > 0.55) * (y < 1.3)
    tone = (0.97 - 0.22 * (np.abs(x) / half) ** 3 + 0.01 * plane(81, 2.5)) * pleats
    cover = np.maximum(cover, 0.9 * strap)[..., None]
    mixed = now[..., :3] + cover * (tone[..., None] * colour - now[..., :3])
    now[..., :3] = np.clip(mixed, 0, 255).astype(np.uint8)
    now[..., 3] = now[..., 3] + (cover[..., 0] * (255 - now[..., 3].astype(np.float32))).astype(np.uint8)
