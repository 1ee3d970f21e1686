"""Residual networks: 18 to 152 layers for ImageNet, 20 and 56 for CIFAR-10.

He et al., "Deep Residual Learning for Image Recognition", 2015 (https://arxiv.org/abs/1512.03385).
The parameters of the first are named as torchvision's, those of the second as akamaster/pytorch_resnet_cifar10's,
so that their checkpoints fit.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import pad, relu

Shortcut = Callable[[int, int, int], nn.Module | None]  # inputs, outputs, stride; None: the identity


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the stride is the first one's."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + (self.downsample(x) if self.downsample else x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution and a shortcut; the stride is the 3x3 one's, as in torchvision ("v1.5")."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu(y + (self.downsample(x) if self.downsample else x))


class ResNet(nn.Module):
    """ResNet for ImageNet: pictures (batch, 3, height, width) of any size from 32 up, to (batch, classes).

    The output holds logits, or with `softmax` probabilities.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], blocks: tuple[int, ...], classes: int, softmax: bool
    ) -> None:
        super().__init__()
        self.conv1 = convolution(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for number, count in enumerate(blocks, 1):
            width, stride = 32 << number, 1 if number == 1 else 2
            self.add_module(f"layer{number}", stage(block, inputs, width, count, stride, projection))
            inputs = width * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)
        self.softmax = softmax

    def forward(self, picture: Tensor) -> Tensor:
        x = self.maxpool(relu(self.bn1(self.conv1(picture))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits = self.fc(self.avgpool(x).flatten(1))
        return logits.softmax(1) if self.softmax else logits


class CifarResNet(nn.Module):
    """ResNet for CIFAR-10: pictures (batch, 3, 32, 32) to logits (batch, 10); three stages of `count` blocks."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.conv1 = convolution(3, 16, 3)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(BasicBlock, 16, 16, count, 1, padding)
        self.layer2 = stage(BasicBlock, 16, 32, count, 2, padding)
        self.layer3 = stage(BasicBlock, 32, 64, count, 2, padding)
        self.linear = nn.Linear(64, 10)

    def forward(self, picture: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(picture)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class Padding(nn.Module):
    """The paper's shortcut A, without parameters: every second pixel, new channels filled with zeros."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        below = self.extra // 2
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, below, self.extra - below))


def resnet18(classes: int = 1000, softmax: bool = False) -> ResNet:
    """Build ResNet-18."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, softmax)


def resnet34(classes: int = 1000, softmax: bool = False) -> ResNet:
    """Build ResNet-34."""
    return ResNet(BasicBlock, (3, 4, 6, 3), classes, softmax)


def resnet50(classes: int = 1000, softmax: bool = False) -> ResNet:
    """Build ResNet-50."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, softmax)


def resnet101(classes: int = 1000, softmax: bool = False) -> ResNet:
    """Build ResNet-101."""
    return ResNet(Bottleneck, (3, 4, 23, 3), classes, softmax)


def resnet152(classes: int = 1000, softmax: bool = False) -> ResNet:
    """Build ResNet-152."""
    return ResNet(Bottleneck, (3, 8, 36, 3), classes, softmax)


def resnet20_cifar10() -> CifarResNet:
    """Build ResNet-20 for CIFAR-10."""
    return CifarResNet(3)


def resnet56_cifar10() -> CifarResNet:
    """Build ResNet-56 for CIFAR-10."""
    return CifarResNet(9)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Build a convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def stage(
    block: type[BasicBlock | Bottleneck], inputs: int, width: int, count: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    """Build `count` blocks, of which the first changes size and channels."""
    outputs = width * block.expansion
    first = block(inputs, width, stride, shortcut(inputs, outputs, stride))
    return nn.Sequential(first, *(block(outputs, width, 1, None) for _ in range(count - 1)))


def projection(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """Build the paper's shortcut B: a 1x1 convolution where size or channels change."""
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


def padding(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """Build the paper's shortcut A where size or channels change."""
    return None if inputs == outputs and stride == 1 else Padding(outputs - inputs, stride)
