"""Encoders: whatever gives one vector per example.

A classifier gives its penultimate features (`features`), `hf:`, `sentence-transformers:` and `model2vec:` bring their
own weights (`pretrained_text`, `transformer`), and a function of a batch is used as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from datadiet.attributes import load_attribute
from datadiet.errors import OptionError
from datadiet.files import digest

__all__ = ["POOLS", "Encoder", "code_of", "function_encoder", "function_of", "pooled"]

POOLS = ("mean", "cls")


@dataclass(frozen=True, eq=False)
class Encoder:
    """A function from a batch to one vector per example, with what determines its result.

    Attributes:
        spec: how the user named it.
        reads: what a batch is: "texts" (a list of str), "images" (a list of uint8 arrays (C, H, W), each in its own
            size), "inputs" (a normalised tensor (B, …)), or "stored" (texts, or a tensor (B, …) as the data holds it).
        encode: batch -> (B, d), a tensor or an array.
        about: what determines the vectors besides the weights, as JSON values.
        weights: the module whose parameters and buffers determine the vectors; None if `about` says it all.
        batch: how many examples at once, unless the user chooses.
        notes: what to report after the work, such as how many texts were cut.
        close: restores the network to its former state.
    """

    spec: str
    reads: Literal["texts", "images", "inputs", "stored"]
    encode: Callable[[Any], Any]
    about: Mapping[str, Any] = field(default_factory=dict)
    weights: nn.Module | None = None
    batch: int = 512
    notes: Callable[[], list[str]] = list
    close: Callable[[], None] = lambda: None


def function_of(model: Any) -> Callable[[Any], Any] | None:
    """The function of a batch that a model is, or that py:module:attr names; None if it is something else.

    A function without arguments makes a network; a function with arguments takes a batch.
    """
    if isinstance(model, str):
        scheme, _, rest = model.partition(":")
        model = load_attribute(rest) if scheme == "py" and rest else None
    if not callable(model) or isinstance(model, nn.Module):
        return None
    try:
        given = inspect.signature(model).parameters.values()
    except (ValueError, TypeError):  # written in C
        return model
    needed = [p for p in given if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return model if needed else None


def function_encoder(model: Any, function: Callable[[Any], Any]) -> Encoder:
    """A user's function of a batch as an encoder; it gets the batch as the data stores it."""
    name = model if isinstance(model, str) else f"py:{function.__module__}:{getattr(function, '__qualname__', '')}"
    return Encoder(name, "stored", function, {"code": code_of(function)})


def code_of(function: Callable[..., Any]) -> str:
    """A hash of the source of a function, or of the class of a callable object; empty if there is no source."""
    for known in (function, type(function)):
        try:
            return digest(inspect.getsource(known))
        except (OSError, TypeError):
            continue
    return ""


def pooled(values: Tensor, pool: str, mask: Tensor | None = None) -> Tensor:
    """One vector per example.

    Args:
        values: (B, d); (B, T, d), one vector per token; or (B, d, H, W), one per position.
        pool: "mean" or "cls", the vector of the first token.
        mask: (B, T), 1 for the tokens to average; None = all.

    Returns:
        (B, d).

    Raises:
        OptionError: any other shape.

    >>> pooled(torch.tensor([[[1.0], [3.0], [9.0]]]), "mean", torch.tensor([[1, 1, 0]])).tolist()
    [[2.0]]
    """
    if values.ndim == 2:
        return values
    if values.ndim == 4 and pool == "mean":
        return values.mean(dim=(2, 3))
    if values.ndim != 3:
        raise OptionError(
            f"outputs of shape {tuple(values.shape)} cannot become one vector per example with pool={pool!r}: give a "
            "model with one vector per example, token or position."
        )
    if pool == "cls":
        return values[:, 0]
    weight = torch.ones(values.shape[:2], device=values.device) if mask is None else mask.to(values)
    return (values * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True).clamp_min(1)
