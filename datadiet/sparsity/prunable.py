"""Which weights of a network may be pruned.

A weight multiplies what a layer reads, so a zero in it takes a connection away. Parameters do not say what they are
for, hence these rules, in this order:

- At least two dimensions, and of floating-point numbers.
- Norms, and parameters with a word in their name that begins with "bias" or "scale", such as a relative position bias,
  are never weights.
- Embeddings are left out unless asked for: those of `nn.Embedding`, and parameters with a word in their name that
  begins with "emb", "pos", "rel", "table" or "token", such as `pos_embed` and `cls_token`.
- All others count if they are called a weight, or else if they are a matrix: at least two sizes above 1, and not the
  first one 1, which is where examples are added up.
- Under weight_norm, the direction counts (`weight_v`, or `original1` of a parametrization), and the length does not;
  under spectral_norm, what it divides counts (`weight_orig`, or `original`). A zero in these is a zero in the weight.
  Other parametrizations do not promise that, so their parameters are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from datadiet.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    Kind = Literal["weight", "embedding", "other"]

__all__ = ["prunable"]

_ADDED = ("bias", "scale")
_EMBEDDED = ("emb", "pos", "rel", "table", "token")
_PARAMETRIZED = ".parametrizations."


def prunable(model: nn.Module, *, keep_dense: Iterable[str] = (), embeddings: bool = False) -> dict[str, Tensor]:
    """The weights of linear layers, convolutions and the like; see above. Not biases, norms and embeddings.

    A parameter that two modules share counts once, under its first name. The first layer and the head are among them.

    Args:
        model: any network.
        keep_dense: names of modules or parameters to leave out, with all that is below them.
        embeddings: whether embeddings count too; rows of rare tokens are small without being useless.

    Returns:
        name -> parameter, in the order of the network.

    Raises:
        OptionError: an unknown name, layers whose sizes are not known yet, or nothing is left.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> [*prunable(net)], [*prunable(net, keep_dense=["2"])]
    (['0.weight', '2.weight'], ['0.weight'])
    """
    from datadiet.models.running import refuse_lazy

    refuse_lazy(model)
    left_out = {keep_dense} if isinstance(keep_dense, str) else set(keep_dense)
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for name in left_out:
        if not name or (name not in modules and name not in parameters):
            raise unknown_name("layer to keep dense", name, [one for one in (*modules, *parameters) if one])
    count = {"weight", "embedding"} if embeddings else {"weight"}
    embedded = _embedded(modules)
    found: dict[str, Tensor] = {
        name: weight
        for name, weight in parameters.items()
        if weight.ndim >= 2
        and weight.is_floating_point()
        and ("embedding" if id(weight) in embedded else _kind(modules, name, weight)) in count
        and not any(name == one or name.startswith(f"{one}.") for one in left_out)
    }
    if not found:
        raise OptionError(
            f"{type(model).__name__} has no weights to prune: give a network with linear layers or convolutions that "
            "are not all left out by keep_dense= (--keep-dense)."
        )
    return found


def _embedded(modules: Mapping[str, nn.Module]) -> set[int]:
    """The ids of the tables of embeddings, which a head may share."""
    from torch import nn

    embeddings = [m for m in modules.values() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
    return {id(parameter) for m in embeddings for parameter in m._parameters.values() if parameter is not None}


def _kind(modules: Mapping[str, nn.Module], name: str, weight: Tensor) -> Kind:
    """What a parameter of two or more dimensions is."""
    from torch import nn

    path, _, key = name.rpartition(".")
    module = modules[path]
    if isinstance(module, nn.utils.parametrize.ParametrizationList):
        owner, _, of = f".{path}".rpartition(_PARAMETRIZED)
        return _kind(modules, f"{owner[1:]}.{of}".removeprefix("."), weight) if _keeps_zeros(module, key) else "other"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "embedding"
    length = key.endswith("_g") and hasattr(module, f"{key[:-1]}v")  # of weight_norm in its old form
    words = key.lower().split("_")
    if length or isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or _begins(words, _ADDED):
        return "other"
    if _begins(words, _EMBEDDED):
        return "embedding"
    matrix = len(weight) > 1 and sum(size > 1 for size in weight.shape) > 1
    return "weight" if matrix or "weight" in key.lower() else "other"


def _begins(words: Iterable[str], beginnings: tuple[str, ...]) -> bool:
    return any(word.startswith(beginnings) for word in words)


def _keeps_zeros(parametrization: nn.Module, key: str) -> bool:
    """Whether a zero in a parameter of a parametrized weight is one in the weight."""
    from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm

    steps = [*parametrization.children()]
    direction = any(isinstance(step, _WeightNorm) for step in steps)
    known = all(isinstance(step, (_SpectralNorm, _WeightNorm)) for step in steps)
    return known and key == ("original1" if direction else "original")
