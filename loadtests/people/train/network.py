"""The networks: plain 3 x 3 convolutions, because they train on a processor.

Depthwise convolutions promise fewer multiplications, but move as much memory and run at a fraction of the speed without
a GPU. Normalisation of the pixels is part of each network, so that the exported graphs take pixels as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(into: int, out: int, *, stride: int = 1, side: int = 3, apart: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; padded so that the size is divided by `stride`. With `apart` above 1 it
    reads places that far from each other, and so sees more of the picture (a dilated convolution).
    """
    return nn.Sequential(
        nn.Conv2d(into, out, side, stride, side // 2 * apart, apart, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The same size and channels."""
        return torch.relu(x + self.second(self.first(x)))


class EmbedderNetwork(nn.Module):
    """Aligned faces, RGB 0..255 (n, 3, 112, 112), to `factors` estimates (n, factors).

    The last layer reads where things are (7 x 7 places of an aligned face), not only that they are there.
    """

    def __init__(self, factors: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, 16, stride=2, side=5),
            conv(16, 32, stride=2),
            Residual(32),
            conv(32, 64, stride=2),
            Residual(64),
            conv(64, 96, stride=2),
            Residual(96),
            conv(96, 32, side=1),
        )
        self.head = nn.Linear(32 * 7 * 7, factors)

    def forward(self, pixels: Tensor) -> Tensor:
        """The estimated factors."""
        return self.head(torch.flatten(self.body((pixels - 127.5) / 64.0), 1))


class DetectorNetwork(nn.Module):
    """Pictures, BGR 0..255 (n, 3, h, w) with h and w multiples of 32, to the twelve outputs of YuNet's contract: cls,
    obj, bbox, kps, each for the strides 8, 16 and 32, as (n, cells, 1 | 1 | 4 | 10).

    One head serves all three grids: what it predicts is in units of the grid's stride, so that a face looks alike at
    each of them. `logits` leaves cls and obj without the sigmoid, as the loss wants them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.to_8 = nn.Sequential(conv(3, 8, stride=2), conv(8, 16, stride=2), conv(16, 32, stride=2), Residual(32))
        self.to_16 = nn.Sequential(conv(32, 40, stride=2), conv(40, 40))
        # A face of 320 px is ten cells of the coarsest grid wide: its middle has to see that far.
        self.to_32 = nn.Sequential(conv(40, 40, stride=2), conv(40, 40, apart=2), conv(40, 40, apart=3))
        self.from_8, self.from_16, self.from_32 = (nn.Conv2d(into, 32, 1) for into in (32, 40, 40))
        shared = nn.Conv2d(32, 48, 3, 1, 1, bias=False)
        # Only the normalisation is each grid's own: in training each grid is normalised by what it holds, and one
        # running mean for all three would fit none of them afterwards.
        self.heads = nn.ModuleList(nn.Sequential(shared, nn.BatchNorm2d(48), nn.ReLU(inplace=True)) for _ in range(3))
        self.out = nn.Conv2d(48, 16, 1)
        with torch.no_grad():
            # Nearly every cell is background: a network that starts with that belief is not swamped by it.
            self.out.bias.zero_()
            self.out.bias[:2] = -4.0

    def logits(self, pixels: Tensor) -> list[Tensor]:
        """Per stride (n, 16, rows, columns): cls, obj, 4 of the box, 10 of the points."""
        at_8 = self.to_8((pixels - 127.5) / 64.0)
        at_16 = self.to_16(at_8)
        at_32 = self.to_32(at_16)
        top = self.from_32(at_32)
        middle = self.from_16(at_16) + nn.functional.interpolate(top, scale_factor=2.0, mode="nearest")
        fine = self.from_8(at_8) + nn.functional.interpolate(middle, scale_factor=2.0, mode="nearest")
        return [self.out(head(torch.relu(level))) for head, level in zip(self.heads, (fine, middle, top), strict=True)]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The twelve outputs in the manifest's order."""
        rows = [torch.flatten(level, 2).transpose(1, 2) for level in self.logits(pixels)]
        return (
            *(torch.sigmoid(row[..., 0:1]) for row in rows),
            *(torch.sigmoid(row[..., 1:2]) for row in rows),
            *(row[..., 2:6] for row in rows),
            *(row[..., 6:16] for row in rows),
        )
