"""Prune a network at once, in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.parameters import check_whole
from datadiet.registry import find_spec
from datadiet.sparsity import CHANNELS, PRUNING
from datadiet.sparsity.allocation import sparsity_of
from datadiet.sparsity.examples import as_batches, class_losses
from datadiet.sparsity.masks import Masks
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.spec import Context, PruningSpec

__all__ = ["read_method", "sparsify"]


def sparsify(
    model: nn.Module,
    method: str | Callable[..., dict[str, Tensor]] = "global_magnitude",
    sparsity: float | str = 0.9,
    *,
    batches: Iterable[Any] | None = None,
    keep_dense: Iterable[str] = (),
    embeddings: bool = False,
    seed: int = 0,
    **parameters: Any,
) -> Masks:
    """Set the weights of a network that a method finds superfluous to zero.

    `datadiet.sparsity.prunable` says which parameters count as weights: those of linear layers, convolutions and the
    like, not biases, norms and embeddings. This does not make the network faster or smaller: its zeros are multiplied
    as before.

    Args:
        model: any network; its weights change in place.
        method: the name of one, see `datadiet ls pruning`, or a function (weights, sparsity, …) -> bool tensors.
        sparsity: the share of all these weights to prune, in (0, 1), or text such as "90%".
        batches: of (inputs, targets), tensors or arrays, such as a DataLoader, for methods that read examples.
        keep_dense: names of modules or parameters to leave alone.
        embeddings: whether embeddings count too.
        seed: of random choices.
        parameters: of the method.

    Returns:
        The masks, for `masks.apply_(model)` after the steps of an optimizer.

    Raises:
        OptionError: an unknown method or parameter, a number out of range, or batches that the method cannot read.
        DataError: weights that are NaN or infinite.

    >>> import torch
    >>> net = nn.Linear(10, 10)
    >>> sparsify(net, sparsity=0.9).counts(), int(net.weight.count_nonzero())
    ((10, 100), 10)
    """
    if not isinstance(model, nn.Module):
        raise OptionError(f"the model is of type {type(model).__name__}: give a torch.nn.Module.")
    spec, given = read_method(method, {"sparsity": sparsity, **parameters})
    weights = prunable(model, keep_dense=keep_dense, embeddings=embeddings)
    examples = None if batches is None else partial(_batches, batches, model)
    context = Context(model, class_losses, examples, check_whole("seed", seed, 0))
    masks = Masks(spec.keep(weights, given, context))
    masks.apply_(model)
    return masks


def read_method(
    method: str | Callable[..., dict[str, Tensor]], parameters: dict[str, Any]
) -> tuple[PruningSpec, dict[str, Any]]:
    """The record of a method, and its parameters, checked.

    Raises:
        OptionError: an unknown name, a parameter that it does not have, or a sparsity that it cannot reach.
    """
    name, _, rest = method.partition(":") if isinstance(method, str) else ("", "", "")
    if rest and name in PRUNING:
        written = sparsity_of(rest.split(",")[0])
        raise OptionError(
            f"{method!r} is what sparsify= of train takes: here, parameters are arguments, such as sparsify(model, "
            f"{name!r}, sparsity={written if 0 < written < 1 else 0.9:g})."
        )
    if isinstance(method, str) and method in CHANNELS:
        raise OptionError(f"{method} makes a smaller network, which has no masks: use datadiet.sparsity.shrink.")
    spec = find_spec(method, PRUNING, "pruning method", PruningSpec)
    return spec, spec.checked(parameters)


def _batches(given: Iterable[Any], model: nn.Module, n: int) -> Iterator[Batch]:
    """The first n examples; 0 = all."""
    seen = 0
    for batch in as_batches(given, model, n):
        seen += len(batch)
        yield batch
    if not seen:
        raise OptionError("batches= holds no example: give some, in a list or a DataLoader (a generator is read once).")
