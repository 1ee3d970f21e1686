"""Parts of the slim face detectors: separable convolutions, and the heads' outputs as rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def rows(convolutions: nn.ModuleList, maps: list[Tensor], columns: int) -> Tensor:
    """Return what the heads say as (batch, rows, columns)."""
    said = [conv(x).permute(0, 2, 3, 1).flatten(1) for conv, x in zip(convolutions, maps, strict=True)]
    return torch.cat(said, 1).reshape(maps[0].shape[0], -1, columns)


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Build a depthwise 3x3 and a 1x1 convolution, each with normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def plain_separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Build a depthwise 3x3 and a 1x1 convolution with biases and one ReLU in between."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1)
    )
