"""A trained network as an ONNX file that keeps its contract, or an error: names, free sizes, the same numbers."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

OPSET = 18
TOLERANCE = 1e-4


def export(
    network: nn.Module, path: Path, example: torch.Tensor, outputs: Sequence[str], *, free_size: bool = False
) -> None:
    """Write `network` to `path` with the input `input` (batch free; height and width too with `free_size`) and the
    named `outputs`.

    Raises `ValueError` when ONNX Runtime disagrees with PyTorch, or with itself between batches, by more than 1e-4 of
    the output's size. The file appears only when all of it held.
    """
    network = folded(network).to(memory_format=torch.contiguous_format)
    sizes = {0: torch.export.Dim.DYNAMIC}
    if free_size:
        sizes |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    unchecked = path.with_suffix(".unchecked")
    with warnings.catch_warnings():
        # PyTorch's own deprecations inside its exporter, and its search for torchvision: nothing here can heed them.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            network,
            (example,),
            unchecked,
            input_names=["input"],
            output_names=list(outputs),
            dynamic_shapes=(sizes,),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    _strip(unchecked)
    _compare(network, unchecked, example, outputs)
    unchecked.rename(path)


def folded(network: nn.Module) -> nn.Module:
    """A copy, in evaluation mode, whose convolutions have taken over the batch normalisation that follows them."""
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            for index in range(len(block) - 1):
                if isinstance(block[index], nn.Conv2d) and isinstance(block[index + 1], nn.BatchNorm2d):
                    block[index] = nn.utils.fusion.fuse_conv_bn_eval(block[index], block[index + 1])
                    block[index + 1] = nn.Identity()
    return network


def _strip(path: Path) -> None:
    """Remove what the exporter says about its own source code and this machine."""
    model = onnx.load(path)
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _compare(network: nn.Module, path: Path, example: torch.Tensor, outputs: Sequence[str]) -> None:
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    pixels = example.numpy()
    whole = session.run(list(outputs), {"input": pixels})
    alone = [session.run(list(outputs), {"input": pixels[row : row + 1]}) for row in range(len(pixels))]
    with torch.no_grad():
        wanted = network(example)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for index, name in enumerate(outputs):
        size = max(1.0, float(np.abs(whole[index]).max()))
        for what, other in (
            ("PyTorch", wanted[index].numpy()),
            ("a batch of one", np.concatenate([rows[index] for rows in alone])),
        ):
            difference = float(np.abs(other - whole[index]).max()) / size
            if not difference <= TOLERANCE:
                raise ValueError(f"exporting {path.stem}: {name} differs from {what} by {difference:.1e} of its size")
