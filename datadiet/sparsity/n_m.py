"""N:M sparsity: of every M weights in a row, keep the N largest.

Mishra et al.: Accelerating Sparse Deep Neural Networks, 2021 (arXiv 2104.08378); Zhou et al.: Learning N:M Fine-grained
Structured Sparse Neural Networks From Scratch, ICLR 2021 (arXiv 2102.04010). GPUs multiply 2:4 matrices faster. A
weight (out, in, …) is read as a matrix (out, in x kernel), and each row is cut into groups of M. N = (1 - sparsity) M.
A cubic pace goes down from M to N (the decaying structure of Kao et al. 2022, arXiv 2209.07617): the sparsities that it
passes through are rounded to a whole N, half up, at least 1. The one that a user gives must be that of a whole N.

Deviations: the last group of a row may have fewer than M weights, and keeps N of them too (its share for a GPU, which
needs a multiple of M, is a matter of `keep_dense`). No straight-through gradient: pruned weights stay zero until the
mask is chosen anew.

Cost: a selection within every group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datadiet.errors import DataError, OptionError
from datadiet.parameters import check_whole, checked
from datadiet.sparsity.allocation import Kept, Layers, check_sparsity
from datadiet.sparsity.spec import PruningSpec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SPEC", "check_pattern", "n_m"]

_LARGEST = 32  # groups that are suggested
_NEAR = 0.0005  # 0.333 is meant to be a third


@checked
def n_m(weights: Layers, sparsity: float, *, m: int = 4) -> Kept:
    """The N largest of every M weights of a row.

    Args:
        weights: name -> tensor.
        sparsity: in (0, 1): N = (1 - sparsity) m, rounded half up, at least 1; 0.5 with m = 4 is 2:4.
        m: the size of a group.

    Returns:
        name -> bool, True = kept.

    Raises:
        OptionError: a number out of range.
        DataError: NaN or infinity.

    References:
        Mishra et al. 2021; Zhou et al. 2021.

    >>> import torch
    >>> n_m({"a": torch.tensor([[1.0, -4.0, 2.0, 3.0, 5.0, 0.0]])}, 0.5)["a"].int().tolist()
    [[0, 1, 0, 1, 1, 1]]
    """
    if check_whole("m", m) < 2:
        raise OptionError(f"m={m}: give groups of at least 2 weights.")
    n = max(1, math.floor((1 - check_sparsity(sparsity)) * m + 0.5 + 1e-9))
    return {name: _of_layer(name, weight.detach(), n, m) for name, weight in weights.items()}


def check_pattern(given: Mapping[str, Any]) -> None:
    """Refuse a sparsity that leaves no whole number of every m weights; m = 0 stands for whole rows.

    Args:
        given: parameters of a method, with `sparsity` and `m`.

    Raises:
        OptionError: the sparsities on both sides, and a group that fits.
    """
    sparsity, m = given["sparsity"], given["m"]
    if m < 2 or _fits(sparsity, m):
        return
    below = math.floor(sparsity * m)
    near = " or ".join(f"{pruned / m:.4g}" for pruned in (below, below + 1) if 0 < pruned < m)
    larger = [size for size in range(m + 1, _LARGEST + 1) if _fits(sparsity, size)]
    such = f", such as m={larger[0]}" if larger else ""
    raise OptionError(
        f"sparsity={sparsity:g} leaves no whole number of every m={m} weights: give {near}, or a larger m{such}."
    )


def _fits(sparsity: float, m: int) -> bool:
    """Whether some number of m weights, but not none and not all, is this share of them."""
    pruned = min(max(round(sparsity * m), 1), m - 1)
    return abs(pruned / m - sparsity) < _NEAR


def _of_layer(name: str, weight: Tensor, n: int, m: int) -> Tensor:
    from torch.nn import functional

    rows = weight.reshape(len(weight), -1).abs().float()
    if not rows.isfinite().all():
        raise DataError(f"{name} has weights that are NaN or infinite: prune a network that works.")
    length = rows.shape[1]
    groups = functional.pad(rows, (0, -length % m), value=-1.0).view(len(rows), -1, m)
    order = groups.argsort(dim=2, descending=True, stable=True)  # of equal ones the first
    kept = groups.new_zeros(groups.shape, dtype=order.dtype).scatter(2, order[..., :n], 1).bool()
    return kept.view(len(rows), -1)[:, :length].reshape(weight.shape)


SPEC = PruningSpec(n_m, exact=False, reference="Mishra et al. 2021", check=check_pattern, example={"sparsity": 0.5})
