"""PERP: retrain a few parameters of a pruned network, and leave all the others as they are.

Zimmer, Andoni, Spiegel, Pokutta: PERP: Rethinking the Prune-Retrain Paradigm in the Era of LLMs, 2023 (arXiv
2312.15230). Biases and the scales of normalisation are far less than 1 % of a large network; retraining them alone
recovers most of what pruning cost, and needs no gradients and no optimizer state of the weights. The masks cannot
change, as no pruned weight moves.

The low-rank adapters that the authors add for high sparsities are in `datadiet.sparsity.mask_lora`.

Cost: of the backward pass, the products for the gradients of frozen weights are saved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from datadiet.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from torch import nn

__all__ = ["freezing", "perp"]


@contextmanager
def perp(model: nn.Module, trainable: Iterable[str] = ("biases", "norms")) -> Iterator[list[str]]:
    """Freeze all parameters of a network but a few; afterwards those are frozen that were before.

    Make the optimizer, and wrap the network in DistributedDataParallel, inside.

    Args:
        model: the network.
        trainable: "biases", "norms" (all parameters with fewer than two dimensions of layers whose class has Norm in
            its name), and names of modules or parameters, such as the head.

    Yields:
        The names of the parameters that train. One that was frozen before stays frozen.

    Raises:
        OptionError: an unknown name, or nothing is left to train.

    References:
        Zimmer et al. 2023.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    >>> with perp(net) as names:
    ...     print(names, net[0].weight.requires_grad)
    ['0.bias', '1.weight', '1.bias', '2.bias'] False
    >>> net[0].weight.requires_grad
    True
    """
    chosen = _chosen(model, {trainable} if isinstance(trainable, str) else set(trainable))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad and name in chosen]
    if not trained:
        raise OptionError(
            f"{type(model).__name__} has no parameters of this kind that train: name layers in trainable= "
            "(--trainable)."
        )
    with freezing(model, trained):
        yield trained


@contextmanager
def freezing(model: nn.Module, but: Collection[str] = ()) -> Iterator[None]:
    """Freeze all parameters of a network but some; afterwards those are frozen that were before.

    Args:
        model: the network.
        but: names of parameters that stay as they are.
    """
    before = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    try:
        for name, parameter in before:
            parameter.requires_grad_(name in but)
        yield
    finally:
        for _, parameter in before:
            parameter.requires_grad_(True)


def _chosen(model: nn.Module, words: set[str]) -> set[str]:
    """The names of the parameters that these words stand for."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for word in words - {"biases", "norms"}:
        if not word or (word not in modules and word not in parameters):
            raise unknown_name("layer to train", word, ["biases", "norms", *modules, *parameters])
    vectors = {name: name.rpartition(".") for name, parameter in parameters.items() if parameter.ndim < 2}
    found = {name for name in parameters if any(name == word or name.startswith(f"{word}.") for word in words)}
    if "biases" in words:
        found |= {name for name, (_, _, last) in vectors.items() if last.endswith("bias")}
    if "norms" in words:
        found |= {name for name, (module, _, _) in vectors.items() if "norm" in type(modules[module]).__name__.lower()}
    return found
