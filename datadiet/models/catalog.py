"""The names of models, for listing them without torch."""

from __future__ import annotations

__all__ = ["NETWORKS", "SCHEMES"]

NETWORKS = {
    "mlp": "two hidden layers of 128 units, for digits and feature vectors",
    "cnn": "six convolutions with BatchNorm, 16 to 64 channels, for images of about 32x32 (0.1 M parameters)",
    "resnet8": "ResNet of one block a stage, 16 to 64 channels (0.08 M parameters)",
    "resnet20": "the CIFAR ResNet-20 (0.27 M parameters)",
}

SCHEMES = {
    "datadiet": "a small network of this package",
    "torchvision": "a torchvision model, random weights (extra: vision)",
    "timm": "a timm model, random weights (extra: timm)",
    "py": "py:package.module:make_model or py:file.py:make_model, your own",
}
