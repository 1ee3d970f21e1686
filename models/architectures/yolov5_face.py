"""YOLOv5-face: faces with five landmarks, in the sizes n-0.5, n, s, m and l.

Written from the published description: Qi et al., "YOLO5Face: Why Reinventing a Face Detector", 2021
(https://arxiv.org/abs/2105.12931), ShuffleNetV2 (https://arxiv.org/abs/1807.11164) and the CSP blocks of YOLOv5.
Names of parameters and buffers are those of the checkpoints released by deepcam-cn/yolov5-face.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
ANCHORS = (
    ((4, 5), (8, 10), (13, 16)),
    ((23, 29), (43, 55), (73, 105)),
    ((146, 217), (231, 300), (335, 433)),
)  # width, height in pixels of the input; one row per stride
COLUMNS = 16  # box 4, objectness, five landmarks 10, class

Layer = tuple[nn.Module, tuple[int, ...]]  # a layer and what it reads: indices of layers, none: the one before


class Conv(nn.Module):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = normalise(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(self.bn(self.conv(x)))


class Stem(nn.Module):
    """Reduce the picture to a quarter of its size by a convolution and a pooling side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem_1 = Conv(3, channels, 3, 2)
        self.stem_2a = Conv(channels, channels // 2)
        self.stem_2b = Conv(channels // 2, channels, 3, 2)
        self.stem_2p = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.stem_3 = Conv(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_1(x)
        return self.stem_3(torch.cat((self.stem_2b(self.stem_2a(x)), self.stem_2p(x)), 1))


class ShuffleBlock(nn.Module):
    """ShuffleNetV2 unit: half of the channels pass by (or are reduced, at stride 2), then both halves are mixed."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        reads = half if stride == 1 else inputs
        self.branch1 = nn.Sequential(*(depthwise(inputs, half, stride) if stride == 2 else ()))
        self.branch2 = nn.Sequential(*pointwise(reads, half), *depthwise(half, half, stride))

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if len(self.branch1) else x.chunk(2, 1)
        return shuffle(torch.cat((self.branch1(left), self.branch2(right)), 1))


class Bottleneck(nn.Module):
    """1x1 and 3x3 convolution, with a shortcut around both or without."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels)
        self.cv2 = Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Cross-stage partial block with three convolutions around `depth` bottlenecks."""

    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1 = Conv(inputs, half)
        self.cv2 = Conv(inputs, half)
        self.cv3 = Conv(outputs, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPP(nn.Module):
    """Spatial pyramid pooling; kernels 3, 5 and 7, smaller than YOLOv5's own because faces are small."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = Conv(channels, half)
        self.cv2 = Conv(4 * half, channels)
        self.m = nn.ModuleList(nn.MaxPool2d(kernel, 1, kernel // 2) for kernel in (3, 5, 7))

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv2(torch.cat((x, *(pool(x) for pool in self.m)), 1))


class Concat(nn.Module):
    """Join feature maps of one size along their channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, 1)


class Detect(nn.Module):
    """The head: one 1x1 convolution per stride, and the decoding of what it says."""

    anchor_grid: Tensor

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        pixels = torch.tensor(ANCHORS, dtype=torch.float32)
        self.register_buffer("anchors", pixels / torch.tensor(STRIDES).view(3, 1, 1))
        self.register_buffer("anchor_grid", pixels.view(3, 1, 3, 1, 1, 2))
        self.m = nn.ModuleList(nn.Conv2d(count, 3 * COLUMNS, 1) for count in channels)

    def forward(self, *features: Tensor) -> list[Tensor]:
        """Return the raw heads, (batch, 3 * 16, height, width) for the strides 8, 16 and 32."""
        return [conv(feature) for conv, feature in zip(self.m, features, strict=True)]

    def decode(self, heads: Sequence[Tensor]) -> Tensor:
        """Return predictions (batch, rows, 16): by stride, then anchor, then cell from left to right and down.

        Columns: centre x and y, width, height (pixels of the input), objectness, x and y of five landmarks
        (pixels), class; the formulae are YOLOv5's, with landmarks linear in units of the anchor.
        """
        return torch.cat([self._rows(head, i, a) for i, head in enumerate(heads) for a in range(3)], 1)

    def _rows(self, head: Tensor, level: int, anchor: int) -> Tensor:
        size = self.anchor_grid[level, 0, anchor, 0, 0]
        corner = cells(head) * STRIDES[level]
        # At most three dimensions: the runtimes of phones do not permute five.
        raw = head[:, anchor * COLUMNS : (anchor + 1) * COLUMNS].flatten(2).transpose(1, 2)
        centre = (raw[..., 0:2].sigmoid() * 2 - 0.5) * STRIDES[level] + corner
        extent = (raw[..., 2:4].sigmoid() * 2) ** 2 * size
        landmarks = raw[..., 5:15] * size.repeat(5) + corner.repeat(1, 5)
        return torch.cat((centre, extent, raw[..., 4:5].sigmoid(), landmarks, raw[..., 15:].sigmoid()), 2)


class Yolov5Face(nn.Module):
    """A pyramid of layers that ends in `Detect`; pictures (batch, 3, height, width), sides multiples of 32."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.model = nn.ModuleList(module for module, _ in layers)
        self.sources = [sources for _, sources in layers]

    def heads(self, picture: Tensor) -> list[Tensor]:
        """Return the raw outputs of the three heads, before decoding."""
        x, kept = picture, []
        for module, sources in zip(self.model[:-1], self.sources, strict=False):
            x = module(*(kept[index] for index in sources)) if sources else module(x)
            kept.append(x)
        return self.model[-1](*(kept[index] for index in self.sources[-1]))

    def forward(self, picture: Tensor) -> Tensor:
        return self.model[-1].decode(self.heads(picture))


def yolov5n_05_face() -> Yolov5Face:
    """Build YOLOv5n-0.5-face, 0.447 million parameters."""
    return shuffle_face(0.5)


def yolov5n_face() -> Yolov5Face:
    """Build YOLOv5n-face, 1.726 million parameters."""
    return shuffle_face(1.0)


def yolov5s_face() -> Yolov5Face:
    """Build YOLOv5s-face, 7.075 million parameters."""
    return csp_face(0.33, 0.5)


def yolov5m_face() -> Yolov5Face:
    """Build YOLOv5m-face, 21.063 million parameters."""
    return csp_face(0.67, 0.75)


def yolov5l_face() -> Yolov5Face:
    """Build YOLOv5l-face, 46.627 million parameters."""
    return csp_face(1.0, 1.0)


def shuffle_face(width: float) -> Yolov5Face:
    """Build a detector on a ShuffleNetV2 backbone, its channels scaled by `width`."""
    stem, c3, c4, c5, neck = (int(channels * width) for channels in (32, 128, 256, 512, 128))
    layers: list[Layer] = [(Stem(stem), ())]
    for inputs, outputs, repeats in ((stem, c3, 3), (c3, c4, 7), (c4, c5, 3)):
        layers.append((ShuffleBlock(inputs, outputs, 2), ()))
        layers.append((nn.Sequential(*(ShuffleBlock(outputs, outputs, 1) for _ in range(repeats))), ()))
    return Yolov5Face([*layers, *pyramid(len(layers), {2: c3, 4: c4}, c5, (neck, neck, neck), 1)])


def csp_face(depth: float, width: float) -> Yolov5Face:
    """Build a detector on YOLOv5's CSP backbone, its block counts scaled by `depth`, its channels by `width`."""
    c2, c3, c4, c5 = (int(channels * width) for channels in (128, 256, 512, 1024))
    few, many = max(round(3 * depth), 1), max(round(9 * depth), 1)
    modules = [
        Stem(c2 // 2), C3(c2 // 2, c2, few, shortcut=True),
        Conv(c2, c3, 3, 2), C3(c3, c3, many, shortcut=True),
        Conv(c3, c4, 3, 2), C3(c4, c4, many, shortcut=True),
        Conv(c4, c5, 3, 2), SPP(c5), C3(c5, c5, few),
    ]
    layers: list[Layer] = [(module, ()) for module in modules]
    return Yolov5Face([*layers, *pyramid(len(layers), {3: c3, 5: c4}, c5, (c3, c4, c5), few)])


def pyramid(first: int, taps: dict[int, int], top: int, outputs: tuple[int, int, int], depth: int) -> list[Layer]:
    """Build the layers after the backbone: down to stride 8, up again to stride 32, and the head.

    `first` is the index of the first of them, `taps` the backbone layers of strides 8 and 16 with their
    channels, `top` the channels of stride 32, `outputs` those of the three feature maps that the head reads.
    """
    (tap3, c3), (tap4, c4) = taps.items()
    p3, p4, p5 = outputs
    return [
        (Conv(top, p4), ()),
        (nn.Upsample(scale_factor=2), ()),
        (Concat(), (-1, tap4)),
        (C3(p4 + c4, p4, depth), ()),
        (Conv(p4, p3), ()),
        (nn.Upsample(scale_factor=2), ()),
        (Concat(), (-1, tap3)),
        (C3(p3 + c3, p3, depth), ()),
        (Conv(p3, p3, 3, 2), ()),
        (Concat(), (-1, first + 4)),
        (C3(p3 + p3, p4, depth), ()),
        (Conv(p4, p4, 3, 2), ()),
        (Concat(), (-1, first)),
        (C3(p4 + p4, p5, depth), ()),
        (Detect(outputs), (first + 7, first + 10, first + 13)),
    ]


def normalise(channels: int) -> nn.BatchNorm2d:
    """Build a batch normalisation with the epsilon and momentum of the YOLOv5 family."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)


def pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    """Build a 1x1 convolution with normalisation and SiLU."""
    return [nn.Conv2d(inputs, outputs, 1, bias=False), normalise(outputs), nn.SiLU()]


def depthwise(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """Build a 3x3 convolution of each channel by itself, followed by `pointwise`."""
    conv = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
    return [conv, normalise(inputs), *pointwise(inputs, outputs)]


def shuffle(x: Tensor) -> Tensor:
    """Interleave the first and the second half of the channels."""
    _, channels, height, width = x.shape
    return x.reshape(-1, 2, channels // 2, height * width).transpose(1, 2).reshape(-1, channels, height, width)


def cells(feature: Tensor) -> Tensor:
    """Return x and y of each cell of a feature map, (height * width, 2), from left to right and down."""
    height, width = feature.shape[-2:]
    x = torch.arange(width, device=feature.device).expand(height, width)
    y = torch.arange(height, device=feature.device).unsqueeze(1).expand(height, width)
    return torch.stack((x, y), -1).reshape(-1, 2).to(feature.dtype)
