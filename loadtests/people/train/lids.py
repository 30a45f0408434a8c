"""Closing the lids of an open eye in a photograph: skin drawn down over the eye, by any share from 0 to 1.

A patch is grey, `PATCH_PX` square, `SCALE` pixels to an eye distance, the eye's landmark in its middle, roll removed,
and always a right eye (left ones are mirrored). `find` estimates where the lids' edges run: two parabolas through the
corners, by the light above and below each. `close` moves the upper edge down to (and a little past) the lower one,
fills what it leaves with skin (stretched from above, turned up from below, or smooth), shades it as a bulge, and draws
crease, lash line and lashes. Of a closed eye's iris nothing remains, of its sclera a sliver at the corners at
worst. Whatever the operation could leave as a trace is also given to open eyes by `disguise`, so that a network cannot
learn the trace instead of the lid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Patch = npt.NDArray[np.float32]
"""Grey 0..255, float32 (PATCH_PX, PATCH_PX)."""

Curve = npt.NDArray[np.floating[Any]]
"""The row of each column, (PATCH_PX,)."""

PATCH_PX = 112
SCALE = 80.0
"""Pixels of a patch to one eye distance: twice as fine as the model's crop."""

SHUT = 0.95
"""From this closure on nothing of the eye is seen."""

_MIDDLE = PATCH_PX / 2
_HALF = 19.0
"""Half the usual length of the lids' opening, corner to corner: 30 mm where the pupils are 63 mm apart."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Where the lids' edges run, in pixels of a patch: corners at `middle` +- `half`, on a line of slope `tilt` through
    (`middle`, `base`); the upper edge rises `upper` above that line, the lower sinks `lower` below it.
    """

    middle: float
    base: float
    tilt: float
    half: float
    upper: float
    lower: float
    clarity: float = 1.0
    """How well the edges stand out; below about 1 they are as likely a fold or a brow."""

    @property
    def height(self) -> float:
        """From edge to edge at the widest."""
        return self.upper + self.lower

    def line(self) -> Curve:
        """The corners' line: y of each column, (PATCH_PX,)."""
        return np.asarray(self.base + self.tilt * (_COLUMNS - self.middle), np.float32)

    def bow(self) -> Curve:
        """1 in the middle, 0 from the corners on, (PATCH_PX,): what both edges are multiples of."""
        return np.asarray(np.clip(1 - ((_COLUMNS - self.middle) / self.half) ** 2, 0, 1), np.float32)


_COLUMNS = np.arange(PATCH_PX, dtype=np.float32)
_ROWS = _COLUMNS[:, None]


def find(patch: Patch) -> Opening:
    """The likeliest opening: skin above the upper edge is lighter than lash and iris below it, and the reverse holds at
    the lower edge; what is usual for an eye around its landmark breaks ties.
    """
    smooth = _blurred(patch, 1.6)
    spread = max(float(smooth[36:78, 28:84].std()), 4.0)
    rise = (np.roll(smooth, 2, axis=0) - np.roll(smooth, -2, axis=0)) / spread
    columns, upper, lower, shape = _candidates()
    centre = np.linspace(-1, 1, 13)
    weights = 1 - 0.6 * centre**2

    def strength(edges: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray((rise[edges, columns] * weights).mean(axis=-1), np.float64)

    # The iris is the darkest thing near the landmark: darker than the cheek below and the lid above.
    core = np.stack([(upper[:, 6] + lower[:, 6]) // 2 + step for step in (-1, 0, 1)])
    darkness = (smooth[lower[:, 6] + 5, columns[:, 6]] - smooth[core, columns[:, 6]].mean(axis=0)) / spread
    score = strength(upper) - 0.7 * strength(lower) + 0.35 * np.clip(darkness, -1.0, 1.5) - shape[:, 6]
    best = int(np.argmax(score))
    middle, base, tilt, half, up, low = shape[best, :6].tolist()
    return _grown(smooth, Opening(middle, base, tilt, half, up, low, clarity=float(score[best])))


def _grown(smooth: Patch, opening: Opening) -> Opening:
    """The lower edge pushed down while what lies under it is still more iris than cheek."""
    at = np.rint(opening.middle + opening.half * np.array([-0.3, 0.0, 0.3])).astype(np.int64)
    lower = opening.lower
    while lower < 10.0:
        edge = opening.line()[at] + lower * opening.bow()[at]
        cheek, core = (
            smooth[_rows(np.maximum(edge + 8.0, _MIDDLE + 15.0)), at].mean(),
            smooth[_rows(edge - opening.height / 2), at].min(),
        )
        if smooth[_rows(edge + 2.0), at].min() > core + 0.5 * (cheek - core) or cheek <= core:
            break
        lower += 0.75
    return replace(opening, lower=lower)


def _rows(at: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    return np.asarray(np.clip(np.rint(at), 0, PATCH_PX - 1), np.int64)


def _blurred(image: npt.NDArray[np.floating[Any]], sigma: float) -> Patch:
    return np.asarray(cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), sigma), np.float32)


@cache
def _candidates() -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]
]:
    """Columns and rows (n, 13) of both edges of every candidate, and (n, 7): its numbers and how unusual it is."""
    grid = np.array(
        [
            (_MIDDLE + dx, _MIDDLE + dy, tilt, half, up, low)
            for dx in (-4.0, 0.0, 4.0)
            for dy in (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0)
            for tilt in (-0.08, 0.0, 0.08)
            for half in (17.0, 20.0)
            for up in (1.5, 3.0, 4.5, 6.0, 7.5, 9.0)
            for low in (1.5, 3.0, 4.5, 6.0)
        ]
    )
    unusual = (
        0.10 * ((grid[:, 0] - _MIDDLE) / 4) ** 2
        + 0.10 * ((grid[:, 1] - _MIDDLE) / 3) ** 2
        + 0.05 * (grid[:, 2] / 0.08) ** 2
        + 0.12 * ((grid[:, 4] + grid[:, 5] - 10) / 4) ** 2
        + 0.03 * np.clip(_MIDDLE + 4 - grid[:, 1] - grid[:, 5], 0, None) ** 2
        + 0.03 * np.clip(grid[:, 1] - grid[:, 4] - _MIDDLE + 2, 0, None) ** 2
    )
    along = np.linspace(-0.85, 0.85, 13)
    columns = grid[:, :1] + along * grid[:, 3:4]
    line = grid[:, 1:2] + grid[:, 2:3] * along * grid[:, 3:4]
    bow = 1 - along**2
    return (
        _rows(columns),
        _rows(line - bow * grid[:, 4:5]),
        _rows(line + bow * grid[:, 5:6]),
        np.column_stack([grid, unusual]),
    )


def close(patch: Patch, opening: Opening, closure: float, rng: np.random.Generator) -> Patch:
    """The eye with its lids closed by `closure`: 0 leaves it as it is, from `SHUT` on nothing of the eye is seen."""
    if closure <= 0.0:
        return patch
    look = _Look.draw(patch, opening, rng)
    line, bow = opening.line(), opening.bow()
    overlap = look.overlap * closure
    top = line - opening.upper * bow
    edge = top + closure * ((line + look.sag * bow + overlap) - top)
    out = _with_skin(patch, opening, edge, closure, look, rng)
    out = _with_shade(out, opening, edge, closure, look)
    return _with_lashes(out, opening, edge, closure, look, rng)


@dataclass(frozen=True, slots=True)
class _Look:
    """How this lid looks: drawn once per picture, so that lids differ as people and lights do."""

    sag: float
    overlap: float
    skin: float
    spread: float
    mix: npt.NDArray[np.float64]
    reach: float
    bulge: float
    slope: float
    crease: float
    crease_at: float
    lash: float
    lash_px: float
    strands: int
    texture: float

    @classmethod
    def draw(cls, patch: Patch, opening: Opening, rng: np.random.Generator) -> _Look:
        below = patch[int(opening.base + opening.lower + 5) : int(opening.base + opening.lower + 18), 38:74]
        skin = float(np.median(below))
        return cls(
            sag=opening.lower * rng.uniform(0.4, 1.3) + rng.uniform(-0.5, 1.5),
            overlap=rng.uniform(0.0, 2.0),
            skin=skin,
            spread=max(float(below.std()), 3.0),
            mix=rng.dirichlet((1.2, 0.7, 0.7)),
            reach=rng.uniform(6, 16),
            bulge=rng.normal(0.05, 0.08),
            slope=rng.normal(0, 0.06),
            crease=max(rng.normal(0.10, 0.12), 0.0),
            crease_at=rng.uniform(0.0, 0.5),
            lash=rng.uniform(0.3, 0.9) if rng.random() < 0.85 else rng.uniform(0.05, 0.3),
            lash_px=float(np.exp(rng.uniform(np.log(0.8), np.log(4.5)))),
            strands=int(rng.integers(0, 14)) if rng.random() < 0.6 else 0,
            texture=rng.uniform(0.3, 1.2),
        )


def _with_skin(
    patch: Patch,
    opening: Opening,
    edge: Curve,
    closure: float,
    look: _Look,
    rng: np.random.Generator,
) -> Patch:
    """Skin from above the old upper edge down to `edge`."""
    line, bow = opening.line(), opening.bow()
    margin = rng.uniform(2.0, 4.0)
    end = line - opening.upper * bow - margin
    start = end - look.reach
    stretched = cv2.remap(
        patch,
        np.broadcast_to(_COLUMNS, patch.shape).copy(),
        np.where(start > _ROWS, _ROWS, start + (_ROWS - start) * (end - start) / np.maximum(edge - start, 1.0)).astype(
            np.float32
        ),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    under = line + opening.lower * bow + rng.uniform(3.0, 5.0)
    turned = cv2.remap(
        patch,
        np.broadcast_to(_COLUMNS, patch.shape).copy(),
        np.clip(under + np.abs(edge - _ROWS) * rng.uniform(0.5, 0.9), 0, PATCH_PX - 1).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    wide = _blurred(patch, 2.5)
    above = _sample(wide, end - 1.5)
    lower = _sample(wide, under + 1.0)
    share = np.clip((_ROWS - end) / np.maximum(under - end, 1.0), 0, 1)
    grain = _blurred(rng.normal(0, 1, patch.shape), rng.uniform(0.6, 1.6))
    plain = (
        _blurred(above * (1 - share) + lower * share, 2.0)
        + grain / max(float(grain.std()), 1e-3) * look.texture * min(look.spread, 4.0) * 0.5
    )
    lid = look.mix[0] * stretched + look.mix[1] * turned + look.mix[2] * plain
    # What the estimate of the edges missed of iris or sclera must not show through.
    room = 2.2 * look.spread + 0.12 * look.skin
    low = min(look.skin, float(np.median(above[0, 44:68]))) - room
    lid = np.clip(lid, low, max(look.skin, float(np.median(above[0, 44:68]))) + room)
    # A lash line above the lower edge must not leave the eye bare between them once the lids are shut.
    shut = np.maximum(edge, line + (opening.lower + 1.5) * bow)
    inside = _between(start + look.reach * 0.5, shut if closure >= SHUT else edge, line, opening, soft=1.2)
    return np.asarray(patch * (1 - inside) + lid * inside, np.float32)


def _between(
    start: Curve,
    end: Curve,
    line: Curve,
    opening: Opening,
    soft: float,
) -> Patch:
    """1 between the curves and the corners, falling to 0 over a few pixels at the curves' ends."""
    across = np.clip((opening.half * 1.12 - np.abs(_COLUMNS - opening.middle)) / 4.0, 0, 1)
    # Towards the corners the fill thins out around the line, so that no upright edge is left.
    start = line + (start - line) * np.sqrt(across)
    upper = np.clip((_ROWS - start) / 4.0, 0, 1)
    lower = np.clip((end - _ROWS) / soft + 0.5, 0, 1)
    return np.asarray(upper * lower * across, np.float32)


def _sample(image: Patch, rows: Curve) -> Patch:
    """One row of light: `image` at `rows` of each column, (1, PATCH_PX)."""
    return np.asarray(image[_rows(rows), np.arange(PATCH_PX)][None], np.float32)


def _with_shade(patch: Patch, opening: Opening, edge: Curve, closure: float, look: _Look) -> Patch:
    """The eyeball's bulge under the lid, light from a side, and the crease above."""
    line, bow = opening.line(), opening.bow()
    top = line - opening.upper * bow
    height = np.maximum(edge - top, 1.0) + 6.0
    along = (_COLUMNS - opening.middle) / opening.half
    up = (_ROWS - (top - 6.0)) / height
    bulge = np.exp(-(((up - 0.55) / 0.35) ** 2) - (along / 0.6) ** 2)
    inside = _between(top - 6.0, edge, line, opening, soft=1.5)
    gain = 1 + closure * inside * (look.bulge * bulge + look.slope * along + 0.5 * look.slope * (up - 0.5))
    crease_row = line - bow * (opening.upper * (1 - look.crease_at * closure)) - 2.5
    crease = np.clip(1.1 - np.abs(along), 0, 1) * np.exp(-(((_ROWS - crease_row) / 1.3) ** 2))
    return np.asarray(patch * gain * (1 - look.crease * crease), np.float32)


def _with_lashes(
    patch: Patch,
    opening: Opening,
    edge: Curve,
    closure: float,
    look: _Look,
    rng: np.random.Generator,
) -> Patch:
    """The dark edge of the upper lid, thick in the middle, and strands that hang from it."""
    along = (_COLUMNS - opening.middle) / (opening.half * 1.05)
    body = np.clip(1 - along**2, 0, 1) ** 0.4
    thick = look.lash_px * (0.5 + 0.5 * body)
    # Lashes hang below the edge: seen from the front they are a band, sharper above than below.
    off = _ROWS - edge
    dark = np.exp(-((off / np.where(off < 0, np.minimum(thick, 1.5), thick)) ** 2)) * body * look.lash
    if look.strands:
        strands = np.zeros_like(patch)
        for x in rng.uniform(-0.95, 0.95, look.strands) * opening.half + opening.middle:
            y = float(np.interp(x, _COLUMNS, edge))
            length, lean = rng.uniform(2, 7), (x - opening.middle) / opening.half * rng.uniform(0, 5)
            droop = 1.0 if closure > 0.5 else -1.0
            _stroke(strands, (x, y), (x + lean, y + droop * length), 1)
        dark = np.maximum(dark, _blurred(strands, 0.7) * look.lash * 0.8)
    # Lashes are dark against their own skin, and keep some of its light.
    floor = look.skin * rng.uniform(0.1, 0.3)
    return np.asarray(patch * (1 - dark) + np.minimum(floor, patch) * dark, np.float32)


def _stroke(image: Patch, start: tuple[float, float], end: tuple[float, float], thickness: int) -> None:
    points = [(round(x * 16), round(y * 16)) for x, y in (start, end)]
    cv2.line(image, points[0], points[1], 1.0, thickness, cv2.LINE_AA, shift=4)


def disguise(patch: Patch, opening: Opening, rng: np.random.Generator) -> Patch:
    """An open eye with the traces that closing leaves: refilled skin around it, and lines where no lid ends."""
    out = patch
    if rng.random() < 0.5:
        # Closed, and the eye put back: the fill's outskirts stay.
        covered = close(patch, opening, 1.0, rng)
        line, bow = opening.line(), opening.bow()
        keep = _between(
            line - (opening.upper + rng.uniform(1.5, 3.0)) * bow - rng.uniform(1.0, 3.0),
            line + (opening.lower + 2.5) * bow + rng.uniform(1.0, 3.0),
            line,
            opening,
            soft=2.0,
        )
        out = out * keep + covered * (1 - keep)
    if rng.random() < 0.4:
        out = _loose_line(out, opening, rng)
    return np.asarray(out, np.float32)


def _loose_line(patch: Patch, opening: Opening, rng: np.random.Generator) -> Patch:
    """A dark curve above or below the eye: a crease, a fold, a frame's rim; bent either way."""
    away = rng.uniform(6, 18)
    up = rng.random() < 0.5
    at = opening.base - opening.upper - away if up else opening.base + opening.lower + away * 0.7
    row = at + rng.uniform(-6, 8) * opening.bow() + opening.tilt * (_COLUMNS - opening.middle)
    body = np.clip(1.2 - np.abs((_COLUMNS - opening.middle) / opening.half), 0, 1)
    dark = np.exp(-(((_ROWS - row) / rng.uniform(0.7, 2.2)) ** 2)) * np.minimum(body * 2, 1) * rng.uniform(0.1, 0.6)
    return np.asarray(patch * (1 - dark), np.float32)
