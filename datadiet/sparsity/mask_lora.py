"""MaskLoRA: low-rank updates of the frozen weights of a pruned network, which leave its zeros alone.

Zimmer et al.: PERP: Rethinking the Prune-Retrain Paradigm in the Era of LLMs, 2023 (arXiv 2312.15230). With the mask M
of the nonzero weights of W0, of size (out, in),

    W = W0 + (alpha / r) (B A) * M,    B (out, r) = 0 at first,    A (r, in) from a Kaiming uniform distribution

Only A and B train, and W, as sparse as W0, replaces it in the network: nothing is added to it. The weight of a
convolution is read as a matrix (out, in times kernel).

The network runs with W itself, so that none of its layers is replaced. As soon as the backward pass has the gradient G
of W, those of A and B follow from it, and it is freed: with s = alpha / r, dB = s (G * M) A' and dA = s B' (G * M).

Deviations: none in the formula. A layer with a side smaller than r gets adapters of that rank, which can be any update,
and the same s.

Cost: a second copy of the weights. One gradient of a weight exists at a time, and the optimizer remembers only A and B.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from datadiet.errors import OptionError
from datadiet.parameters import check_whole
from datadiet.sparsity.allocation import Layers, draws

__all__ = ["MaskLoRA", "without_adapters"]

_RANK = 16


class MaskLoRA:
    """Low-rank updates of weights, of which only the two factors train.

    Args:
        weights: name -> parameter of two or more dimensions; what is 0 in it stays 0. Until `close`, it needs a
            gradient, which nobody else sees.
        rank: r, at least 1; the published value. A layer with a smaller side gets that as its rank.
        alpha: of the scale alpha / r; the published value.
        seed: of A.
        shared: gradients of a layer's factors in a row -> what to use instead, such as their mean over processes.

    Attributes:
        scale: s.

    Raises:
        OptionError: a rank below 1.

    References:
        Zimmer et al. 2023, MaskLoRA.

    >>> net = torch.nn.Linear(3, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = net.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
    >>> adapters = MaskLoRA({"weight": net.weight}, rank=1)
    >>> optimizer = torch.optim.SGD(adapters.parameters(), lr=0.1)
    >>> net(torch.ones(1, 3)).sum().backward()
    >>> optimizer.step()
    >>> adapters.merge_()
    >>> net.weight.grad, (net.weight != 0).int().tolist()
    (None, [[1, 0, 1], [0, 1, 0]])
    >>> adapters.close()
    """

    def __init__(
        self,
        weights: Layers,
        rank: int = _RANK,
        alpha: float = 32.0,
        seed: int = 0,
        shared: Callable[[Tensor], Tensor] = lambda gradients: gradients,
    ) -> None:
        self.scale, self._shared = alpha / check_whole("rank", rank), shared
        self._weights, self._needed = dict(weights), {name: w.requires_grad for name, w in weights.items()}
        self._base = {name: weight.detach().clone() for name, weight in weights.items()}
        self._factors = {name: _factors(name, _matrix(weight), rank, seed) for name, weight in self._base.items()}
        for weight in self._weights.values():
            weight.requires_grad_(True)
        self._handles = [
            weight.register_post_accumulate_grad_hook(partial(self._take, name))  # type: ignore[no-untyped-call]
            for name, weight in weights.items()
        ]

    def parameters(self) -> list[Tensor]:
        """B and A of each layer, for an optimizer without weight decay."""
        return [factor for factors in self._factors.values() for factor in factors]

    @torch.no_grad()
    def merge_(self) -> None:
        """Write W into the network: after each step of the optimizer, before anything else sees the weights."""
        for name, weight in self._weights.items():
            (b, a), base = self._factors[name], self._base[name]
            update = (b @ a).mul_(self.scale).view(base.shape)
            weight.copy_(base + update.masked_fill_(base == 0, 0))

    def close(self) -> None:
        """Leave the weights as they are, without adapters, and frozen if they were."""
        for handle in self._handles:
            handle.remove()
        for name, weight in self._weights.items():
            weight.requires_grad_(self._needed[name])

    @torch.no_grad()
    def _take(self, name: str, weight: Tensor) -> None:
        """From the gradient of a weight, add to those of its factors, and free it."""
        assert weight.grad is not None, "called when there is one"
        b, a = self._factors[name]
        kept = _matrix(weight.grad.masked_fill(self._base[name] == 0, 0)).mul(self.scale)
        weight.grad = None
        row = self._shared(torch.cat([(kept @ a.T).flatten(), (b.T @ kept).flatten()]))
        for factor, part in zip((b, a), torch.split(row, [b.numel(), a.numel()]), strict=True):
            gradient = part.view_as(factor)
            factor.grad = gradient if factor.grad is None else factor.grad + gradient

    def state_dict(self) -> dict[str, Any]:
        """W0 and the factors; the network holds W."""
        return {"base": self._base, "factors": {name: list(pair) for name, pair in self._factors.items()}}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        for name, base in self._base.items():
            base.copy_(state["base"][name])
            for factor, value in zip(self._factors[name], state["factors"][name], strict=True):
                factor.copy_(value)


def without_adapters(trainable: Iterable[str]) -> tuple[tuple[str, ...], int]:
    """What to train besides adapters, and their rank; 0 = there are none.

    Args:
        trainable: as in `train`; "adapters" or "adapters:RANK" stands for adapters.

    Raises:
        OptionError: a rank that is not a whole number of at least 1, or two.

    >>> without_adapters(["biases", "adapters:8"])
    (('biases',), 8)
    """
    words = tuple(trainable)
    named = [word for word in words if word.partition(":")[0] == "adapters"]
    found = [re.fullmatch(r"adapters(?::([1-9]\d*))?", word) for word in named]
    if len(named) > 1 or None in found:
        raise OptionError(f"trainable={', '.join(named)} (--trainable): write adapters, or adapters:8 for rank 8.")
    rank = [int(one[1] or _RANK) for one in found if one is not None]
    return tuple(word for word in words if word not in named), rank[0] if rank else 0


def _matrix(weight: Tensor) -> Tensor:
    """(out, in times kernel)."""
    return weight.reshape(len(weight), -1)


def _factors(name: str, base: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """B = 0, and A uniform up to 1 / sqrt(in), as torch begins linear layers."""
    rank, bound = min(rank, *base.shape), 1 / math.sqrt(base.shape[1])
    a = (2 * draws({name: base[:rank]}, seed)[name] - 1) * bound
    b = base.new_zeros(len(base), rank)
    return b.requires_grad_(), a.to(base).requires_grad_()
