"""Small networks for tests, good and bad."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """A convolution, its normalisation, and a linear head: scores over classes."""

    ignored_keys = ("*.anchor_grid", "table")

    def __init__(self, width: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, classes)
        self.register_buffer("table", torch.arange(3.0))
        self.register_buffer("passing", torch.zeros(2), persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        return self.head(self.body(picture).mean((2, 3))).softmax(1)


class Two(Tiny):
    """As Tiny, with the features as a second output."""

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(picture).mean((2, 3))
        return self.head(features), features


class Fixed(Tiny):
    """As Tiny, but with the batch as a constant: 1."""

    def forward(self, picture: Tensor) -> Tensor:
        return self.head(self.body(picture).mean((2, 3)).reshape(1, -1)[:, :4])


class Named(Tiny):
    """As Tiny, with its output in a dictionary."""

    def forward(self, picture: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"scores": super().forward(picture)}


class Sampled(nn.Module):
    """Samples its input on a grid, which opsets before 16 cannot express."""

    def forward(self, picture: Tensor) -> Tensor:
        grid = torch.linspace(-1, 1, 8).reshape(1, 2, 2, 2).expand(picture.shape[0], 2, 2, 2)
        return nn.functional.grid_sample(picture, grid, align_corners=False)


class Redundant(Tiny):
    """As Tiny, with work that folds away."""

    def forward(self, picture: Tensor) -> Tensor:
        half = torch.ones(3).sum() / 6
        doubled = torch.cat([picture[:, :1], picture[:, 1:]], 1) * half * 2
        return super().forward(doubled.transpose(2, 3).transpose(2, 3))


def tiny(width: int = 4, classes: int = 3) -> Tiny:
    return Tiny(width, classes)


def two() -> Two:
    return Two()


def fixed() -> Fixed:
    return Fixed()


def named() -> Named:
    return Named()


def sampled() -> Sampled:
    return Sampled()


def redundant() -> Redundant:
    return Redundant()


def no_module() -> int:
    return 3


def failing() -> nn.Module:
    raise ValueError("no luck")
