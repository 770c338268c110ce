"""The best of several sets of examples to prune with: the one whose network answers most like the dense one.

NIRVANA's rule (arXiv 2509.14230): prune with each candidate c, and take the one with the least mean
KL(P_model || P_pruned) over examples held out for it. It works with any pruner that reads data.

Deviations: the authors clamp probabilities at 1e-12; here the logarithms are taken of the logits, and nothing is
clamped.

Cost: for each candidate a copy of the network, the pruning, and two forward passes over the held-out examples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from datadiet.errors import DataError, OptionError
from datadiet.float32_precision import float32_products
from datadiet.models.running import call_in_run, evaluating
from datadiet.sparsity.examples import as_batches

__all__ = ["best_of"]

Candidate = TypeVar("Candidate")


def best_of(
    model: nn.Module,
    candidates: Sequence[Candidate],
    prune: Callable[[nn.Module, Candidate], Any],
    probe: Iterable[Any],
) -> tuple[int, list[float]]:
    """Which of several sets of examples to prune with.

    Args:
        model: the dense network, which is left as it was.
        candidates: sets of examples, or whatever `prune` takes for one, such as a DataLoader.
        prune: (a copy of the network, a candidate) -> changes it in place, such as
            `lambda net, batches: sparsify(net, "wanda", 0.5, batches=batches)`.
        probe: batches of examples that no candidate holds: (inputs, targets), tensors or arrays, or `Batch`. Targets
            are not read. The batches are read once per candidate, so a generator will not do.

    Returns:
        The position of the best candidate, the first one if several are, and the divergence of each: the mean of
        KL(P_model || P_pruned) over all predictions, in nats.

    Raises:
        OptionError: there are no candidates, or no examples in the probe, or a network fails on them.
        DataError: a pruned network gives NaN or infinity.

    References:
        NIRVANA, arXiv 2509.14230.
    """
    if not len(candidates):
        raise OptionError("candidates= is empty: give at least one set of examples to prune with.")
    divergences = []
    for number, candidate in enumerate(candidates):
        pruned = copy.deepcopy(model)
        prune(pruned, candidate)
        divergences.append(_divergence(model, pruned, probe))
        del pruned  # before the next copy is made
        if not divergences[-1] < float("inf"):
            raise DataError(
                f"pruned with candidate {number}, the network gives NaN or infinity: look at these examples, and at "
                "the weights."
            )
    return min(range(len(divergences)), key=divergences.__getitem__), divergences


@torch.no_grad()
def _divergence(model: nn.Module, pruned: nn.Module, probe: Iterable[Any]) -> float:
    """The mean of KL(P_model || P_pruned) over all predictions; the last dimension of the logits holds the classes."""
    total: Tensor | None = None
    predictions = 0
    with evaluating(model), evaluating(pruned), float32_products():
        for batch in as_batches(probe, model):
            log_p, log_q = (call_in_run(net, batch).float().log_softmax(-1) for net in (model, pruned))
            each = (log_p.exp() * (log_p - log_q)).sum(-1)
            predictions += each.numel()
            total = each.double().sum() if total is None else total + each.double().sum()
    if total is None or not predictions:
        raise OptionError("the probe holds no examples: give some, in a list (a generator is read once).")
    return float(total) / predictions
