"""The training itself: which cells learn from which face, a run that goes on where it was cut off, and the export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch",
    reason="PyTorch is not here: `make train` puts it into .venv-train; run .venv-train/bin/pytest tests/unit/train",
)
nn = torch.nn

from loadtests.people.train import detector_training, loop  # noqa: E402 - only where PyTorch is
from loadtests.people.train.export import export, folded  # noqa: E402 - as above
from loadtests.people.train.network import DetectorNetwork, EmbedderNetwork, conv  # noqa: E402 - as above


@pytest.mark.parametrize(
    ("size", "strides"),
    [(24, [8]), (50, [8, 16]), (90, [16]), (120, [16, 32]), (300, [32])],
)
def test_a_face_belongs_to_the_grids_of_its_size(size: float, strides: list[int]) -> None:
    """Small faces teach the fine grid, large ones the coarse one, those between both."""
    boxes = torch.tensor([[[160 - size / 2, 160 - size / 2, size, size]]])
    wanted = torch.ones((1, 1), dtype=torch.int8)
    taught = []
    for stride in detector_training.STRIDES:
        face, _ = detector_training.assigned(
            detector_training.cells(320 // stride, 320 // stride), stride, boxes, wanted
        )
        if (face >= 0).any():
            taught.append(stride)
    assert taught == strides


@pytest.mark.parametrize(("wanted", "positive"), [(1, True), (0, False), (-1, False)])
def test_only_wanted_faces_teach(wanted: int, positive: bool) -> None:
    """A hidden face is left out of the loss; an empty place in the table is background."""
    boxes = torch.tensor([[[100.0, 100.0, 40.0, 50.0]]])
    grid = detector_training.cells(40, 40)
    face, left_out = detector_training.assigned(grid, 8, boxes, torch.tensor([[wanted]], dtype=torch.int8))
    assert bool((face >= 0).any()) is positive
    assert bool(left_out.any()) is (wanted >= 0)


def test_a_mirror_swaps_left_and_right() -> None:
    """Mirrored twice is unchanged; once, the right eye lies where the left one was seen."""
    rng = np.random.default_rng(1)
    rows: dict[str, Any] = {
        "pixels": rng.integers(0, 255, (2, 320, 320, 3)).astype(np.uint8),
        "boxes": rng.uniform(20, 100, (2, 6, 4)).astype(np.float32),
        "landmarks": rng.uniform(0, 319, (2, 6, 5, 2)).astype(np.float32),
        "wanted": np.ones((2, 6), np.int8),
    }
    once = detector_training.mirrored(rows)
    assert once["landmarks"][0, 0, 0, 0] == pytest.approx(319 - rows["landmarks"][0, 0, 1, 0], abs=1e-3)
    for name, values in detector_training.mirrored(once).items():
        np.testing.assert_allclose(values, rows[name], atol=1e-3)


def cut_off_at(step: int, asked: list[int]) -> Callable[[int], tuple[Any, ...]]:
    """Batches that depend on their number alone, and a power cut before `step`; `asked` is told their numbers."""

    def batch(number: int) -> tuple[Any, ...]:
        if number == step:
            raise KeyboardInterrupt
        asked.append(number)
        generator = torch.Generator().manual_seed(number)
        pixels = 255 * torch.rand((4, 3, 112, 112), generator=generator)
        return pixels, pixels.mean((2, 3)) / 128 - 1

    return batch


def test_a_run_goes_on_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off and started again, a run asks only for the batches it had not seen, and ends with the same weights."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    torch.set_num_threads(1)
    course = loop.Course(steps=6)

    def made() -> EmbedderNetwork:
        torch.manual_seed(1)
        return EmbedderNetwork(3)

    def loss(network: EmbedderNetwork, inputs: tuple[Any, ...]) -> Any:
        pixels, wanted = inputs
        return ((network(pixels).float() - wanted) ** 2).mean()

    whole, torn, again = made(), made(), made()
    loop.fit("whole", whole, cut_off_at(-1, []), loss, course, tmp_path / "whole.checkpoint")
    with pytest.raises(KeyboardInterrupt):
        loop.fit("torn", torn, cut_off_at(3, []), loss, course, tmp_path / "torn.checkpoint")
    asked: list[int] = []
    loop.fit("torn", again, cut_off_at(-1, asked), loss, course, tmp_path / "torn.checkpoint")
    assert asked == [3, 4, 5]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_folding_changes_no_number() -> None:
    """A convolution that took over its normalisation gives what both gave."""
    network = nn.Sequential(*conv(3, 8), *conv(8, 4)).eval()
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
    pixels = torch.rand((2, 3, 16, 16))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded(network))
    torch.testing.assert_close(folded(network)(pixels), network(pixels), atol=1e-5, rtol=1e-4)


def test_a_network_that_looks_at_its_neighbours_is_not_exported(tmp_path: Path) -> None:
    """An output that depends on the rest of the batch is refused, and no file appears."""

    class Nosy(torch.nn.Module):  # type: ignore[name-defined, misc, unused-ignore]
        def forward(self, pixels: Any) -> Any:
            return torch.flatten(pixels, 1) - torch.flatten(pixels, 1).mean(0, keepdim=True)

    with pytest.raises(ValueError, match="differs from a batch of one"):
        export(Nosy(), tmp_path / "nosy.onnx", torch.rand((3, 3, 8, 8)), ["output"])
    assert not (tmp_path / "nosy.onnx").exists()


def test_the_detector_is_exported_with_free_sizes(tmp_path: Path) -> None:
    """An untrained detector keeps YuNet's contract as a file: any batch, any multiple of 32."""
    from loadtests.people.train.detector import ENTRY, THRESHOLDS
    from loadtests.people.train.opened import opened

    path = tmp_path / "drawn_detector.onnx"
    export(DetectorNetwork(), path, torch.rand((2, 3, 96, 128)) * 255, detector_training.OUTPUTS, free_size=True)
    outputs = opened(path, ENTRY, THRESHOLDS).run(np.zeros((3, 3, 64, 160), np.float32))
    assert [output.shape[1] for output in outputs] == [160, 40, 10] * 4
