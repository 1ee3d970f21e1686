"""A small residual network for handwritten digits of 8x8 pixels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input passes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return relu(x + self.second(relu(self.first(x))))


class Digits(nn.Module):
    """Pictures (batch, 1, 8, 8) from 0 to 1, white on black, to probabilities (batch, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(1, 16), nn.ReLU(), Residual(16), convolution(16, 32, stride=2), nn.ReLU(), Residual(32)
        )
        self.classify = nn.Linear(32 * 4 * 4, 10)

    def logits(self, picture: Tensor) -> Tensor:
        """Return what `forward` turns into probabilities; the loss wants it."""
        return self.classify(self.features(picture).flatten(1))

    def forward(self, picture: Tensor) -> Tensor:
        return self.logits(picture).softmax(1)


def digits() -> Digits:
    """Build the network."""
    return Digits()


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Build a 3x3 convolution with batch normalisation."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))
