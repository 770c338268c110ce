"""How each kind of layer turns its input and the gradient of its output into terms of its parameters' gradients.

A rule is `rule(layer, x, grad) -> {parameter name: function that makes its Term}`, with the examples on the first axis
of x and grad; only the terms of trainable parameters are made. It may assume that the layer is in evaluation mode;
`refusal` says which settings make a per-example gradient impossible. `Vmapped` reruns a layer of unknown kind for every
example: exact, but slower, and it holds every gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import grad as gradient_of
from torch.func import vmap
from torch.nn import functional

from datadiet.signals.gradients.batch import fitted, instead
from datadiet.signals.gradients.convolutions import conv_rule, conv_transposed_rule
from datadiet.signals.gradients.lookup import Lookup
from datadiet.signals.gradients.products import chunks, single, wide
from datadiet.signals.gradients.terms import Explicit, OuterProduct, Terms
from datadiet.working_set import working_set

__all__ = ["Rule", "Vmapped", "refusal", "rule_for"]

Rule = Callable[[Any, Tensor, Tensor], Terms]

_VMAPPED = 4  # working sets of gradients at once under vmap, where each launch costs more
_CHANNELS_FIRST: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()  # what was found by running a layer


def rule_for(layer: nn.Module) -> Rule | None:
    """The rule for a layer, or None if there is none."""
    return next((rule for kind, rule in _RULES.items() if isinstance(layer, kind)), None)


def refusal(layer: nn.Module) -> str | None:
    """Why a layer has no per-example gradient, or None."""
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
        return "normalises by the statistics of the batch (track_running_stats=False)"
    if isinstance(layer, nn.Embedding) and layer.scale_grad_by_freq:
        return "scales gradients by how often a row occurs in the batch (scale_grad_by_freq)"
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return "changes its weights in the forward pass (max_norm)"
    return None


def _linear(layer: nn.Linear, x: Tensor, grad: Tensor) -> Terms:
    a, b = x.reshape(len(x), 1, -1, x.shape[-1]), grad.reshape(len(grad), 1, -1, grad.shape[-1])
    return {
        "weight": lambda: OuterProduct(
            lambda: a, b, 1, lambda v: functional.linear(x.to(v.dtype), v), grad, lambda gpd: gpd.squeeze(1)
        ),
        "bias": lambda: Explicit(_sum(b, [1, 2])),
    }


def _embedding(layer: nn.Embedding, x: Tensor, grad: Tensor) -> Terms:
    if x.is_floating_point():  # as in OPT, which computes its positions from the attention mask
        raise ValueError("its input is not the rows that it looks up")
    ids, b = x.reshape(len(x), -1), grad.reshape(len(x), -1, layer.embedding_dim)
    if layer.padding_idx is not None:
        b = b * (ids != layer.padding_idx)[..., None]
    return {"weight": lambda: Lookup(ids, b, layer.num_embeddings)}


def _scale_and_shift(x_hat: Tensor, grad: Tensor, axes: list[int]) -> Terms:
    """y = weight * x_hat + bias; summed over `axes`, all but the first one and the parameter's own."""
    return {
        "weight": lambda: Explicit(_sum(single(grad) * x_hat, axes)),
        "bias": lambda: Explicit(_sum(grad, axes)),
    }


def _sum(x: Tensor, axes: list[int]) -> Tensor:
    return x.sum(axes, dtype=wide(x)) if axes else x  # sum([]) would sum over everything


def _normalised_last(layer: nn.LayerNorm | nn.RMSNorm, x: Tensor, grad: Tensor) -> Terms:
    shape, x = list(layer.normalized_shape), single(x)
    if _channels_first(layer, x):
        x, grad = x.movedim(1, -1), grad.movedim(1, -1)
    if isinstance(layer, nn.LayerNorm):
        x_hat = functional.layer_norm(x, shape, eps=layer.eps)
    else:
        x_hat = functional.rms_norm(x, shape, eps=layer.eps)
    return _scale_and_shift(x_hat, grad, list(range(1, x.ndim - len(shape))))


def _channels_first(layer: nn.LayerNorm | nn.RMSNorm, x: Tensor) -> bool:
    """As in ConvNeXt's LayerNorm2d; if the sizes do not tell, by running the layer."""
    shape = list(layer.normalized_shape)
    if list(x.shape[-len(shape) :]) != shape:
        return True
    if [x.shape[1]] != shape or type(layer).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward):
        return False
    ordinary = nn.LayerNorm.forward if isinstance(layer, nn.LayerNorm) else nn.RMSNorm.forward
    if layer not in _CHANNELS_FIRST:  # it follows from the code, so one trial on random numbers and weights tells
        rng = torch.Generator().manual_seed(0)
        one = torch.randn(x[:1].shape, generator=rng).to(x.device, layer.weight.dtype)
        drawn = {name: torch.randn(p.shape, generator=rng).to(p) for name, p in layer.named_parameters()}
        with instead(layer, drawn):
            same = torch.allclose(layer(one), ordinary(layer, one), rtol=1e-3, atol=1e-3)  # type: ignore[arg-type]
        _CHANNELS_FIRST[layer] = not same
    return _CHANNELS_FIRST[layer]


def _batch_norm(layer: nn.modules.batchnorm._BatchNorm, x: Tensor, grad: Tensor) -> Terms:
    assert layer.running_mean is not None and layer.running_var is not None
    axes, mean = list(range(2, x.ndim)), layer.running_mean.view(1, -1, *[1] * (x.ndim - 2))
    rate = (single(layer.running_var) + layer.eps).rsqrt()  # outside the sum, which runs over more memory
    parts = [_sum((single(x[rows]) - mean).mul_(grad[rows]), axes) for rows in chunks(len(x), x[0].numel(), x.device)]
    return {"weight": lambda: Explicit(torch.cat(parts) * rate), "bias": lambda: Explicit(_sum(grad, axes))}


def _group_norm(layer: nn.GroupNorm, x: Tensor, grad: Tensor) -> Terms:
    x_hat = functional.group_norm(single(x), layer.num_groups, eps=layer.eps)
    return _scale_and_shift(x_hat, grad, list(range(2, x.ndim)))


def _instance_norm(layer: nn.modules.instancenorm._InstanceNorm, x: Tensor, grad: Tensor) -> Terms:
    running = layer.running_mean is not None
    mean, var = (layer.running_mean, layer.running_var) if running else (None, None)
    x_hat = functional.instance_norm(single(x), mean, var, use_input_stats=not running, eps=layer.eps)
    return _scale_and_shift(x_hat, grad, list(range(2, x.ndim)))


def _prelu(layer: nn.PReLU, x: Tensor, grad: Tensor) -> Terms:
    channels = x.shape[1] if layer.num_parameters > 1 else 1
    return {"weight": lambda: Explicit(_sum((grad * x.clamp_max(0)).reshape(len(x), channels, -1), [2]))}


_RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.modules.conv._ConvTransposeNd: conv_transposed_rule,
    nn.modules.conv._ConvNd: conv_rule,
    nn.Embedding: _embedding,
    nn.LayerNorm: _normalised_last,
    nn.RMSNorm: _normalised_last,
    nn.modules.instancenorm._InstanceNorm: _instance_norm,
    nn.modules.batchnorm._BatchNorm: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.PReLU: _prelu,
}


@dataclass(frozen=True)
class Vmapped:
    """A rule for any module that maps one tensor to one tensor: the gradient of <output, output_grad> by `torch.func`.

    Attributes:
        names: of its parameters, including the modules inside it.
    """

    names: tuple[str, ...]

    def __call__(self, layer: nn.Module, x: Tensor, output_grad: Tensor) -> Terms:
        """The gradients of all examples, a few at a time.

        Raises:
            RuntimeError: the layer cannot be run under vmap.
        """
        own = {name: layer.get_parameter(name).detach() for name in self.names}
        x = fitted(layer, x)  # under autocast its input may have another precision

        def weighted(parameters: dict[str, Tensor], one: Tensor, back: Tensor) -> Tensor:
            with instead(layer, parameters):
                out: Tensor = layer(one[None])
            return (out * back[None]).sum()

        at_once = max(1, _VMAPPED * working_set(x.device.type) // sum(p.numel() for p in own.values()))
        found = vmap(gradient_of(weighted), in_dims=(None, 0, 0), chunk_size=at_once)(own, x, output_grad)
        return {name: partial(Explicit, value) for name, value in found.items()}
