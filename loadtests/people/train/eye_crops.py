"""From a patch to the crop that the model gets, through a camera that may be bad.

The same for open and closed eyes: brows, shadows and spectacles drawn over the patch; light and contrast changed; the
landmark off its place; then the picture of a camera in which the eyes are `distance_px` apart, with blur, motion, noise
and JPEG at that size; and at last the crop of `pipeline.vision.eyes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from loadtests.people.train.lids import PATCH_PX, SCALE, Patch
from pipeline.vision.eyes import CROP, SIDE_PX


@dataclass(frozen=True, slots=True)
class Camera:
    """How bad: everything is drawn between nothing and these bounds."""

    distance_px: tuple[float, float] = (20.0, 90.0)
    shift: float = 0.16
    """The landmark's error, in eye distances."""
    scale: float = 0.22
    roll_deg: float = 12.0
    noise: float = 9.0
    jpeg: tuple[int, int] = (25, 95)
    overlays: float = 0.25
    """Share of eyes behind spectacles, and as many with a shadow or a brow where none was."""


HARD = Camera()
"""For training."""

USUAL = Camera(distance_px=(30.0, 90.0), shift=0.03, scale=0.06, roll_deg=4.0, noise=4.0, jpeg=(60, 95), overlays=0.0)
"""A webcam or a counter's camera, for judging: landmarks as good as a detector's."""


def crops(patches: npt.NDArray[np.uint8], rng: np.random.Generator, camera: Camera) -> npt.NDArray[np.uint8]:
    """One crop of each patch: uint8 (n, 32, 32)."""
    out = np.empty((len(patches), SIDE_PX, SIDE_PX), np.uint8)
    for patch, target in zip(patches, out, strict=True):
        target[...] = crop(patch, rng, camera)
    return out


def middles(patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The crops as the patches are, through no further camera: uint8 (n, 32, 32)."""
    side = round(CROP * SCALE)
    first = (PATCH_PX - side) // 2
    inner = slice(first, first + side)
    size = (SIDE_PX, SIDE_PX)
    return np.stack([cv2.resize(patch[inner, inner], size, interpolation=cv2.INTER_AREA) for patch in patches])


def crop(pixels: npt.NDArray[np.uint8], rng: np.random.Generator, camera: Camera) -> npt.NDArray[np.uint8]:
    """One crop, uint8 (32, 32)."""
    patch = pixels.astype(np.float32)
    if rng.random() < camera.overlays:
        patch = _spectacles(patch, rng)
    if rng.random() < camera.overlays:
        patch = _shadow(patch, rng)
    patch = _light(patch, rng)
    distance = float(np.exp(rng.uniform(*np.log(camera.distance_px))))
    seen = _resampled(patch, distance, rng, camera)
    seen = _camera(seen, distance, rng, camera)
    return _cut(seen, distance, rng)


def _resampled(patch: Patch, distance: float, rng: np.random.Generator, camera: Camera) -> Patch:
    """The patch's middle in the camera's pixels, turned, shifted and scaled: the model's crop and a margin."""
    side = int(np.ceil(distance * CROP * 1.3))
    coarser = SCALE / distance
    if coarser > 1.2:
        patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), 0.45 * coarser), np.float32)
    zoom = float(np.exp(rng.uniform(-camera.scale, camera.scale)))
    # A turned head brings the eyes together, so that the crop is narrower than the eye it shows.
    across = coarser * zoom * rng.uniform(1 - camera.scale / 2, 1 + camera.scale / 4)
    angle = np.deg2rad(rng.uniform(-camera.roll_deg, camera.roll_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([across, coarser * zoom])
    centre = (PATCH_PX - 1) / 2 + np.clip(rng.normal(0, camera.shift / 2, 2), -camera.shift, camera.shift) * SCALE
    origin = centre - linear @ np.full(2, (side - 1) / 2)
    return np.asarray(
        cv2.warpAffine(
            patch,
            np.column_stack([linear, origin]),
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def _camera(seen: Patch, distance: float, rng: np.random.Generator, camera: Camera) -> Patch:
    """Lens, motion, sensor and compression."""
    if rng.random() < 0.35:
        seen = _blurred(seen, max(rng.uniform(0.0, 0.025) * distance, 0.3))
    if rng.random() < 0.25:
        kernel = _motion(rng.uniform(0.02, 0.11) * distance, rng)
        seen = np.asarray(cv2.filter2D(seen, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
    if rng.random() < 0.35:
        fine = _blurred(seen, max(rng.uniform(0.01, 0.04) * distance, 0.5))
        seen = np.asarray(seen + rng.uniform(0.3, 1.8) * (seen - fine), np.float32)
    noise = rng.normal(0, rng.uniform(0, camera.noise), seen.shape).astype(np.float32)
    if rng.random() < 0.4:
        noise = np.asarray(_blurred(noise, 0.8) * 1.6, np.float32)
    pixels = np.clip(seen + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.75:
        # The grid of 8 x 8 lies anywhere over the eye.
        pad = rng.integers(0, 8, 2)
        padded = cv2.copyMakeBorder(pixels, int(pad[0]), 0, int(pad[1]), 0, cv2.BORDER_REPLICATE)
        encoded = cv2.imencode(".jpg", padded, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*camera.jpeg))])[1]
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)[pad[0] :, pad[1] :]
    return np.asarray(pixels, np.float32)


def _cut(seen: Patch, distance: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """As `pipeline.vision.eyes` cuts: bilinear at a whole multiple of 32, then averaged."""
    fine = max(int(np.ceil(distance * CROP / SIDE_PX)), 1)
    step = distance * CROP / (SIDE_PX * fine)
    origin = (np.array(seen.shape) - 1) / 2 + rng.uniform(-0.5, 0.5, 2) - (SIDE_PX * fine - 1) / 2 * step
    drawn = cv2.warpAffine(
        np.clip(seen, 0, 255).astype(np.uint8),
        np.array([[step, 0, origin[0]], [0, step, origin[1]]]),
        (SIDE_PX * fine, SIDE_PX * fine),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.resize(drawn, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _blurred(image: Patch, sigma: float) -> Patch:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _motion(length: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A line of `length` pixels in any direction, summing to 1."""
    size = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((size, size), np.float32)
    angle, middle = rng.uniform(0, np.pi), (size - 1) / 2
    reach = length / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = (np.rint((middle + sign * reach) * 16).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_AA, shift=4)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _light(patch: Patch, rng: np.random.Generator) -> Patch:
    """Gamma, contrast, level, and more light from one side."""
    line = np.linspace(-1, 1, PATCH_PX, dtype=np.float32)
    side = np.exp(rng.normal(0, 0.25) * line[None] + rng.normal(0, 0.15) * line[:, None])
    lit = (np.clip(patch, 0, 255) / 255.0) ** float(np.exp(rng.normal(0, 0.2))) * side
    level = float(np.exp(rng.normal(-0.1, 0.3)))
    lift = max(rng.normal(0, 0.06), 0.0)
    return np.asarray(np.clip(lit * level * (1 - lift) + lift, 0, 1) * 255.0, np.float32)


def _spectacles(patch: Patch, rng: np.random.Generator) -> Patch:
    """A rim around the eye (round, wide or a bar above it), and a reflection on the glass."""
    middle = (PATCH_PX / 2 + rng.normal(0, 4), PATCH_PX / 2 + rng.normal(4, 5))
    axes = (rng.uniform(24, 38), rng.uniform(15, 30))
    rim = np.zeros_like(patch)
    begin, end = (180, 360) if rng.random() < 0.25 else (0, 360)
    centre, radii = ((round(16 * x), round(16 * y)) for x, y in (middle, axes))
    cv2.ellipse(rim, centre, radii, rng.normal(0, 4), begin, end, 1.0, int(rng.integers(1, 5)), cv2.LINE_AA, 4)
    rim = _blurred(rim, 0.7) * rng.uniform(0.4, 1.0)
    colour = rng.uniform(0, 70) if rng.random() < 0.8 else rng.uniform(150, 255)
    out = patch * (1 - rim) + colour * rim
    if rng.random() < 0.5:
        glare = np.zeros_like(patch)
        at = (round(middle[0] + rng.uniform(-20, 20)), round(middle[1] + rng.uniform(-14, 14)))
        size = (int(rng.integers(2, 13)), int(rng.integers(1, 7)))
        cv2.ellipse(glare, at, size, rng.uniform(0, 180), 0, 360, 1.0, -1)
        out = out + (255 - out) * _blurred(glare, rng.uniform(0.8, 4.0)) * rng.uniform(0.1, 0.8)
    return np.asarray(out, np.float32)


def _shadow(patch: Patch, rng: np.random.Generator) -> Patch:
    """A brow, a fold under the eye, or the shadow of a hat or a nose: dark along a soft curve, or from one side on."""
    rows, columns = np.mgrid[:PATCH_PX, :PATCH_PX].astype(np.float32) - PATCH_PX / 2
    if rng.random() < 0.6:
        at = rng.uniform(-34, -19) if rng.random() < 0.6 else rng.uniform(17, 34)
        row = at + rng.uniform(-8, 8) * (columns / 30) ** 2 + rng.normal(0, 0.15) * columns
        band = np.exp(-(((rows - row) / rng.uniform(1.5, 5.0)) ** 2)) * (np.abs(columns) < rng.uniform(24, 50))
        dark = _blurred(band.astype(np.float32), 1.5) * rng.uniform(0.1, 0.6)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        edge = columns * np.cos(angle) + rows * np.sin(angle) - rng.uniform(-25, 25)
        dark = 1 / (1 + np.exp(-edge / rng.uniform(1.5, 14.0))) * rng.uniform(0.1, 0.6)
    return np.asarray(patch * (1 - dark), np.float32)
