"""Sparse soups: the average of networks that were retrained apart, from one pruned network.

Zimmer, Spiegel, Pokutta: Sparse Model Soups: A Recipe for Improved Pruning via Model Averaging, ICLR 2024 (arXiv
2306.16788). Copies of one pruned network that are retrained with another seed, order or learning rate end close
enough to each other that the mean of their weights is at least as good. They share a mask, so the mean is as sparse as
each of them. Networks that were pruned apart have other masks, and their mean would be denser.

Cost: memory for the network once more, and one pass over the batches.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from datadiet.errors import OptionError
from datadiet.sparsity.batch_norm import reestimate_batch_norm
from datadiet.sparsity.gradients import running_norms
from datadiet.sparsity.masks import Masks

__all__ = ["average_sparse"]


@torch.no_grad()
def average_sparse(
    models: Sequence[nn.Module], *, masks: Masks | None = None, batches: Iterable[Any] | None = None
) -> nn.Module:
    """The mean of networks that share a mask.

    Args:
        models: at least two, of one architecture, on one device; they are left as they were.
        masks: which weights they keep; None = all that are not 0. Give it if a kept weight may be 0 by chance.
        batches: of training examples, as in `reestimate_batch_norm`, as large as those of training: BatchNorm's running
            statistics are measured anew on them, since they are not the mean of those of the networks.

    Returns:
        A network like the first, with its buffers; a pruned weight is exactly 0.

    Raises:
        OptionError: fewer than two networks, other parameters or masks, or BatchNorm without batches.

    References:
        Zimmer et al. 2024.

    >>> first, second = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> for net, value in ((first, 1.0), (second, 2.0)):
    ...     net.weight.data = torch.tensor([[value, 0.0]])
    >>> average_sparse([first, second]).weight.tolist()
    [[1.5, 0.0]]
    """
    if len(models) < 2:
        raise OptionError(f"models= holds {len(models)}: give at least two networks to average.")
    _check(models, masks)
    soup = copy.deepcopy(models[0])
    norms = bool(running_norms(soup))
    if norms and batches is None:
        raise OptionError(
            "the networks have BatchNorm, whose running statistics must be measured anew for their mean: give batches= "
            "of training examples."
        )
    others = [dict(model.named_parameters()) for model in models]
    for name, parameter in soup.named_parameters():
        parameter.copy_(torch.stack([other[name] for other in others]).mean(0))
    if norms and batches is not None:
        reestimate_batch_norm(soup, batches)
    return soup


def _check(models: Sequence[nn.Module], masks: Masks | None) -> None:
    """Refuse networks of other architectures, or with other masks."""
    shapes = [{name: value.shape for name, value in model.named_parameters()} for model in models]
    shared = Masks.from_zeros(models[0]) if masks is None else masks
    for number, model in enumerate(models):
        if shapes[number] != shapes[0]:
            raise OptionError(f"network {number} has other parameters than network 0: average copies of one network.")
        shared.check(model)
        found = Masks.from_zeros(model, shared)
        for name, mask in shared.items():
            other = (found[name] & ~mask) if masks is not None else (found[name] ^ mask)
            if other.any():
                first = "network 0" if masks is None else "masks="
                raise OptionError(
                    f"network {number} has another mask than {first} in {name} ({int(other.sum())} of {mask.numel()} "
                    "weights): average copies of one pruned network."
                )
