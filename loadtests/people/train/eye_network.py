"""The eye-state network and its training. Only `train` of `eyes` imports this: it needs PyTorch.

A crop is standardised (mean 0, deviation 1) and blurred a little inside the graph: portraits are coarser than a
camera's picture at the counter, and fineness must not be what the network goes by. Six convolutions, one hidden layer,
one number; 116,000 weights.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from loadtests.people.train import loop

BATCH = 256
SMOOTHING = 0.02
"""Labels are a little unsure: some rendered lids fit badly, some photographed eyes are narrow."""

_FLAT = 8.0
"""Deviation of a crop, in grey values, below which noise is not blown up to contrast."""


class EyeState(nn.Module):
    """Grey crops 0..255, float32 (n, 1, 32, 32), to P(open), (n, 1)."""

    blur: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([0.06, 0.24, 0.4, 0.24, 0.06])
        self.register_buffer("blur", torch.outer(line, line)[None, None])
        self.body = nn.Sequential(
            *_block(1, 16, 1),
            *_block(16, 24, 2),
            *_block(24, 40, 1),
            *_block(40, 64, 2),
            *_block(64, 64, 1),
            *_block(64, 32, 2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * 16, 48),
            nn.ReLU(),
            nn.Linear(48, 1),
        )

    def logits(self, crops: Tensor) -> Tensor:
        """Log odds of "open", (n, 1)."""
        centred = crops - crops.mean(dim=(2, 3), keepdim=True)
        deviation = ((centred * centred).mean(dim=(2, 3), keepdim=True) + _FLAT**2) ** 0.5
        result: Tensor = self.body(nn.functional.conv2d(centred / deviation, self.blur, padding=2))
        return result

    def forward(self, crops: Tensor) -> Tensor:
        """P(open)."""
        return torch.sigmoid(self.logits(crops))


def _block(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()


Crops = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""What one epoch learns from: crops (n, 32, 32), targets (n,), weights (n,)."""


class Epochs:
    """Fresh crops for every epoch: `make(epoch)`, a function of a module, runs in a process beside the training."""

    def __init__(self, make: Callable[[int], Crops], count: int, steps: int) -> None:
        self._make = make
        self._count = count
        self._steps = steps
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._next: dict[int, Future[Crops]] = {}
        self._held: tuple[int, Crops] | None = None

    def __enter__(self) -> Epochs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Crops, targets and weights of one step."""
        epoch, within = divmod(step, self._steps)
        crops, targets, weights = self._epoch(epoch)
        order = np.random.default_rng([7, epoch]).permutation(len(crops))
        rows = np.resize(order, self._steps * BATCH)[within * BATCH : (within + 1) * BATCH]
        return (
            torch.from_numpy(crops[rows, None]).float(),
            torch.from_numpy(targets[rows]),
            torch.from_numpy(weights[rows]),
        )

    def _epoch(self, epoch: int) -> Crops:
        if self._held is None or self._held[0] != epoch:
            for wanted in (epoch, epoch + 1):
                if wanted < self._count and wanted not in self._next:
                    self._next[wanted] = self._pool.submit(self._make, wanted)
            self._held = (epoch, self._next.pop(epoch).result())
        return self._held[1]


def loss(network: EyeState, batch: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy against soft targets, weighted."""
    crops, targets, weights = batch
    wanted = targets * (1 - 2 * SMOOTHING) + SMOOTHING
    return nn.functional.binary_cross_entropy_with_logits(network.logits(crops)[:, 0].float(), wanted, weights)


def fit(make: Callable[[int], Crops], *, epochs: int, steps: int, checkpoint: Path) -> EyeState:
    """Learns from `make(0)`, `make(1)`, ... `steps` batches of each."""
    loop.prepare()
    # The other core makes the next epoch's crops.
    torch.set_num_threads(1)
    network = EyeState()
    with Epochs(make, epochs, steps) as source:
        loop.fit("eyes", network, source.batch, loss, loop.Course(epochs * steps, rate=3e-3), checkpoint)
    return network
