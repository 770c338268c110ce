"""Small networks that train well on two CPU cores.

All take normalised inputs on the scale of uint8, of any size that their pooling allows, and end in a linear head with
a bias.
"""

from __future__ import annotations

from math import prod

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["cnn", "mlp", "resnet8", "resnet20"]


def mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Two hidden layers of 128 units with ReLU, for digits and feature vectors (8x8 digits: 26,000 parameters)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(prod(shape), 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, classes)
    )


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    ]


def cnn(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Six 3x3 convolutions (16, 32, 32, 64, 64, 64) with BatchNorm and three poolings: 0.1 M parameters.

    For images of about 32x32; 16x16 and 64x64 work too.
    """
    return nn.Sequential(
        *_conv(shape[0], 16),
        *_conv(16, 32),
        nn.MaxPool2d(2),
        *_conv(32, 32),
        *_conv(32, 64),
        nn.MaxPool2d(2),
        *_conv(64, 64),
        *_conv(64, 64),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut that pads with zero channels (option A of He et al. 2016)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(channels_in, channels_out, stride), *_conv(channels_out, channels_out)[:2])
        self.stride, self.padding = stride, (channels_out - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.stride > 1 or self.padding:
            shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(self.body(x) + shortcut)


def _resnet(shape: tuple[int, ...], classes: int, blocks: int) -> nn.Module:
    layers = _conv(shape[0], 16)
    channels = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(blocks):
            layers.append(_Block(channels, width, 2 if stage and not block else 1))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def resnet8(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet with one block in each of three stages of 16, 32, 64 channels: 75,000 parameters."""
    return _resnet(shape, classes, 1)


def resnet20(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The CIFAR ResNet-20 of He et al. 2016 (arXiv 1512.03385, section 4.2): 270,000 parameters."""
    return _resnet(shape, classes, 3)
