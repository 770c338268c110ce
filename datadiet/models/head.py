"""Finding the last linear layer of a network, and reading its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.models.running import call, evaluating

__all__ = ["HeadTap"]


class HeadTap:
    """Keeps the input of a model's last linear layer at every forward pass.

    The head is the Linear whose output *is* the logits, found by comparing them on one batch: on vectors, as in image
    classifiers and BERT, or on the tokens of a text, one of which gives the logits, as in Llama. A model without such a
    layer has no closed-form last-layer gradient, and `head` stays None.

    Args:
        model: a network.
        inputs: a small batch to try it on; the model's mode and buffers are left as they were.
        head: the name of a Linear to take without comparing.

    Raises:
        OptionError: `head` does not name a Linear layer of the model.
    """

    def __init__(
        self, model: nn.Module, inputs: Batch | Tensor | Mapping[str, Tensor], head: str | None = None
    ) -> None:
        linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        if head is not None and head not in linears:
            choices = f"choose one of {', '.join(linears)}" if linears else "it has none, so leave head out"
            raise OptionError(f"head={head!r} is not a Linear layer of the model: {choices}.")
        self.name = head if head is not None else _find(model, inputs, linears)
        self.head = linears[self.name] if self.name is not None else None
        self._given: Tensor | None = None
        self._returned: Tensor | None = None
        self._handle = self.head.register_forward_hook(self._keep) if self.head is not None else None

    def features(self, logits: Tensor | None = None) -> Tensor | None:
        """The head's input in the latest forward pass; None without a head.

        Args:
            logits: (B, C) of that pass, needed if the head sees every token of a text.

        Returns:
            (B, d); (B, T, d) if every token has its own logits.
        """
        given, returned = self._given, self._returned
        if given is None or returned is None or logits is None or given.ndim == logits.ndim:
            return given
        place = _tokens(returned, logits)
        return None if place is None else given[torch.arange(len(given), device=given.device), place]

    def close(self) -> None:
        """Remove the hook."""
        if self._handle is not None:
            self._handle.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._given, self._returned = inputs[0].detach(), output.detach()


@torch.no_grad()
def _find(model: nn.Module, inputs: Batch | Tensor | Mapping[str, Tensor], linears: dict[str, nn.Linear]) -> str | None:
    outputs: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        m.register_forward_hook(lambda _, given, out, name=name: outputs.__setitem__(name, (given[0], out)))
        for name, m in linears.items()
    ]
    try:
        with evaluating(model):
            logits = call(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name, (given, out) in reversed(outputs.items()):
        if not isinstance(out, Tensor):
            continue
        same = out.shape == logits.shape and torch.equal(out.to(logits.dtype), logits)
        if (same and given.ndim in (2, 3)) or (not same and _tokens(out, logits) is not None):
            return name
    return None


def _tokens(out: Tensor, logits: Tensor) -> Tensor | None:
    """The token of each text whose output is the logits, (B,) int64; None if there is none for some text."""
    if out.ndim != 3 or logits.ndim != 2 or (len(out), out.shape[2]) != tuple(logits.shape):
        return None
    equal = (out.to(logits.dtype) == logits[:, None]).all(2)
    return equal.int().argmax(1) if bool(equal.any(1).all()) else None
