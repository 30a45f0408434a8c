"""Is the face in this frame the one of the frame before? Tracks of one camera, by place and by likeness. Pure.

A track is what one camera saw of one face without a doubt. Two things speak for "the same": the place (the boxes
overlap, or their centres are near, and little time has passed) and the likeness of the two embeddings. Where the place
vouches, a likeness at the embedder's `same_face` (a false match in a thousand) is enough. Where it does not, because
the face jumped, the camera was silent, or only frames too bad to judge lie between, the face must match as a payer
must: at the `match` threshold. Anything else begins another track.

Place alone never keeps a track: a head can be put where another head was.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A face's box: pixels, x and y of the upper left corner."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Where and when a camera saw the face last; `sure` is False when the place has not vouched since the last frame
    that could be judged."""

    place: Place
    at_us: int
    sure: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuity:
    """What still counts as the same place: `overlap` is intersection over union, `reach` the distance of centres in
    face widths, `gap_us` the longest silence."""

    overlap: float = 0.2
    reach: float = 0.75
    gap_us: int = 1_500_000


def vouched(track: Track, place: Place, at_us: int, rule: Continuity) -> bool:
    """Whether place and time speak for the face at `place` being the track's."""
    if not abs(at_us - track.at_us) <= rule.gap_us:
        return False
    return overlap(track.place, place) >= rule.overlap or _distance(track.place, place) <= rule.reach


def moved(track: Track, place: Place, at_us: int, rule: Continuity) -> Track:
    """The track after a frame that shows where the face is, but not whose it is."""
    return Track(place=place, at_us=at_us, sure=track.sure and vouched(track, place, at_us, rule))


def same_face(
    track: Track, place: Place, at_us: int, similarity: float | None, rule: Continuity, *, near: float, far: float
) -> bool:
    """Whether the face is the track's. `similarity` (a cosine) is that to the track's last judged face; None or NaN is
    another face. `near`: what it must reach where the place vouches; `far`: elsewhere."""
    needed = near if track.sure and vouched(track, place, at_us, rule) else far
    return similarity is not None and similarity >= needed


def overlap(one: Place, two: Place) -> float:
    """Intersection over union of two boxes: 0 apart, 1 equal."""
    wide = min(one.x + one.w, two.x + two.w) - max(one.x, two.x)
    high = min(one.y + one.h, two.y + two.h) - max(one.y, two.y)
    if not (wide > 0 and high > 0):
        return 0.0
    shared = wide * high
    return shared / (one.w * one.h + two.w * two.h - shared)


def _distance(one: Place, two: Place) -> float:
    """Between the centres, in widths of the wider face; infinite for boxes without width."""
    widest = max(one.w, two.w)
    if not widest > 0:
        return float("inf")
    dx = one.x + one.w / 2 - two.x - two.w / 2
    dy = one.y + one.h / 2 - two.y - two.h / 2
    return float((dx * dx + dy * dy) ** 0.5) / widest
