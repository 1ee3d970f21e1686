"""Slim: a face detector of about a megabyte, with five landmarks.

The network is the "slim" variant of biubug6/Face-Detector-1MB-with-landmark: a narrow MobileNet
(https://arxiv.org/abs/1704.04861) under SSD heads (https://arxiv.org/abs/1512.02325) on the strides 8, 16, 32
and 64. Names of parameters are those of its checkpoint.
"""

from __future__ import annotations

from slim_parts import plain_separable, rows, separable
from torch import Tensor, nn

# Channels and stride of each separable convolution, conv2 to conv13.
BACKBONE = (
    (32, 1), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1),
    (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1),
)
TAPS = ("conv8", "conv11", "conv13", "conv14")  # what the heads read, with strides 8, 16, 32, 64
CHANNELS = (64, 128, 256, 256)
PRIORS = (3, 2, 2, 3)  # boxes per cell


class SlimFaceLandmark(nn.Module):
    """Pictures (batch, 3, height, width), BGR minus its mean, to three outputs of one row per prior box.

    `loc` (batch, rows, 4): box offsets, to be decoded with the priors and the variances 0.1 and 0.2;
    `conf` (batch, rows, 2): probabilities of background and face; `landms` (batch, rows, 10): offsets of the
    landmarks. Rows run by stride, then cell from left to right and down, then prior; 23500 at 640x640.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        inputs = 16
        for number, (outputs, stride) in enumerate(BACKBONE, 2):
            self.add_module(f"conv{number}", separable(inputs, outputs, stride))
            inputs = outputs
        self.conv14 = nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), plain_separable(64, 256, 2), nn.ReLU())
        self.loc, self.conf, self.landm = heads(4), heads(2), heads(10)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, maps = picture, []
        for number in range(1, 15):
            x = self.get_submodule(f"conv{number}")(x)
            if f"conv{number}" in TAPS:
                maps.append(x)
        return rows(self.loc, maps, 4), rows(self.conf, maps, 2).softmax(2), rows(self.landm, maps, 10)


def slim_face_landmark() -> SlimFaceLandmark:
    """Build the detector."""
    return SlimFaceLandmark()


def heads(columns: int) -> nn.ModuleList:
    """Build one head per stride, with `columns` values for each prior of a cell."""
    *fine, coarse = (columns * count for count in PRIORS)
    separables = (plain_separable(channels, count) for channels, count in zip(CHANNELS, fine, strict=False))
    return nn.ModuleList([*separables, nn.Conv2d(CHANNELS[-1], coarse, 3, padding=1)])
