"""How a person is seen at one moment: pose, lids, expression, clothes, glasses, light. None of it is identity."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Light:
    """One lamp and what the room adds.

    `azimuth_deg` 0 from the camera, + from the right of the picture; `elevation_deg` + from above; `level` brightness
    of the whole (1: well exposed); `ambient` share of light without direction, 0..1; `warmth` -1 bluish .. 1 orange.
    """

    azimuth_deg: float = 15.0
    elevation_deg: float = 35.0
    level: float = 1.0
    ambient: float = 0.55
    warmth: float = 0.0


@dataclass(frozen=True, slots=True)
class View:
    """A moment. Angles in degrees: `yaw_deg` + turns the nose to the right of the picture, `pitch_deg` + looks down,
    `roll_deg` + leans the head clockwise in the picture.

    `eyes_open` 0 closed .. 1 open, the person's right and left eye; `gaze` -1..1 to the right and down in the picture;
    `mouth_open` 0..1; `smile` -1..1; `brow` -1 frown .. 1 raised; `glasses` number of a style or None; `age` years that
    passed since the enrolment (0..20); `outfit` chooses clothes and the mask's colour; `face_px` about the
    width of the face's box when frontal; `centre` where the point between the eyes and the mouth lies in the picture.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    eyes_open: tuple[float, float] = (1.0, 1.0)
    gaze: tuple[float, float] = (0.0, 0.0)
    mouth_open: float = 0.0
    smile: float = 0.0
    brow: float = 0.0
    glasses: int | None = None
    mask: bool = False
    age: float = 0.0
    outfit: int = 0
    light: Light = field(default_factory=Light)
    face_px: float = 160.0
    centre: tuple[float, float] = (160.0, 160.0)


def random_view(
    rng: np.random.Generator,
    *,
    face_px: tuple[float, float] = (110.0, 220.0),
    centre: tuple[float, float] = (160.0, 160.0),
    max_yaw_deg: float = 35.0,
    max_pitch_deg: float = 25.0,
    max_roll_deg: float = 20.0,
    closed: float = 0.0,
    glasses: float = 0.2,
    mask: float = 0.0,
    max_age_years: float = 5.0,
) -> View:
    """A view drawn at random. `closed`, `glasses`, `mask`: the share of views with both eyes closed, with either."""
    blink = float(np.clip(rng.normal(0.96, 0.06), 0.72, 1.0))
    lids = (blink, float(np.clip(blink + rng.normal(0, 0.02), 0.7, 1.0)))
    if rng.random() < closed:
        lids = (float(rng.uniform(0, 0.06)), float(rng.uniform(0, 0.06)))
    return View(
        yaw_deg=float(np.clip(rng.normal(0, 0.45), -1, 1)) * max_yaw_deg,
        pitch_deg=float(np.clip(rng.normal(0, 0.40), -1, 1)) * max_pitch_deg,
        roll_deg=float(np.clip(rng.normal(0, 0.40), -1, 1)) * max_roll_deg,
        eyes_open=lids,
        gaze=(float(np.clip(rng.normal(0, 0.3), -1, 1)), float(np.clip(rng.normal(0, 0.25), -1, 1))),
        mouth_open=float(rng.uniform(0.1, 0.8)) if rng.random() < 0.15 else 0.0,
        smile=float(np.clip(rng.normal(0.15, 0.35), -0.7, 1)),
        brow=float(np.clip(rng.normal(0, 0.3), -1, 1)),
        glasses=int(rng.integers(0, 8)) if rng.random() < glasses else None,
        mask=bool(rng.random() < mask),
        age=float(rng.uniform(0, max_age_years)),
        outfit=int(rng.integers(0, 1 << 30)),
        light=random_light(rng),
        face_px=float(np.exp(rng.uniform(np.log(face_px[0]), np.log(face_px[1])))),
        centre=centre,
    )


def random_light(rng: np.random.Generator) -> Light:
    """The light of some place in some store."""
    return Light(
        azimuth_deg=float(np.clip(rng.normal(0, 32), -75, 75)),
        elevation_deg=float(np.clip(rng.normal(32, 16), -10, 75)),
        level=float(np.exp(np.clip(rng.normal(0, 0.22), -0.7, 0.45))),
        ambient=float(rng.uniform(0.35, 0.85)),
        warmth=float(np.clip(rng.normal(0, 0.45), -1, 1)),
    )
