"""Finding the last linear layer of a classifier, and reading what goes into it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError
from datadiet.models.mode import evaluating

__all__ = ["HeadTap"]


class HeadTap:
    """Keeps the input of a model's last linear layer at every forward pass.

    The head is the Linear whose output *is* the model's output, found by comparing them on one batch; a model without
    one has no closed-form last-layer gradient, and `head` stays None.

    Args:
        model: a classifier.
        inputs: a small batch to try it on; the model's mode and buffers are left as they were.
        head: the name of a Linear to take without comparing.

    Raises:
        OptionError: `head` names no Linear layer of the model.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, head: str | None = None) -> None:
        linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        if head is not None and head not in linears:
            raise OptionError(f"head={head!r} is no Linear layer of the model: it has {', '.join(linears) or 'none'}.")
        self.name = head if head is not None else _find(model, inputs, linears)
        self.head = linears[self.name] if self.name is not None else None
        self._features: Tensor | None = None
        self._handle = self.head.register_forward_pre_hook(self._keep) if self.head is not None else None

    @property
    def bias(self) -> bool:
        """Whether the head has a bias."""
        return self.head is not None and self.head.bias is not None

    def features(self) -> Tensor | None:
        """(B, d), the head's input in the latest forward pass; None without a head."""
        return self._features

    def close(self) -> None:
        """Remove the hook."""
        if self._handle is not None:
            self._handle.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features = inputs[0].detach()


@torch.no_grad()
def _find(model: nn.Module, inputs: Tensor, linears: dict[str, nn.Linear]) -> str | None:
    outputs: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        m.register_forward_hook(lambda _, given, out, name=name: outputs.__setitem__(name, (given[0], out)))
        for name, m in linears.items()
    ]
    try:
        with evaluating(model):
            logits = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name, (given, out) in reversed(outputs.items()):
        if given.ndim == 2 and isinstance(logits, Tensor) and out.shape == logits.shape and torch.equal(out, logits):
            return name
    return None
