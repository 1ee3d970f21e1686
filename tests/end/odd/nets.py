"""Networks that stress the way from a module to an artifact: odd inputs, odd outputs, and mistakes.

Their weights are small whole numbers, so that tests can work out in their heads what must come out.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional


class Weighted(nn.Module):
    """Something with a weight: 1, 2, 3, ... of some shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        count = int(torch.tensor(shape).prod())
        self.weight = nn.Parameter(torch.arange(1.0, count + 1).reshape(shape))


class Driver(Weighted):
    """A picture and a state that is none: the mean brightness times (1, 2), plus the state's sum."""

    def forward(self, camera: Tensor, state: Tensor) -> Tensor:
        return camera.mean((1, 2, 3), keepdim=True).flatten(1) * self.weight + state.sum(1, keepdim=True)


class Words(nn.Module):
    """Indices into ten vectors of two numbers each, summed."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 2)
        self.table.weight.data = torch.arange(20.0).reshape(10, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.table(words).sum(1)


class Corner(Weighted):
    """The first pixel of pictures whose channels come last."""

    def forward(self, picture: Tensor) -> Tensor:
        return picture[:, 0, 0, :] * self.weight


class FirstPixel(Weighted):
    """The first pixel of pictures whose channels come first."""

    def forward(self, picture: Tensor) -> Tensor:
        return picture[:, :, 0, 0] * self.weight


class Bytes(Weighted):
    """The mean of each channel, of bytes."""

    def forward(self, picture: Tensor) -> Tensor:
        return picture.float().mean((1, 2)) * self.weight


class Two(Weighted):
    """Row sums times (1, 2), and a table that has no batch axis."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.sum(1, keepdim=True) * self.weight, self.weight * torch.arange(5.0).reshape(5, 1)


class Argmax(Weighted):
    """Scores, and the index of the best: an output of whole numbers, and without a trailing axis."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = x * self.weight
        return scores, scores.argmax(1)


class Echo(Weighted):
    """Its input as an output, and one tensor as two outputs."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        product = x * self.weight
        return x, product, product


class Linear(Weighted):
    """Rows times a matrix."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class Sizes(nn.Module):
    """A convolution and a mean: of any height and width; the map is an output, too."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 2, 3, padding=1)
        self.body.weight.data = torch.arange(54.0).reshape(2, 3, 3, 3) / 54
        self.body.bias.data = torch.tensor([1.0, 2.0])

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.body(picture)
        return seen.mean((2, 3)), seen


class Mean(Weighted):
    """One number for everything: no axis at all."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).mean()


class Logarithm(Weighted):
    """No number for what is negative."""

    def forward(self, x: Tensor) -> Tensor:
        return x.log() * self.weight


class Branch(Weighted):
    """A decision by value: tracing takes the way of its example, for ever."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight if x.mean() > 0 else x - self.weight


class Cached(Weighted):
    """Remembers the width that it saw first; another width is worked out anew, but not in a trace."""

    width = 0

    def forward(self, picture: Tensor) -> Tensor:
        if self.width != picture.shape[3]:
            self.width = int(picture.shape[3])
        return picture.sum((2, 3)) / self.width * self.weight


class Grid(Weighted):
    """Remembers a grid of the size that it saw last, which a trace takes for a weight."""

    grid = torch.zeros(0)

    def forward(self, picture: Tensor) -> Tensor:
        if len(self.grid) != int(picture.shape[3]):
            self.grid = torch.arange(float(picture.shape[3]))
        return (picture + self.grid).mean((2, 3)) * self.weight


class Dropout(Weighted):
    """Drops values though nobody trains it."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x * self.weight, 0.5, training=True)


class Chance(Weighted):
    """Depends on a number that no seed of torch's fixes."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight * random.random()


class Dictionary(Weighted):
    """Returns no tensors."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": x * self.weight}


def driver() -> Driver:
    return Driver(2)


def words() -> Words:
    return Words()


def corner() -> Corner:
    return Corner(3)


def first_pixel() -> FirstPixel:
    return FirstPixel(3)


def byte_means() -> Bytes:
    return Bytes(3)


def two() -> Two:
    return Two(2)


def argmax() -> Argmax:
    return Argmax(3)


def echo() -> Echo:
    return Echo(3)


def linear() -> Linear:
    return Linear(3, 2)


def wide() -> Linear:
    return Linear(3, 700)


def sizes() -> Sizes:
    return Sizes()


def mean() -> Mean:
    return Mean(3)


def logarithm() -> Logarithm:
    return Logarithm(3)


def branch() -> Branch:
    return Branch(3)


def cached() -> Cached:
    return Cached(3)


def grid() -> Grid:
    return Grid(3)


def dropout() -> Dropout:
    return Dropout(30)


def chance() -> Chance:
    return Chance(3)


def dictionary() -> Dictionary:
    return Dictionary(3)


def raising() -> nn.Module:
    raise RuntimeError("no such table of anchors")


def demanding(classes: int) -> Linear:
    return Linear(3, classes)


def no_module() -> str:
    return "a model"
