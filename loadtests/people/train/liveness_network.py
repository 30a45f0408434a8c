"""The drawn people's liveness network and its training. Only `train` of `liveness` imports it: it needs PyTorch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from loadtests.people.train import loop
from loadtests.people.train.liveness_data import BONA_FIDE, KEPT_PX, MARGIN, SIDE_PX, Shots

BATCH = 96


class Live(nn.Module):
    """RGB crops 0..255, float32 (n, 3, 80, 80), to the probabilities of an attack and of a live face, (n, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(3, 16, 2),
            *_block(16, 32, 1),
            *_block(32, 48, 2),
            *_block(48, 64, 1),
            *_block(64, 96, 2),
            *_block(96, 96, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(96, 2),
        )

    def logits(self, crops: Tensor) -> Tensor:
        """Log odds up to a constant, (n, 2)."""
        result: Tensor = self.body(crops / 64.0 - 2.0)
        return result

    def forward(self, crops: Tensor) -> Tensor:
        """Probabilities."""
        return torch.softmax(self.logits(crops), dim=1)


def _block(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()


def loss(network: Live, batch: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy."""
    crops, live = batch
    return nn.functional.cross_entropy(network.logits(crops).float(), live, label_smoothing=0.02)


def fit(shots: Shots, *, without: int | None, steps: int, checkpoint: Path) -> Live:
    """Learns from `shots`, half of every batch bona fide; `without`: the species that is left out."""
    loop.prepare()
    # Small layers: a second thread waits more than it helps.
    torch.set_num_threads(1)
    bona = np.flatnonzero(shots.species == BONA_FIDE)
    attacks = np.flatnonzero((shots.species != BONA_FIDE) & (shots.species != (-2 if without is None else without)))

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([13, step])
        rows = np.concatenate([rng.choice(bona, BATCH // 2), rng.choice(attacks, BATCH // 2)])
        crops = np.stack([augmented(shots.crops[row], rng) for row in rows])
        live = torch.from_numpy((shots.species[rows] == BONA_FIDE).astype(np.int64))
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
        return pixels.contiguous(memory_format=torch.channels_last), live

    network = Live()
    loop.fit("liveness", network, batch, loss, loop.Course(steps, rate=3e-3), checkpoint)
    return network


def augmented(crop: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """`crop` with its margin, moved, scaled, mirrored and in another light: RGB uint8 (80, 80, 3)."""
    side = KEPT_PX / MARGIN * float(np.exp(rng.uniform(-0.12, 0.12)))
    spare = max((KEPT_PX - side) / 2, 0.0)
    centre = KEPT_PX / 2 + rng.uniform(-spare, spare, 2) * 0.6
    step = side / SIDE_PX
    first = centre - side / 2 + (step - 1) / 2
    flip = rng.random() < 0.5
    across = -step if flip else step
    left = first[0] + (side - step if flip else 0.0)
    placed = cv2.warpAffine(
        crop,
        np.array([[across, 0, left], [0, step, first[1]]]),
        (SIDE_PX, SIDE_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    gains = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, 3)).astype(np.float32)
    lit = placed.astype(np.float32) * gains + np.float32(rng.normal(0, 5))
    return np.clip(lit + rng.normal(0, rng.uniform(0, 3), lit.shape), 0, 255).astype(np.uint8)[..., ::-1].copy()
