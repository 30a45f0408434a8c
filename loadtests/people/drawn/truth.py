"""What the drawing modules share: array types, and what is true about a drawn face.

Pixels are uint8 (h, w, 3) in OpenCV's order (blue, green, red); coordinates are pixels, x to the right and y down, and
whole numbers are the middles of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Where a drawn face is and what it shows.

    `box` is x, y, width, height in pixels, as YuNet draws it (hairline to chin, cheek to cheek). `landmarks` float32
    (5, 2): the person's right eye, left eye, tip of the nose, right and left corner of the mouth, at the places where
    YuNet puts them. `eyes_open` 0 closed to 1 open, the person's right and left. `bona_fide` is false for an attack.
    """

    box: tuple[float, float, float, float]
    landmarks: Floats
    eyes_open: tuple[float, float]
    bona_fide: bool = True
