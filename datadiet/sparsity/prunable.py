"""Which weights of a network may be pruned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from datadiet.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["prunable"]


def prunable(model: nn.Module, *, keep_dense: Iterable[str] = (), embeddings: bool = False) -> dict[str, Tensor]:
    """The parameters with two or more dimensions: weights of linear layers and convolutions, not biases and norms.

    A parameter that two modules share counts once, under its first name. The first layer and the head are among them.

    Args:
        model: any network.
        keep_dense: names of modules or parameters to leave out, with all that is below them.
        embeddings: whether those of token embeddings count too; rows of rare tokens are small without being useless.

    Returns:
        name -> parameter, in the order of the network.

    Raises:
        OptionError: an unknown name, layers whose sizes are not known yet, or nothing is left.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> [*prunable(net)], [*prunable(net, keep_dense=["2"])]
    (['0.weight', '2.weight'], ['0.weight'])
    """
    from torch import nn

    from datadiet.models.running import refuse_lazy

    refuse_lazy(model)
    left_out = {keep_dense} if isinstance(keep_dense, str) else set(keep_dense)
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for name in left_out:
        if not name or (name not in modules and name not in parameters):
            raise unknown_name("layer to keep dense", name, [one for one in (*modules, *parameters) if one])
    embedded = {id(m.weight) for m in modules.values() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    found: dict[str, Tensor] = {
        name: weight
        for name, weight in parameters.items()
        if weight.ndim >= 2
        and weight.is_floating_point()
        and (embeddings or id(weight) not in embedded)
        and not any(name == one or name.startswith(f"{one}.") for one in left_out)
    }
    if not found:
        raise OptionError(
            f"{type(model).__name__} has no weights to prune: give a network with linear layers or convolutions that "
            "are not all left out by keep_dense= (--keep-dense)."
        )
    return found
