"""A layer of unknown kind, rerun for every example: exact, but slower, and it holds every gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.func import grad, vmap

from datadiet.signals.gradients.batch import instead
from datadiet.signals.gradients.rules import Terms
from datadiet.signals.gradients.terms import Explicit

__all__ = ["Vmapped"]

_AT_ONCE = 1 << 24  # numbers


@dataclass(frozen=True)
class Vmapped:
    """A rule for any module that maps one tensor to one tensor: the gradient of <output, output_grad> by `torch.func`.

    Attributes:
        names: of its parameters, including the modules inside it.
    """

    names: tuple[str, ...]

    def __call__(self, layer: nn.Module, x: Tensor, output_grad: Tensor) -> Terms:
        """The gradients of all examples, a few at a time.

        Raises:
            RuntimeError: the layer cannot be run under vmap.
        """
        own = {name: layer.get_parameter(name).detach() for name in self.names}

        def weighted(parameters: dict[str, Tensor], one: Tensor, back: Tensor) -> Tensor:
            with instead(layer, parameters):
                out: Tensor = layer(one[None])
            return (out * back[None]).sum()

        at_once = max(1, _AT_ONCE // sum(p.numel() for p in own.values()))
        found = vmap(grad(weighted), in_dims=(None, 0, 0), chunk_size=at_once)(own, x, output_grad)
        return {name: partial(Explicit, value) for name, value in found.items()}
