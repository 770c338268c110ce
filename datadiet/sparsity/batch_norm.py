"""BatchNorm after pruning: its running statistics, measured anew on chosen examples.

Pruned weights change what the layers after them see, so means and variances from before no longer fit. One pass over a
few hundred examples corrects them, without a gradient (as in Li et al.: EagleEye, ECCV 2020, arXiv 2007.02491).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from datadiet.errors import OptionError
from datadiet.models.running import call_in_run, evaluating
from datadiet.sparsity.examples import as_batches
from datadiet.sparsity.gradients import running_norms

__all__ = ["reestimate_batch_norm"]


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable[Any]) -> int:
    """Replace the running statistics of all BatchNorm layers by those of some examples.

    A layer's mean becomes the exact mean over all values that it sees, and its variance the mean of the variances
    within batches (unbiased, as torch has them), both weighted by the number of values. So the differences between the
    means of batches are left out of the variance, as in training: use batches as large as those of training.
    Layers see what those before them normalise by the statistics of the same batch. Dropout is off, and nothing else
    changes. InstanceNorm that tracks statistics takes part; a layer that the examples do not reach keeps its own.

    Args:
        model: the network, changed in place.
        batches: of (inputs, targets), tensors or arrays, such as a DataLoader, or of `Batch`. Targets are not read.

    Returns:
        How many layers were measured; 0 for a network without such layers, which is not run.

    Raises:
        OptionError: there are no examples, or the network fails on them, such as on a batch with one value per channel.

    >>> net = nn.BatchNorm1d(1)
    >>> x = torch.tensor([[1.0], [3.0], [5.0]])
    >>> reestimate_batch_norm(net, [(x, torch.zeros(3))])
    1
    >>> net.running_mean.item(), net.running_var.item()
    (3.0, 4.0)
    """
    norms: list[Any] = running_norms(model)
    if not norms:
        return 0
    seen: dict[nn.Module, int] = {}

    def weigh(norm: Any, args: tuple[Any, ...]) -> None:
        """Before a layer moves its running statistics, set by how much: the share of this batch in all so far."""
        values = args[0].numel() // norm.num_features
        if norm not in seen:
            norm.reset_running_stats()  # else what is NaN would remain so
        seen[norm] = seen.get(norm, 0) + values
        norm.momentum = values / seen[norm]

    with evaluating(model), ExitStack() as after, ExitStack() as undo:
        for norm in norms:
            norm.train()
            after.callback(setattr, norm, "momentum", norm.momentum)
            after.callback(norm.register_forward_pre_hook(weigh).remove)
            undo.callback(norm.load_state_dict, copy.deepcopy(norm.state_dict()))
        for batch in as_batches(batches, model):
            call_in_run(model, batch)
        undo.pop_all()  # it went well
    if not seen:
        raise OptionError("BatchNorm cannot be measured without examples that reach it: give some in batches=.")
    return len(seen)
