"""Which weights to keep, in exact numbers: the largest of all layers or of each, and how a budget is shared by layers.

Ties are broken by the position in the network, so that the result is a function of the scores, on any device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from datadiet.errors import DataError, OptionError
from datadiet.parameters import in_a_line
from datadiet.randomness import mix64
from datadiet.selectors.budget import allocate, in_proportion

if TYPE_CHECKING:
    from torch import Tensor

    Layers = Mapping[str, Tensor]  # name of a parameter -> a number for each of its weights
    Kept = dict[str, Tensor]  # the same with bool: whether it is kept
else:  # so that the annotations of methods can be read without torch
    Layers, Kept = Mapping[str, Any], dict[str, Any]

__all__ = [
    "Kept",
    "Layers",
    "check_sparsity",
    "draws",
    "floors",
    "k_largest",
    "kept_of",
    "largest_everywhere",
    "largest_in_each",
    "shares",
    "sparsity_of",
]


def check_sparsity(sparsity: float | str) -> float:
    """The sparsity: the share of the weights that is pruned, in (0, 1).

    Args:
        sparsity: a number, or text such as "0.9" or "90%".

    Raises:
        OptionError: it is not.

    >>> check_sparsity(0.9), check_sparsity("90%")
    (0.9, 0.9)
    """
    number = sparsity_of(sparsity)
    if not 0 < number < 1:
        raise OptionError(
            f"sparsity={in_a_line(sparsity)}: give the share of the weights to prune, between 0 and 1 (0.9 or 90% "
            "leaves a tenth)."
        )
    return number


def sparsity_of(given: Any) -> float:
    """The number that a user writes as a sparsity, of any size; NaN if it is not a number. A percentage is read as a
    decimal number."""
    percent = isinstance(given, str) and given.endswith("%")
    try:
        return float(Decimal(given[:-1]) / 100) if percent else math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, ArithmeticError):
        return math.nan


def kept_of(layers: Layers, sparsity: float) -> int:
    """How many of all weights are kept: (1 - sparsity) N, rounded half up.

    Raises:
        OptionError: sparsity is not in (0, 1), or none is kept.
    """
    n = sum(weight.numel() for weight in layers.values())
    kept = math.floor(n * (1 - check_sparsity(sparsity)) + 0.5 + 1e-9 * n)
    if kept < 1:
        raise OptionError(f"sparsity={sparsity} leaves none of the {n} weights: give a smaller one.")
    return min(kept, n)


def floors(layers: Layers, least: float) -> dict[str, int]:
    """How many weights each layer keeps at least: `least` of them, or all if it has fewer.

    Args:
        layers: of the network.
        least: a whole number of at least 1 is a count, a share below 1 is one of all weights together.

    Raises:
        OptionError: a negative number, or a fraction above 1.
    """
    n = sum(weight.numel() for weight in layers.values())
    if least < 0 or (least > 1 and least != int(least)) or not math.isfinite(least):
        raise OptionError(f"min_per_layer={least}: give a count of weights, or a share of all weights below 1.")
    count = math.ceil(least * n - 1e-9) if least < 1 else int(least)
    return {name: min(count, weight.numel()) for name, weight in layers.items()}


def largest_everywhere(scores: Layers, kept: int, least: Mapping[str, int]) -> dict[str, Tensor]:
    """The weights with the largest scores of the whole network, where each layer keeps a minimum of its largest.

    No other choice of `kept` weights that respects the floors has a larger sum of scores.

    Args:
        scores: a score for each weight, finite.
        kept: how many to keep.
        least: name -> how many its layer keeps at least.

    Returns:
        name -> bool, of the shape of the scores.

    Raises:
        OptionError: the floors need more than `kept`.
    """
    import torch

    if sum(least.values()) > kept:
        layer = max(least, key=lambda name: least[name])
        raise OptionError(
            f"{kept} weights cannot be shared out so that each of {len(scores)} layers keeps its minimum "
            f"({least[layer]} for {layer}): give a smaller sparsity, or a smaller min_per_layer."
        )
    flat = [*_flat(scores).values()]
    # What a floor protects comes before everything else.
    flat = [
        value.masked_fill(k_largest(value, least[name]), torch.inf) if least[name] else value
        for name, value in zip(scores, flat, strict=True)
    ]
    chosen = torch.split(k_largest(torch.cat(flat), kept), [len(value) for value in flat])
    return {name: one.view(scores[name].shape) for name, one in zip(scores, chosen, strict=True)}


def largest_in_each(scores: Layers, kept: Mapping[str, int]) -> dict[str, Tensor]:
    """The weights with the largest scores of each layer.

    Args:
        scores: a score for each weight, finite.
        kept: name -> how many its layer keeps.

    Returns:
        name -> bool, of the shape of the scores.
    """
    flat = _flat(scores)
    return {name: k_largest(flat[name], kept[name]).view(value.shape) for name, value in scores.items()}


def _flat(scores: Layers) -> dict[str, Tensor]:
    """The scores of each layer in a row, in float32 or float64.

    Raises:
        DataError: one is NaN or infinite.
    """
    import torch

    flat = {name: value.detach().reshape(-1) for name, value in scores.items()}
    flat = {name: value if value.dtype == torch.float64 else value.float() for name, value in flat.items()}
    finite = torch.stack([value.isfinite().all() for value in flat.values()])
    if not finite.all():
        name = [*flat][int(finite.long().argmin())]
        raise DataError(f"{name} has weights or scores that are NaN or infinite: prune a network that works.")
    return flat


def k_largest(values: Tensor, k: int) -> Tensor:
    """(n,) bool: the k largest of n values; of equal ones, those that come first. Nothing waits for the device."""
    import torch

    if k <= 0 or k >= len(values):
        return torch.full_like(values, k > 0, dtype=torch.bool)
    smallest = values.topk(k, sorted=False).values.amin()
    above, equal = values > smallest, values == smallest
    return above | (equal & (equal.cumsum(0) <= k - above.sum()))


def shares(
    layers: Layers, kept: int, by: Literal["erk", "er", "uniform"], least: Mapping[str, int] | None = None
) -> dict[str, int]:
    """How many weights each layer keeps, without looking at them.

    "uniform": the same density everywhere. "er" (Mocanu et al. 2018): density in proportion to (in + out) / (in out).
    "erk" (Evci et al. 2020): with the sizes of the kernel in sum and product too. A layer whose density would pass 1
    stays dense, and the others share the rest.

    Args:
        layers: of the network; the first two sizes of a weight are out and in.
        kept: of all weights.
        by: how.
        least: name -> how many its layer keeps at least; None = 1.

    Returns:
        name -> count; they sum to `kept`.

    >>> import torch
    >>> shares({"a": torch.empty(10, 10), "b": torch.empty(2, 10)}, 60, "er")
    {'a': 40, 'b': 20}
    """
    sizes = np.array([weight.numel() for weight in layers.values()], dtype=np.int64)
    dims = [tuple(weight.shape) if by == "erk" else tuple(weight.shape[:2]) for weight in layers.values()]
    density = np.array([1.0 if by == "uniform" else sum(d) / math.prod(d) for d in dims])
    target = in_proportion(density * sizes, kept, sizes)
    low = np.array([1 if least is None else least[name] for name in layers])
    if low.sum() > kept:
        raise OptionError(f"{kept} weights are not one for each of {len(sizes)} layers: give a smaller sparsity.")
    return dict(zip(layers, allocate(target, kept, lower=np.minimum(low, sizes), upper=sizes).tolist(), strict=True))


def draws(weights: Layers, seed: int) -> dict[str, Tensor]:
    """A random number for each weight, which depends on its layer and its position, in [0, 1)."""
    import torch

    found = {}
    for name, weight in weights.items():
        bits = mix64(seed, f"sparsity {name}", np.arange(weight.numel()))
        numbers = torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)
        found[name] = numbers.view(weight.shape).to(weight.device)
    return found
