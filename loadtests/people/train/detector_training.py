"""How the drawn people's detector learns: which cells of the three grids have to speak for which face, and the loss.

A face belongs to the grids whose stride suits its size; near the limits to two of them, so that neither has to be
sharp. There the cells about the middle of its box are positive; those around them are left out; all others are
background.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from loadtests.people.train.export import export
from loadtests.people.train.loop import Course, fit, prepare
from loadtests.people.train.network import DetectorNetwork
from loadtests.people.train.scenes import SIDE, scenes
from loadtests.people.train.shards import drawn

PICTURES = 3200
BATCH = 16
COURSE = Course(steps=6000, rate=2e-3)

STRIDES = (8, 16, 32)
SIZES_PX = {8: (0.0, 64.0), 16: (44.0, 140.0), 32: (100.0, 1e6)}
"""For which sizes of a face (the root of its box's area) a grid is responsible."""

OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)


def train(work: Path) -> None:
    """Draw the scenes, train, and write `drawn_detector.onnx` into `work`."""
    prepare()
    data = drawn(scenes(PICTURES), work)
    network = DetectorNetwork()
    rows = len(data["pixels"])

    def batch(step: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([3, step])
        picked = np.sort(rng.choice(rows, BATCH, replace=False))
        taken = {name: np.asarray(values[picked]) for name, values in data.items()}
        if rng.random() < 0.5:
            taken = mirrored(taken)
        pixels = torch.from_numpy(np.ascontiguousarray(taken["pixels"])).permute(0, 3, 1, 2).float()
        return (
            pixels.contiguous(memory_format=torch.channels_last),
            torch.from_numpy(taken["boxes"]),
            torch.from_numpy(taken["landmarks"]),
            torch.from_numpy(taken["wanted"]),
        )

    fit("detector", network, batch, loss, COURSE, work / "drawn_detector.checkpoint")
    example = torch.from_numpy(np.array(data["pixels"][:3])).permute(0, 3, 1, 2).float()[:, :, :256]
    export(network, work / "drawn_detector.onnx", example.contiguous(), OUTPUTS, free_size=True)


def mirrored(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pictures seen in a mirror: the person's right eye becomes a left one."""
    boxes, landmarks = rows["boxes"].copy(), rows["landmarks"][:, :, [1, 0, 2, 4, 3]].copy()
    boxes[..., 0] = SIDE - 1 - boxes[..., 0] - boxes[..., 2]
    landmarks[..., 0] = SIDE - 1 - landmarks[..., 0]
    return {
        "pixels": np.ascontiguousarray(rows["pixels"][:, :, ::-1]),
        "boxes": boxes,
        "landmarks": landmarks,
        "wanted": rows["wanted"],
    }


def loss(network: DetectorNetwork, inputs: tuple[Tensor, ...]) -> Tensor:
    """Cross entropy of cls and obj over all cells that count, and the relative errors of boxes and landmarks."""
    pixels, boxes, landmarks, wanted = inputs
    total, positives = torch.zeros(()), torch.zeros(())
    for stride, level in zip(STRIDES, network.logits(pixels), strict=True):
        rows = torch.flatten(level.float(), 2).transpose(1, 2)
        places = cells(level.shape[2], level.shape[3])
        face, left_out = assigned(places, stride, boxes, wanted)
        positive = face >= 0
        target = positive.float()[..., None].expand(-1, -1, 2)
        entropy = nn.functional.binary_cross_entropy_with_logits(rows[..., :2], target, reduction="none")
        total = total + (entropy * (~left_out).float()[..., None]).sum()
        picture, cell = torch.nonzero(positive, as_tuple=True)
        positives = positives + len(cell)
        if len(cell):
            which = face[picture, cell]
            total = total + _geometry(
                rows[picture, cell, 2:], places[cell], stride, boxes[picture, which], landmarks[picture, which]
            )
    return total / positives.clamp(min=1.0)


def cells(rows: int, columns: int) -> Tensor:
    """Column and row of each cell, (cells, 2)."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([column.flatten(), row.flatten()], 1).float()


def assigned(cells: Tensor, stride: int, boxes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """For each picture and cell: the number of the face it speaks for or -1, and whether the loss leaves it out."""
    middles, sizes = boxes[..., :2] + boxes[..., 2:] / 2, (boxes[..., 2] * boxes[..., 3]).clamp(min=1.0).sqrt()
    points = (cells + 0.5) * stride
    away = (points[None, :, None] - middles[:, None]).abs().amax(-1)
    inner = torch.clamp(0.12 * sizes, min=0.75 * stride)[:, None]
    outer = torch.clamp(0.3 * sizes, min=1.5 * stride)[:, None]
    low, high = SIZES_PX[stride]
    mine = ((sizes >= low) & (sizes < high))[:, None]
    there, good = (wanted >= 0)[:, None], (wanted == 1)[:, None]
    claim = torch.where((away < inner) & mine & good, away, torch.inf)
    nearest, face = claim.min(-1)
    face = torch.where(torch.isfinite(nearest), face, -1)
    # A face left out is left out wherever it lies; one to find only in the ring about its positive cells.
    inside = ((points[None, :, None] - middles[:, None]).abs() < boxes[:, None, :, 2:] / 2).all(-1)
    ring = (((away < outer) & mine & good) | (inside & there & ~good)).any(-1)
    return face, ring & (face < 0)


def _geometry(rows: Tensor, cells: Tensor, stride: int, boxes: Tensor, landmarks: Tensor) -> Tensor:
    """The errors of box and landmarks in shares of the face's size, weighted."""
    sizes = (boxes[:, 2] * boxes[:, 3]).sqrt()[:, None]
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    off = ((rows[:, :2] + cells) * stride - middles) / sizes
    grown = rows[:, 2:4] - torch.log(boxes[:, 2:] / stride)
    points = (rows[:, 4:].reshape(-1, 5, 2) + cells[:, None]) * stride
    lost = ((points - landmarks) / sizes[:, None]).flatten(1)
    smooth = nn.functional.smooth_l1_loss
    return (
        4.0 * smooth(off, torch.zeros_like(off), beta=0.02, reduction="sum")
        + 2.0 * smooth(grown, torch.zeros_like(grown), beta=0.05, reduction="sum")
        + 8.0 * smooth(lost, torch.zeros_like(lost), beta=0.02, reduction="sum")
    )
