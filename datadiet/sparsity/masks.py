"""Masks: which weights of a network are kept, beside the network, which stays an ordinary one.

A pruned weight is a zero in an ordinary parameter. So state dicts, copies, averages and DistributedDataParallel work
as before, but an optimizer moves it again: `apply_` after each step puts it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from datadiet.errors import OptionError
from datadiet.sparsity.prunable import prunable

__all__ = ["Masks"]


class Masks(Mapping[str, Tensor]):
    """For each prunable parameter, by its name, which weights are kept: a mapping to bool tensors.

    >>> net = nn.Linear(2, 2)
    >>> masks = Masks({"weight": torch.tensor([[True, False], [False, False]])})
    >>> masks.apply_(net)
    >>> masks.density(), int(net.weight.count_nonzero())
    (0.25, 1)

    Args:
        kept: name of a parameter -> bool tensor of its shape.

    Raises:
        OptionError: something else than bool.
    """

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        for name, mask in kept.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
                raise OptionError(f"the mask of {name} is of type {kind}: give a bool tensor, True = kept.")
        self._kept = dict(kept)

    def __getitem__(self, name: str) -> Tensor:
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        return f"Masks({len(self)} layers, density {self.density():.4g})"

    @classmethod
    def from_zeros(cls, model: nn.Module, names: Mapping[str, Any] | None = None) -> Masks:
        """The masks of an ordinary network whose zeros are its pruned weights.

        Args:
            model: the network.
            names: which parameters; None = all that are prunable.
        """
        weights = prunable(model) if names is None else _weights(model, names)
        return cls({name: weight.detach() != 0 for name, weight in weights.items()})

    @classmethod
    def from_torch(cls, model: nn.Module) -> Masks:
        """Take over a network pruned with `torch.nn.utils.prune`, whose parameters become ordinary ones again.

        Raises:
            OptionError: it is not.
        """
        found = {}
        for module_name, module in model.named_modules():
            pruned = [key[: -len("_mask")] for key, _ in module.named_buffers(recurse=False) if key.endswith("_mask")]
            for key in pruned:
                if hasattr(module, f"{key}_orig"):
                    name = f"{module_name}.{key}" if module_name else key
                    found[name] = getattr(module, f"{key}_mask").bool().clone()
                    prune.remove(module, key)  # type: ignore[no-untyped-call]
        if not found:
            raise OptionError(
                f"this {type(model).__name__} is not pruned with torch.nn.utils.prune: if its zeros are its pruned "
                "weights, use Masks.from_zeros(model)."
            )
        return cls(found)

    def to_torch(self, model: nn.Module) -> None:
        """Prune a network with `torch.nn.utils.prune`, as other libraries expect; it has `weight_orig` and
        `weight_mask` then.

        Raises:
            OptionError: the masks belong to another network.
        """
        self.check(model)
        for name, mask in self.items():
            module_name, _, key = name.rpartition(".")
            prune.custom_from_mask(model.get_submodule(module_name), key, mask)  # type: ignore[no-untyped-call]

    def density(self) -> float:
        """The share of these weights that is kept."""
        kept, n = self.counts()
        return kept / n if n else 1.0

    def counts(self) -> tuple[int, int]:
        """How many weights are kept, and how many there are."""
        kept = torch.stack([mask.sum() for mask in self.values()]).sum() if self else 0
        return int(kept), sum(mask.numel() for mask in self.values())

    def layers(self) -> dict[str, tuple[int, int]]:
        """name -> how many of its weights are kept, and how many there are."""
        return {name: (int(mask.sum()), mask.numel()) for name, mask in self.items()}

    def check(self, model: nn.Module) -> None:
        """Refuse another network.

        Raises:
            OptionError: it lacks a parameter, or has one of another shape.
        """
        for name, weight in _weights(model, self).items():
            if weight.shape != self[name].shape:
                raise OptionError(
                    f"the mask of {name} has shape {tuple(self[name].shape)}, and the parameter {tuple(weight.shape)}: "
                    "these are the masks of another network."
                )

    def apply_(self, model: nn.Module) -> None:
        """Set the pruned weights of a network to zero.

        Raises:
            OptionError: the masks belong to another network.
        """
        self.bound(model)()

    def bound(self, model: nn.Module) -> Callable[[], None]:
        """A function that does this, as fast as possible, after every step.

        Raises:
            OptionError: the masks belong to another network.
        """
        self.check(model)
        weights = [weight.detach() for weight in _weights(model, self).values()]
        factors = [mask.to(weight) for mask, weight in zip(self.values(), weights, strict=True)]

        @torch.no_grad()
        def apply() -> None:
            torch._foreach_mul_(weights, factors)

        return apply

    @torch.no_grad()
    def zero_(self, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        """Set to zero what an optimizer remembers of pruned weights, such as momentum."""
        weights = _weights(model, self)
        for name, weight in weights.items():
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(self[name].to(value))

    def to(self, device: torch.device | str) -> Masks:
        """The same on a device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    def state_dict(self) -> dict[str, Tensor]:
        """name -> bool tensor, for safetensors or `torch.save`; `Masks(state)` reads it."""
        return dict(self._kept)


def _weights(model: nn.Module, names: Mapping[str, Any]) -> dict[str, Tensor]:
    """Parameters of a network, by name."""
    parameters = dict(model.named_parameters())
    missing = [name for name in names if name not in parameters]
    if missing:
        raise OptionError(f"the network has no parameter {missing[0]!r}: these are the masks of another network.")
    return {name: parameters[name] for name in names}
