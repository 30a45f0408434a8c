"""How well was a face seen? Which frames may be judged at all, and how much each of them counts. Pure.

Theory of operation. `refusal` holds what was measured of a face against the `Limits` and names the first thing that the
person could change: come closer, look here, hold still, better light. A frame that is refused says nothing about who
stands there, and a value that is no number refuses, whatever it is compared with.

`quality` is a ratio made of the face's area and of how sharp, frontal and well lit it was. `weight` is what a frame's
vote counts, LEAST_WEIGHT at the limits to 1 for a face seen well. It is bounded on both sides on purpose: no frame
counts for two, so that a single picture, however good, never makes up for the number of frames that the policy asks
for, and none counts for nothing, so that a person seen badly but steadily is still recognised after a few frames more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Refusal = Literal["come_closer", "look_here", "hold_still", "better_light"]

LEAST_WEIGHT = 0.5
_GOOD_DISTANCE = 2.0
"""Twice the least distance between the eyes, four times the least area: from here on size is no concern."""
_GOOD_SHARPNESS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was measured of a face; the units are those of `Limits`. The defaults are a face seen perfectly."""

    eye_distance_px: float
    sharpness: float = float("inf")
    brightness: float = 0.5
    clipped: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll_deg: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The least and the most at which a frame may still be judged.

    Pixels between the eyes; variance of the Laplacian of the aligned face; mean luma and share of clipped pixels of
    it, 0..1; yaw in eye distances, pitch as a share of the distance from eyes to mouth, roll in degrees (each of
    either sign).
    """

    min_eye_distance_px: float
    min_sharpness: float
    min_brightness: float
    max_brightness: float
    max_clipped: float
    max_yaw: float
    max_pitch: float
    max_roll_deg: float


def refusal(look: Look, limits: Limits) -> Refusal | None:
    """Why the frame may not be judged, as advice for the person; None when it may."""
    # Each line asks for what is right and negates it: NaN compares false and so refuses.
    if not look.eye_distance_px >= limits.min_eye_distance_px:
        return "come_closer"
    if not limits.min_brightness <= look.brightness <= limits.max_brightness or not look.clipped <= limits.max_clipped:
        return "better_light"
    if not (
        abs(look.yaw) <= limits.max_yaw
        and abs(look.pitch) <= limits.max_pitch
        and abs(look.roll_deg) <= limits.max_roll_deg
    ):
        return "look_here"
    if not look.sharpness >= limits.min_sharpness:
        return "hold_still"
    return None


def quality(look: Look, limits: Limits) -> float:
    """0 (as bad as allowed, or worse) to 1 (a large, sharp, frontal, well lit face); grows with each of them."""
    area = _share(look.eye_distance_px, _GOOD_DISTANCE * limits.min_eye_distance_px) ** 2
    sharp = _share(look.sharpness, _GOOD_SHARPNESS * limits.min_sharpness)
    turned = max(
        _share(abs(look.yaw), limits.max_yaw),
        _share(abs(look.pitch), limits.max_pitch),
        _share(abs(look.roll_deg), limits.max_roll_deg),
    )
    found = area * sharp * (1.0 - turned / 2) * (1.0 - _share(look.clipped, limits.max_clipped) / 2)
    return found if 0.0 <= found <= 1.0 else 0.0


def weight(quality_of_frame: float) -> float:
    """What the vote of a frame of that quality counts: LEAST_WEIGHT to 1."""
    return LEAST_WEIGHT + (1.0 - LEAST_WEIGHT) * min(1.0, max(0.0, quality_of_frame))


def _share(value: float, whole: float) -> float:
    """value / whole, at most 1; a limit of 0 is reached by everything."""
    return 1.0 if value >= whole else value / whole
