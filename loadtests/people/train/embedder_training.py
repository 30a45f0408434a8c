"""How the drawn people's embedder learns: it estimates the factors that a person is made of.

The usual way is to classify thousands of known people and hope that what tells them apart tells others apart. Here the
truth behind an identity is known, 82 independent numbers, so that each face teaches all of them, and people are never
used up. What can be seen of each factor, and how surely, is then measured on people who were kept back; from that comes
the linear map (`whitening`) after which the cosine is close to the best comparison.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from loadtests.people.train.export import export
from loadtests.people.train.faces import FACTORS, VIEWS, faces
from loadtests.people.train.loop import Course, fit, prepare
from loadtests.people.train.network import EmbedderNetwork
from loadtests.people.train.recipe import say
from loadtests.people.train.shards import drawn
from loadtests.people.train.verification import eer, fnmr_at, trial

PEOPLE = 4000
KEPT_BACK = 400
BATCH = 64
COURSE = Course(steps=6000, rate=2e-3)
DIMENSION = 64

Matrix = npt.NDArray[np.float64]


def train(work: Path) -> None:
    """Draw the faces, train, whiten, and write `drawn_embedder.onnx` into `work`."""
    prepare()
    data = drawn(faces(PEOPLE), work)
    rows = (PEOPLE - KEPT_BACK) * VIEWS
    network = EmbedderNetwork(FACTORS)

    def batch(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([6, step])
        picked = np.sort(rng.choice(rows, BATCH, replace=False))
        pixels = torch.from_numpy(data["pixels"][picked]).permute(0, 3, 1, 2).float()
        return lit(shaken(pixels, rng), rng), torch.from_numpy(data["factors"][picked])

    fit("embedder", network, batch, loss, COURSE, work / "drawn_embedder.checkpoint")
    held = estimates(network, data["pixels"][rows:]).reshape(KEPT_BACK, VIEWS, FACTORS)
    _say_errors(held, data["factors"][rows:].reshape(KEPT_BACK, VIEWS, FACTORS))
    finished = Whitened(network, *whitening(held))
    example = torch.from_numpy(np.array(data["pixels"][:4])).permute(0, 3, 1, 2).float().contiguous()
    export(finished, work / "drawn_embedder.onnx", example, ["embedding"])


def shaken(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """`pixels` (n, 3, h, w), each turned (2.5 degrees), scaled (4 %) and shifted (2 px) at random, as if the detector
    had erred that much: standard deviations. A detector is replaced more often than an embedder.
    """
    count = len(pixels)
    turn, grow = rng.normal(0.0, 0.044, count), np.exp(rng.normal(0.0, 0.04, count))
    shift = rng.normal(0.0, 2.0 * 2 / pixels.shape[-1], (count, 2))
    rows = np.stack(
        [
            np.stack([np.cos(turn) * grow, -np.sin(turn) * grow, shift[:, 0]], axis=1),
            np.stack([np.sin(turn) * grow, np.cos(turn) * grow, shift[:, 1]], axis=1),
        ],
        axis=1,
    )
    grid = nn.functional.affine_grid(torch.from_numpy(rows.astype(np.float32)), list(pixels.shape), align_corners=False)
    return nn.functional.grid_sample(pixels, grid, align_corners=False)


def lit(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """`pixels` (n, 3, h, w) with another exposure and white balance each, up to a sixth, as cameras differ."""
    gains = np.exp(rng.normal(0.0, 0.06, (len(pixels), 1, 1, 1)) + rng.normal(0.0, 0.03, (len(pixels), 3, 1, 1)))
    return (
        (pixels * torch.from_numpy(gains.astype(np.float32)))
        .clamp(0.0, 255.0)
        .contiguous(memory_format=torch.channels_last)
    )


def loss(network: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """The mean squared error of the factors: 1 is knowing nothing, 0 everything."""
    pixels, factors = inputs
    return ((network(pixels).float() - factors) ** 2).mean()


def estimates(network: nn.Module, pixels: npt.NDArray[np.uint8]) -> Matrix:
    """What `network` says of faces (n, 112, 112, 3) RGB: float64 (n, factors)."""
    network.eval()
    out = []
    with torch.no_grad():
        for start in range(0, len(pixels), 256):
            part = torch.from_numpy(np.array(pixels[start : start + 256])).permute(0, 3, 1, 2).float()
            out.append(network(part.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(out).astype(np.float64)


def whitening(held: Matrix) -> tuple[Matrix, Matrix]:
    """From estimates of people who were kept back, (people, views, factors): a matrix (factors, `DIMENSION`) and a
    shift (factors,), such that the cosine of (estimate - shift) @ matrix tells people apart best.

    Linear discriminant analysis: within-class covariance to one, then the directions in which people differ most, each
    by the share of its variance that is identity, to a power that is chosen on the same people.
    """
    people, views, factors = held.shape
    shift = held.mean(axis=(0, 1))
    centres = held.mean(axis=1) - shift
    within = np.einsum("pvi,pvj->ij", held - held.mean(axis=1, keepdims=True), held - held.mean(axis=1, keepdims=True))
    within = within / (people * (views - 1)) + 1e-4 * np.eye(factors)
    between = centres.T @ centres / people - within / views
    root = np.linalg.inv(np.linalg.cholesky(within)).T
    values, axes = np.linalg.eigh(root.T @ between @ root)
    values, axes = np.maximum(values[::-1][:DIMENSION], 1e-6), (root @ axes[:, ::-1])[:, :DIMENSION]
    tried = []
    for power in (0.0, 0.5, 1.0, 2.0):
        matrix = axes * (values / (values + 1.0)) ** power
        missed, equal = _errors(held, matrix, shift)
        say(f"embedder: identity's share to the power {power}: FNMR at FMR 1e-4 {missed:.4f}, EER {equal:.4f}")
        tried.append((missed, equal, power, matrix))
    # Scaled so that embeddings have lengths near 1 before they are normalised: no matter for the cosine.
    return min(tried, key=lambda row: row[:3])[3] / np.sqrt(DIMENSION), shift


def _errors(held: Matrix, matrix: Matrix, shift: Matrix) -> tuple[float, float]:
    vectors = (held - shift) @ matrix
    vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
    scores = trial(vectors[:, 0], vectors[:, 1:])
    return fnmr_at(1e-4)(scores, None), eer(scores)


def _say_errors(held: Matrix, factors: npt.NDArray[np.float32]) -> None:
    seen = 1.0 - ((held - factors) ** 2).mean(axis=(0, 1)) / factors.var(axis=(0, 1))
    order = np.argsort(-seen)
    say(f"embedder: {seen.clip(0).sum():.1f} factors' worth of variance seen; best {seen[order[:5]].round(2)}")


class Whitened(nn.Module):
    """The network with the map after it, as one layer more."""

    def __init__(self, network: EmbedderNetwork, matrix: Matrix, shift: Matrix) -> None:
        super().__init__()
        self.body = network.body
        last = network.head
        weight = matrix.T @ last.weight.detach().double().numpy()
        bias = (last.bias.detach().double().numpy() - shift) @ matrix
        self.head = nn.Linear(last.in_features, DIMENSION)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings (n, `DIMENSION`), not normalised: whoever compares them does that."""
        return self.head(torch.flatten(self.body((pixels - 127.5) / 64.0), 1))
