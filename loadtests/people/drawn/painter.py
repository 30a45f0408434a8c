"""One person's textures, made once, and the drawing of them in any view."""

from __future__ import annotations

import cv2
import numpy as np

from loadtests.people.drawn.accessories import draw_glasses, paint_mask
from loadtests.people.drawn.anatomy import anatomy
from loadtests.people.drawn.body import Body
from loadtests.people.drawn.colours import palette
from loadtests.people.drawn.expression import Expression
from loadtests.people.drawn.eyes import EyePainter
from loadtests.people.drawn.factors import Person
from loadtests.people.drawn.grid import EYE_ROW, HEIGHT, MIDDLE_X, SCALE, WIDTH
from loadtests.people.drawn.light import gains
from loadtests.people.drawn.marks import Marks
from loadtests.people.drawn.mouth import MouthPainter
from loadtests.people.drawn.pose import COARSE, Placement, rotation, seen
from loadtests.people.drawn.sheets import QUARTER, make_older, make_sheets
from loadtests.people.drawn.truth import Pixels, Truth
from loadtests.people.drawn.view import View


class Painter:
    """Draws one person. Making one costs some tens of milliseconds, drawing some milliseconds; it may be used by one
    thread at a time.
    """

    def __init__(self, who: Person) -> None:
        self.who = who
        self.anatomy = anatomy(who)
        self.palette = palette(self.anatomy)
        self._sheets = make_sheets(self.anatomy, self.palette)
        self._eyes = [EyePainter(self.anatomy, self.palette, side, self._sheets.bare) for side in (-1.0, 1.0)]
        self._mouth = MouthPainter(self.anatomy, self.palette, self._sheets.bare)
        self._expression = Expression(self.anatomy)
        self._marks = Marks(self.anatomy, self._sheets.height)
        self._older: Pixels | None = None
        self._body = Body(self.anatomy, self.palette, self._sheets.hair)

    def draw(self, view: View, canvas: Pixels) -> Truth:
        """Draw head and shoulders over `canvas`, uint8 (h, w, 3) BGR, in place. No sensor noise: see `noise`."""
        placement = Placement(
            rotation(view.yaw_deg, view.pitch_deg, view.roll_deg), view.face_px / self._marks.box_width, view.centre
        )
        self._body.draw(placement, view, canvas)
        self._draw_head(self._lit(view, placement), placement, view, canvas)
        if view.glasses is not None:
            draw_glasses(self.anatomy, self._marks, placement, view, canvas)
        mouth_x, mouth_y = self._mouth.corners(view.smile, view.mouth_open)
        return self._marks.truth(placement, view, mouth_x, mouth_y)

    def _lit(self, view: View, placement: Placement) -> Pixels:
        """The sheet of this moment, uint8 (h, w, 4): eyes, mouth, years and light put on."""
        now = self._aged(view.age)
        for eye, opening in zip(self._eyes, view.eyes_open, strict=True):
            _put(now, eye.rows, eye.columns, eye.patch(opening, view.gaze, view.age / 20))
        mouth = self._mouth
        if view.mask:
            paint_mask(self.anatomy, now, view.outfit)
        else:
            _put(now, mouth.rows, mouth.columns, mouth.patch(view.smile, view.mouth_open))
        return np.asarray(cv2.multiply(now, self._light(view, placement), scale=1 / 128), np.uint8)

    def _aged(self, years: float) -> Pixels:
        share = min(max(years, 0.0) / 20, 1.0)
        if share < 0.01:
            return self._sheets.now.copy()
        if self._older is None:
            self._older = make_older(self.anatomy, self.palette, self._sheets)
        return np.asarray(cv2.addWeighted(self._sheets.now, 1 - share, self._older, share, 0), np.uint8)

    def _light(self, view: View, placement: Placement) -> Pixels:
        half = gains(self._sheets.normals, self._sheets.gloss, view.light, placement.turn)
        return np.asarray(cv2.resize(half, (WIDTH, HEIGHT)), np.uint8)

    def _draw_head(self, lit: Pixels, placement: Placement, view: View, canvas: Pixels) -> None:
        left, top, right, bottom = self._window(placement, canvas)
        width, height = right - left, bottom - top
        if width < 2 or height < 2:
            return
        x, y = seen(placement, self._sheets.height, QUARTER, left, top, (width, height))
        field = self._expression.field(view)
        if field is not None:
            at_x = (x + np.float32(MIDDLE_X / SCALE)) * np.float32(QUARTER) - np.float32(0.375)
            at_y = (y + np.float32(EYE_ROW / SCALE)) * np.float32(QUARTER) - np.float32(0.375)
            shift = cv2.remap(field, at_x, at_y, cv2.INTER_LINEAR)
            x, y = x - shift[..., 0], y - shift[..., 1]
        size = (x.shape[1] * COARSE, x.shape[0] * COARSE)
        column = cv2.resize(x * np.float32(SCALE) + np.float32(MIDDLE_X), size)[:height, :width]
        row = cv2.resize(y * np.float32(SCALE) + np.float32(EYE_ROW), size)[:height, :width]
        head = cv2.remap(lit, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0))
        over(canvas[top:bottom, left:right], np.asarray(head, np.uint8))

    def _window(self, placement: Placement, canvas: Pixels) -> tuple[int, int, int, int]:
        """The part of the picture that the head can touch: left, top, right, bottom."""
        x0, x1, y0, y1 = self._sheets.extent
        corners = np.array([(x, y, z) for x in (x0, x1) for y in (y0, y1) for z in (-0.75, 0.15)])
        at = placement.project(corners)
        (left, top), (right, bottom) = np.floor(at.min(axis=0)), np.ceil(at.max(axis=0)) + 1
        height, width = canvas.shape[:2]
        return max(int(left), 0), max(int(top), 0), min(int(right), width), min(int(bottom), height)


def over(canvas: Pixels, layer: Pixels) -> None:
    """Lay `layer` (h, w, 4), its colours already multiplied by alpha, over `canvas` (h, w, 3), in place."""
    kept = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(layer, 3)), cv2.COLOR_GRAY2BGR)
    cv2.multiply(canvas, kept, dst=canvas, scale=1 / 255)
    cv2.add(canvas, cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR), dst=canvas)


def _put(sheet: Pixels, rows: slice, columns: slice, patch: Pixels) -> None:
    sheet[rows, columns, :3] = patch
