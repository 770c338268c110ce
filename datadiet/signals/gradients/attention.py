"""nn.MultiheadAttention, which uses its weights in one fused call, split into layers that hooks can watch."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from datadiet.errors import OptionError
from datadiet.signals.gradients.products import wide
from datadiet.signals.gradients.terms import Explicit, OuterProduct, Terms

__all__ = ["Projection", "projection_rule", "taken_apart"]


class Projection(nn.Module):
    """Rows of an attention's weight and bias, as a linear layer that shares their memory.

    Attributes:
        names: "weight", and "bias" if there is one -> name in the attention.
        rows: the same -> which rows.
    """

    def __init__(self, owner: nn.MultiheadAttention, names: dict[str, str], rows: dict[str, slice]) -> None:
        super().__init__()
        self.owner = [owner]  # in a list, so that it does not become a submodule
        self.names, self.rows = names, rows

    def whole(self, own: str) -> Tensor:
        """The whole parameter that these are rows of."""
        return self.owner[0].get_parameter(self.names[own])

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) -> (…, number of rows)."""
        return functional.linear(x, *(self.whole(own)[rows] for own, rows in self.rows.items()))


def projection_rule(layer: Projection, x: Tensor, grad: Tensor) -> Terms:
    """The rule of a linear layer; the other rows of its parameters get no gradient here."""

    def spread(own: str) -> Tensor:
        size = len(layer.whole(own))
        start, stop, _ = layer.rows[own].indices(size)
        return functional.pad(grad, (start, size - stop)).reshape(len(x), 1, -1, size)

    def apply(v: Tensor) -> Tensor:
        return functional.linear(x.to(v.dtype), v[layer.rows["weight"]])

    a = x.reshape(len(x), 1, -1, x.shape[-1])
    return {
        "weight": lambda: OuterProduct(lambda: a, spread("weight"), 1, apply, grad, lambda gpd: gpd.squeeze(1)),
        "bias": lambda: Explicit(spread("bias").sum((1, 2), dtype=wide(grad))),
    }


@contextmanager
def taken_apart(
    model: nn.Module, trainable: Set[int], made: dict[str, dict[str, Projection]]
) -> Iterator[dict[str, Projection]]:
    """Make every attention of a model compute with layers that hooks can see; yields them by name.

    Args:
        model: in evaluation mode.
        trainable: ids of the trainable parameters; an attention without any is left alone.
        made: attention -> its projections from earlier calls, which are used again; new ones are added.

    Raises:
        OptionError: bias_k, bias_v or add_zero_attn.
    """
    found = {
        name: m
        for name, m in model.named_modules()
        if isinstance(m, nn.MultiheadAttention) and any(id(p) in trainable for p in m.parameters())
    }
    layers: dict[str, Projection] = {}
    own: dict[str, Any] = {}
    try:
        for name, attention in found.items():
            parts = made[name] = made.get(name) or _parts(name, attention)
            own[name] = attention.__dict__.get("forward")
            layers |= {f"{name}.{part}": layer for part, layer in parts.items()}
            attention.forward = partial(_forward, attention, parts)  # type: ignore[method-assign]
        yield layers
    finally:
        for name, forward in own.items():
            found[name].__dict__.pop("forward", None)
            if forward is not None:
                found[name].forward = forward  # type: ignore[method-assign]


def _parts(name: str, attention: nn.MultiheadAttention) -> dict[str, Projection]:
    if attention.bias_k is not None or attention.bias_v is not None or attention.add_zero_attn:
        raise OptionError(f"{name}: an attention with bias_k, bias_v or add_zero_attn is not supported: freeze it.")
    e, everything = attention.embed_dim, slice(None)
    thirds = {"q": slice(0, e), "k": slice(e, 2 * e), "v": slice(2 * e, 3 * e)}

    def part(weight: str, rows: slice, bias: str, bias_rows: slice) -> Projection:
        names, spans = {"weight": weight}, {"weight": rows}
        if attention.in_proj_bias is not None:  # the attention's option `bias` holds for all of them
            names, spans = names | {"bias": bias}, spans | {"bias": bias_rows}
        return Projection(attention, names, spans)

    out = {"out": part("out_proj.weight", everything, "out_proj.bias", everything)}
    if attention.in_proj_weight is None:
        return out | {x: part(f"{x}_proj_weight", everything, "in_proj_bias", third) for x, third in thirds.items()}
    both = {"qkv": everything, **thirds}
    return out | {x: part("in_proj_weight", rows, "in_proj_bias", rows) for x, rows in both.items()}


def _forward(
    attention: nn.MultiheadAttention,
    parts: dict[str, Projection],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What nn.MultiheadAttention.forward computes, in evaluation mode; `is_causal` is only a hint about `attn_mask`."""
    alone = query is key and key is value
    if query.ndim != 3:
        raise OptionError("an attention without a batch axis is not supported: give batches.")
    if not attention.batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    if alone and "qkv" in parts:
        q, k, v = parts["qkv"](query).chunk(3, -1)
    else:
        q, k, v = parts["q"](query), parts["k"](key), parts["v"](value)
    q, k, v = (x.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    mask = _mask(attn_mask, key_padding_mask, q)
    weights = None
    if need_weights:
        weights = q @ k.transpose(-1, -2) / sqrt(q.shape[-1])
        weights = (weights if mask is None else weights + mask).softmax(-1)
        out = weights @ v
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        out = functional.scaled_dot_product_attention(q, k, v, mask)
    out = parts["out"](out.transpose(1, 2).flatten(2))
    return (out if attention.batch_first else out.transpose(0, 1)), weights


def _mask(attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor) -> Tensor | None:
    """The mask that is added to the (B, heads, T, S) scores: -inf where a boolean mask is True."""
    masks = []
    if attn_mask is not None:
        masks.append(torch.unflatten(attn_mask, 0, q.shape[:2]) if attn_mask.ndim == 3 else attn_mask)
    if key_padding_mask is not None:
        masks.append(key_padding_mask[:, None, None, :])
    added = [q.new_zeros(m.shape).masked_fill_(m, -torch.inf) if m.dtype == torch.bool else m for m in masks]
    return added[0] + added[1] if len(added) == 2 else added[0] if added else None
