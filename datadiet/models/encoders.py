"""Encoders: what gives one vector per example, and what an encoder spec opens.

Any classifier gives its penultimate features, `hf:`, `sentence-transformers:` and `model2vec:` bring their own weights,
and a function of a batch is taken at its word.
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
from datadiet.models.catalog import ENCODERS

__all__ = ["POOLS", "Encoder", "code_of", "function_encoder", "function_of", "open_text_encoder", "pooled"]

POOLS = ("mean", "cls")


@dataclass(frozen=True, eq=False)
class Encoder:
    """What gives one vector per example.

    Attributes:
        spec: how the user named it.
        reads: what a batch is: "texts" (a list of str), "images" (a list of uint8 arrays (C, H, W), each in its own
            size), "inputs" (a normalised tensor (B, …)), or "stored" (texts, or a tensor (B, …) as the data holds it).
        encode: batch -> (B, d), a tensor or an array.
        about: what decides the vectors beyond the weights, as JSON values.
        weights: whose parameters and buffers decide the vectors; None where `about` says all.
        batch: how many examples at once, unless the user says.
        notes: what is worth telling after the work, such as how many texts were cut.
        close: puts everything back as it was.
    """

    spec: str
    reads: Literal["texts", "images", "inputs", "stored"]
    encode: Callable[[Any], Any]
    about: Mapping[str, Any] = field(default_factory=dict)
    weights: nn.Module | None = None
    batch: int = 512
    notes: Callable[[], list[str]] = list
    close: Callable[[], None] = lambda: None


def open_text_encoder(spec: str, *, texts: bool, pool: str | None, device: torch.device) -> Encoder | None:
    """Open `hf:`, `sentence-transformers:` or `model2vec:`; None for another scheme.

    Args:
        spec: scheme:folder, or scheme:name on the hub.
        texts: whether the data holds texts; `hf:` reads images otherwise.
        pool: how a transformer's outputs become one vector: "mean" (over the tokens of the text), "cls" (the first
            token), or None for the mean.
        device: where to run it.

    Raises:
        OptionError: it reads something else, or pools by itself and `pool` is given.
        DataError: no such folder or name, or files that are missing or damaged.
        MissingExtra: the library behind it is not installed.
    """
    scheme, _, name = spec.rstrip("/").partition(":")  # of a folder with and without the slash it is the same run
    if scheme not in ENCODERS:
        return None
    from datadiet.models import pretrained_text, transformer

    if scheme == "hf":
        return (transformer.text_encoder if texts else transformer.image_encoder)(name, pool, device)
    if pool is not None:
        raise OptionError(f"{spec} pools by itself, and pool={pool!r} was given: leave it out.")
    if scheme == "model2vec":
        return pretrained_text.static_encoder(name)
    return pretrained_text.sentence_encoder(name, device)


def function_of(model: Any) -> Callable[[Any], Any] | None:
    """The function of a batch that a model is, or that py:module:attr names; None if it is something else.

    A function without arguments makes a network, one with arguments takes a batch.
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


def function_encoder(model: Any, function: Callable[[Any], Any], batch: int = 512) -> Encoder:
    """A user's function of a batch as an encoder; it gets the batch as the data holds it."""
    name = model if isinstance(model, str) else f"py:{function.__module__}:{getattr(function, '__qualname__', '')}"
    return Encoder(name, "stored", function, {"code": code_of(function)}, batch=batch)


def code_of(function: Callable[..., Any]) -> str:
    """A hash of the source of a function, or of the class of a callable object; empty where there is none."""
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
        mask: (B, T), 1 for the tokens that count in the mean; None = all.

    Returns:
        (B, d).

    Raises:
        OptionError: another shape, or no token to take.

    >>> pooled(torch.tensor([[[1.0], [3.0], [9.0]]]), "mean", torch.tensor([[1, 1, 0]])).tolist()
    [[2.0]]
    """
    if values.ndim == 2:
        return values
    if values.ndim == 4 and pool == "mean":
        return values.mean(dim=(2, 3))
    if values.ndim != 3:
        raise OptionError(
            f"outputs of shape {tuple(values.shape)} cannot become one vector per example with pool={pool}."
        )
    if pool == "cls":
        return values[:, 0]
    weight = torch.ones(values.shape[:2], device=values.device) if mask is None else mask.to(values)
    return (values * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True).clamp_min(1)
