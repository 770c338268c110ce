"""The networks of `gpu.py`, and two plain ways to per-example gradients: without torchvision, opacus or timm."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional

from datadiet.models import networks

__all__ = ["NETS", "one_gradient", "opacus_like"]


class Basic(nn.Module):
    """The block of ResNet-18: two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        straight = stride == 1 and inputs == outputs
        self.short = nn.Sequential() if straight else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        out = self.norms[1](self.second(functional.relu(self.norms[0](self.first(x)))))
        return functional.relu(out + self.short(x))


def resnet18(side: int) -> nn.Module:
    """ResNet-18 for small images: a 3x3 stem without pooling, 11.2 million parameters."""
    widths = (64, 64, 128, 128, 256, 256, 512, 512)
    blocks = [Basic(a, b, 1 + (b > a)) for a, b in zip((64, *widths), widths, strict=False)]
    stem = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class Layer(nn.Module):
    """A layer of a transformer, normalised before each part."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width)."""
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norms[1](x))


class ViT(nn.Module):
    """Six layers of width 192 on 4x4 patches."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 192, 4, 4)
        self.places = nn.Parameter(0.02 * torch.randn(1, (side // 4) ** 2, 192))
        self.layers = nn.Sequential(*[Layer(192, 3) for _ in range(6)])
        self.head = nn.Sequential(nn.LayerNorm(192), nn.Linear(192, 10))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, side, side) -> (B, 10)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.layers(tokens).mean(1))


NETS: dict[str, Callable[[int], nn.Module]] = {
    "resnet18": resnet18,
    "resnet20": lambda side: networks.resnet20((3, side, side), 10),
    "vit": ViT,
}


def one_gradient(model: nn.Module) -> Callable[..., Tensor]:
    """The squared norm of the gradient of one example, for vmap."""

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, parameters, (image[None],)), label[None])

    def norm(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return sum(g.square().sum() for g in grad(loss)(parameters, image, label).values())

    return norm


def opacus_like(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Squared norms by hooks and einsum on every linear layer and convolution, each gradient formed."""
    total, handles, inputs = torch.zeros(len(x), device=x.device), [], {}

    def keep(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        inputs[layer] = given[0].detach()

    def add(layer: nn.Module, _: object, out: tuple[Tensor, ...]) -> None:
        a, b = inputs[layer], out[0]
        if isinstance(layer, nn.Conv2d):
            a = functional.unfold(a, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            each = torch.einsum("bpt,bdt->bpd", b.flatten(2), a)
        else:
            each = torch.einsum("btp,btd->bpd", b.reshape(len(b), -1, b.shape[-1]), a.reshape(len(a), -1, a.shape[-1]))
        total.add_(each.flatten(1).square().sum(1))

    for layer in model.modules():
        if type(layer) in (nn.Conv2d, nn.Linear):  # what is inside an attention never fires
            handles += [layer.register_forward_hook(keep), layer.register_full_backward_hook(add)]
    try:
        functional.cross_entropy(model(x), y, reduction="sum").backward()
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
    return total
