"""UltraFace slim: a face detector of about a megabyte.

The network is the "slim" variant of Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB: a narrow MobileNet
(https://arxiv.org/abs/1704.04861) under SSD heads (https://arxiv.org/abs/1512.02325). Names of parameters are
those of its checkpoints.
"""

from __future__ import annotations

import torch
from slim_parts import plain_separable, rows, separable
from torch import Tensor, nn

# Channels and stride of each separable convolution after the first, plain one.
BACKBONE = (
    (32, 1), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1),
    (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1),
)
TAPS = (7, 10, 12)  # layers that the heads read, strides 8, 16, 32; the fourth head reads the extra layer
CHANNELS = (64, 128, 256, 256)
SIDES = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))  # prior boxes of each head, pixels of the input
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


class UltraFace(nn.Module):
    """Pictures (batch, 3, height, width) to `scores` and `boxes`, one row per prior box, 4420 at 320x240.

    `scores` (batch, rows, 2): probabilities of background and face; `boxes` (batch, rows, 4): left, top, right
    and bottom as fractions of the picture. Rows run by stride, then cell from left to right and down, then prior.
    """

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())]
        inputs = 16
        for outputs, stride in BACKBONE:
            layers.append(separable(inputs, outputs, stride))
            inputs = outputs
        self.base_net = nn.ModuleList(layers)
        extra = nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), plain_separable(64, 256, 2), nn.ReLU())
        self.extras = nn.ModuleList([extra])
        self.classification_headers = heads(2)
        self.regression_headers = heads(4)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.features(picture)
        scores = rows(self.classification_headers, maps, 2).softmax(2)
        return scores, corners(rows(self.regression_headers, maps, 4), priors(picture, maps))

    def features(self, picture: Tensor) -> list[Tensor]:
        """Return the feature maps of the strides 8, 16, 32 and 64."""
        x, maps = picture, []
        for index, layer in enumerate(self.base_net):
            x = layer(x)
            if index in TAPS:
                maps.append(x)
        return [*maps, self.extras[0](x)]


def ultraface_slim() -> UltraFace:
    """Build the detector; it takes any size of picture, the published weights were trained at 320x240."""
    return UltraFace()


def priors(picture: Tensor, maps: list[Tensor]) -> Tensor:
    """Return the prior boxes, (1, rows, 4): centre x and y, width, height as fractions of the picture."""
    height, width = picture.shape[-2:]
    boxes = []
    for feature, sides in zip(maps, SIDES, strict=True):
        side = picture.new_tensor(sides)
        extent = torch.stack((side / width, side / height), 1)
        centre = centres(feature).unsqueeze(1)
        count = centre.shape[0]
        pairs = (centre.expand(count, len(sides), 2), extent.expand(count, len(sides), 2))
        boxes.append(torch.cat(pairs, 2).reshape(1, -1, 4))
    return torch.cat(boxes, 1).clamp(0, 1)


def centres(feature: Tensor) -> Tensor:
    """Return x and y of the centre of each cell, (height * width, 2), as fractions of the feature map."""
    height, width = feature.shape[-2:]
    x = (torch.arange(width, device=feature.device) + 0.5) / width
    y = (torch.arange(height, device=feature.device) + 0.5) / height
    grid = torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width)), -1)
    return grid.reshape(-1, 2).to(feature.dtype)


def corners(offsets: Tensor, prior: Tensor) -> Tensor:
    """Decode offsets from prior boxes into left, top, right and bottom (SSD, section 2.2)."""
    centre = prior[..., :2] + offsets[..., :2] * CENTRE_VARIANCE * prior[..., 2:]
    half = prior[..., 2:] * (offsets[..., 2:] * SIZE_VARIANCE).exp() / 2
    return torch.cat((centre - half, centre + half), 2)


def heads(columns: int) -> nn.ModuleList:
    """Build one head per stride, with `columns` values for each prior of a cell."""
    *fine, coarse = (columns * len(sides) for sides in SIDES)
    separables = (plain_separable(channels, count) for channels, count in zip(CHANNELS, fine, strict=False))
    return nn.ModuleList([*separables, nn.Conv2d(CHANNELS[-1], coarse, 3, padding=1)])
