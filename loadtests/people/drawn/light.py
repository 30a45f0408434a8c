"""Light on the relief: a lamp with soft falloff, the room's light from above, hollows, and a little gloss.

Worked out on the sheet at a quarter of its resolution for each frame (normals turned with the head), as a gain on the
painted colours: uint8, 128 means unchanged.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.drawn.truth import Floats, Pixels
from loadtests.people.drawn.view import Light


def lamp(light: Light) -> npt.NDArray[np.float64]:
    """The direction towards the lamp: x right, y down, z to the camera."""
    az, el = math.radians(light.azimuth_deg), math.radians(light.elevation_deg)
    return np.array([math.sin(az) * math.cos(el), -math.sin(el), math.cos(az) * math.cos(el)])


def tint(light: Light) -> npt.NDArray[np.float64]:
    """Gains of blue, green, red for the lamp's warmth."""
    return np.array([1 - 0.16 * light.warmth, 1.0, 1 + 0.11 * light.warmth])


def gains(normals: Floats, gloss: Floats, light: Light, turn: npt.NDArray[np.float64]) -> Pixels:
    """The light on each point of the sheet, uint8 (h, w, 4): blue, green, red, and 128 for the alpha channel. `normals`
    float32 (h, w, 3) and `gloss` (h, w) at a quarter of
    the sheet's resolution; `turn` head to camera.
    """
    towards = turn.T @ lamp(light)
    half = turn.T @ (lamp(light) + np.array([0, 0, 1.0]))
    half /= np.linalg.norm(half)
    up = turn.T @ np.array([0, -1.0, 0])
    matrix = np.array([towards * 0.86, half, up], np.float32)
    offset = np.array([[0.14], [0.0], [0.0]], np.float32)
    parts = cv2.transform(normals, np.hstack([matrix, offset]))
    key, shine, sky = (np.asarray(part, np.float32) for part in cv2.split(parts))
    np.maximum(key, 0, out=key)
    np.maximum(shine, 0, out=shine)
    shine *= shine
    shine *= shine
    shine *= shine
    shine *= shine
    directed = 1.45 * (1 - light.ambient)
    power = key * np.float32(directed * light.level)
    power += (0.86 + 0.16 * sky) * np.float32(light.ambient * light.level)
    gain = np.asarray(cv2.pow(power + np.float32(0.02), 0.62), np.float32)
    gain += gloss * shine * np.float32(directed * min(light.level, 1.3))
    # Shade on skin is red: light that entered it comes out elsewhere, and blood takes its blue and green.
    depth = np.array([1.12, 1.04, 0.90])
    colour = tint(light) * 128
    to_channels = np.zeros((4, 2), np.float32)
    to_channels[:3, 0], to_channels[:3, 1] = colour * depth, colour * (1 - depth)
    to_channels[3, 1] = 128
    return np.asarray(cv2.transform(gain, to_channels).clip(0, 255), np.uint8)
