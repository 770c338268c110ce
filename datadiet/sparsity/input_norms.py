"""How large the inputs are that each weight multiplies, over all examples and positions, as hooks see them.

One forward pass of the whole network, in evaluation mode. Linear layers, convolutions and nn.MultiheadAttention are
known; the squares are summed on the device, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.float32_precision import float32_products
from datadiet.models.running import call_in_run, evaluating, ordinary_attention

__all__ = ["input_norms"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_KNOWN = (nn.Linear, nn.MultiheadAttention, *_CONVOLUTIONS)
Squares = Mapping[Tensor, Tensor]  # weight -> the sum of the squares of what each of its entries multiplies


@torch.no_grad()
def input_norms(model: nn.Module, weights: Mapping[str, Tensor], batches: Iterable[Batch]) -> dict[str, Tensor]:
    """The L2 norm of the input of each weight, over all examples and all positions where it is used.

    Args:
        model: the network, which is left as it was.
        weights: name -> parameter.
        batches: of examples.

    Returns:
        name -> float32 norms of a shape that broadcasts to that of the parameter. Those are missing that belong to no
        linear layer, convolution or nn.MultiheadAttention, or to one that these examples do not reach. The norms of a
        weight that several layers share are over all of them.
    """
    names = {id(weight): name for name, weight in weights.items()}
    sums: dict[str, Tensor] = {}

    def add(found: Squares) -> None:
        for weight, squares in found.items():
            name = names.get(id(weight))
            if name is not None:
                sums[name] = sums[name] + squares if name in sums else squares.double()

    layers = [part for part in model.modules() if isinstance(part, _KNOWN)]
    used = [part for part in layers if any(id(weight) in names for weight in part.parameters())]
    with evaluating(model), float32_products(), ordinary_attention(), _watched(used, add):
        for batch in batches:
            call_in_run(model, batch)
    return {name: squares.sqrt().float() for name, squares in sums.items()}


@contextmanager
def _watched(layers: Iterable[nn.Module], add: Callable[[Squares], None]) -> Iterator[None]:
    """Call a function with what layers are about to read."""
    again: list[nn.Module] = []  # attention that runs a second time, for its own hook

    def look(layer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        if isinstance(layer, nn.MultiheadAttention):
            if layer not in again:
                again.append(layer)
                add(_of_attention(layer, args, named))
                again.remove(layer)
            return
        x = args[0] if args else named["input"]
        add({layer.weight: _of_convolution(layer, x) if isinstance(layer, _CONVOLUTIONS) else _of_linear(x)})

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(look, with_kwargs=True).remove)
        yield


def _of_linear(x: Tensor) -> Tensor:
    """(in,) the sums of the squares of inputs (…, in)."""
    return x.float().square().reshape(-1, x.shape[-1]).sum(0)


def _of_convolution(layer: Any, x: Tensor) -> Tensor:
    """The sums of squares of what each weight (out, in / groups, *kernel) meets while the kernel moves.

    Squares are summed over the examples first, so what is unfolded is a single image.
    """
    sizes = layer.kernel_size
    image = x.float().square()
    image = image if x.ndim == len(sizes) + 1 else image.sum(0)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    window = functional.pad(image[None], layer._reversed_padding_repeated_twice, mode)[0]
    for axis, (size, stride, dilation) in enumerate(zip(sizes, layer.stride, layer.dilation, strict=True), 1):
        window = window.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    squares = window.sum(dim=[*range(1, 1 + len(sizes))])  # (in, *kernel)
    grouped = squares.view(layer.groups, layer.in_channels // layer.groups, *sizes)
    return grouped.repeat_interleave(layer.out_channels // layer.groups, 0) if layer.groups > 1 else grouped


def _of_attention(layer: nn.MultiheadAttention, args: tuple[Any, ...], named: dict[str, Any]) -> dict[Tensor, Tensor]:
    """Those of all its projections; the heads, which the last one reads, come out if it is the identity."""
    given = {**dict(zip(("query", "key", "value"), args, strict=False)), **named}
    squares = [_of_linear(given[key]) for key in ("query", "key", "value")]
    found: dict[Tensor, Tensor] = {}
    if layer.in_proj_weight is None:
        found.update(zip((layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight), squares, strict=True))
    else:
        found[layer.in_proj_weight] = torch.stack(squares).repeat_interleave(layer.embed_dim, 0)
    last = layer.out_proj
    identity = {"out_proj.weight": torch.eye(layer.embed_dim).to(last.weight)}
    if last.bias is not None:
        identity["out_proj.bias"] = torch.zeros_like(last.bias)
    found[last.weight] = _of_linear(functional_call(layer, identity, args, named)[0])
    return found
