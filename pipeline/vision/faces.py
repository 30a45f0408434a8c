"""What the engine says of a face. These values stay in the process that made them: an embedding is never sent or
logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
"""Five landmarks, float32 (5, 2), x and y in pixels: right eye, left eye, nose, right and left mouth corner of the
person.
"""

Embedding = npt.NDArray[np.float32]
"""float32 (d,), of length 1; all zero, and so like nobody, when the embedder gave no finite answer."""


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels of the image, x and y of the top left corner; a box may reach over the image's edge."""

    x: float
    y: float
    w: float
    h: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.w * self.h


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face was seen."""

    eye_distance_px: float
    """Pixels of the image between the eyes: the resolution that the embedding rests on."""
    sharpness: float
    """Variance of the Laplacian of the aligned face (Pech-Pacheco et al., 2000): low is blurred; depends on the camera.
    """
    brightness: float
    """Mean luma of the aligned face, 0 black to 1 white."""
    exposure: float
    """Share of the aligned face's pixels that are clipped, luma at most 5 or at least 250: 0 none, 1 all."""
    yaw: float
    """Nose tip off the middle of the eyes, along the line of the eyes, in eye distances: 0 frontal, about 0.5 at 45
    degrees.
    """
    pitch: float
    """Nose tip between the line of the eyes and that of the mouth, as a share of their distance, less the share on the
    template (0.49): 0 frontal, more looking down, less looking up.
    """
    roll: float
    """Degrees by which the line of the eyes is turned: 0 level, more clockwise in the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face of an image. `live` is None when liveness was not asked; `eyes` and `eyes_open` are None when no model
    looked at them, `eyes_open` also when the model is not sure.
    """

    box: Box
    landmarks: Points
    detection: float
    quality: Quality
    embedding: Embedding = field(repr=False)
    live: Mapping[str, float] | None = None
    eyes: tuple[float, float] | None = None
    """Probability that the person's right and left eye is open."""
    eyes_open: bool | None = None
