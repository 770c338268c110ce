"""What resuming needs: weights, optimizer state and the progress of training, in one safetensors file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datadiet.errors import DataError
from datadiet.files import array_digest, digest
from datadiet.runtime.tensors import on_cpu, read_tensors, tensors_about

__all__ = ["load_state", "split_state", "packed_state", "state_about", "joined_state", "weights_digest"]

_log = logging.getLogger("datadiet")

_AGAIN = "what was saved of an unfinished training cannot be used, so it starts again: %s"
_TENSOR = "$tensor"  # in a saved state: the name of the tensor that belongs here


def packed_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, about: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything that the rest of training depends on, as tensors and JSON values for one file.

    Args:
        model, optimizer: in their current state.
        about: everything else: JSON values, with tensors and arrays anywhere among them.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items() if isinstance(value, Tensor)}
    found, values = split_state(about)
    return tensors | {f"extra.{name}": value for name, value in found.items()}, values


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Load the saved state into model and optimizer; returns everything else, as given to `packed_state`.

    None, with a note, if the file is damaged: training then starts again.
    """
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "extra": {}}
    try:
        tensors, about = read_tensors(path)
    except DataError as error:
        _log.warning(_AGAIN, error)
        return None
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    model.load_state_dict(parts["model"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return joined_state(parts["extra"], about)


def split_state(about: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A nested state apart: its tensors and arrays, by name, and the JSON values around them."""
    found: dict[str, Tensor] = {}
    values = _without_tensors(about, "", found)
    return found, values


def joined_state(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> dict[str, Any]:
    """The state that `split_state` took apart."""
    return dict(_with_tensors(values, tensors))


def _without_tensors(value: Any, name: str, found: dict[str, Tensor]) -> Any:
    """A nested value with every tensor and array replaced by its name; the tensors go into `found`."""
    if isinstance(value, Mapping):
        return {str(key): _without_tensors(one, f"{name}.{key}", found) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(one, f"{name}.{place}", found) for place, one in enumerate(value)]
    if isinstance(value, (Tensor, np.ndarray)):
        found[name] = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
        return {_TENSOR: name, "array": isinstance(value, np.ndarray)}
    return value


def _with_tensors(value: Any, found: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict) and _TENSOR in value:
        tensor = found[value[_TENSOR]]
        return tensor.numpy() if value["array"] else tensor
    if isinstance(value, dict):
        return {key: _with_tensors(one, found) for key, one in value.items()}
    return [_with_tensors(one, found) for one in value] if isinstance(value, list) else value


def state_about(path: Path) -> dict[str, Any] | None:
    """The JSON values of a saved state, without its tensors; None, with a note, if the file is damaged."""
    try:
        return tensors_about(path)
    except DataError as error:
        _log.warning(_AGAIN, error)
        return None


def weights_digest(model: nn.Module) -> str:
    """A hash of a model's parameters and buffers."""
    tensors = on_cpu(dict(model.state_dict())).items()
    return digest([[name, array_digest(value.reshape(-1).view(torch.uint8).numpy())] for name, value in tensors])
