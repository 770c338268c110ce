"""What resuming needs: weights, optimizer state and where training stood, in one safetensors file."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from datadiet.errors import first_line
from datadiet.files import array_digest, atomic_write, digest

__all__ = ["has_tensor", "load_state", "save_state", "save_weights", "weights_digest"]


def save_weights(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """A checkpoint: parameters and buffers under their own names; epoch, step and the like in the metadata."""
    save_tensors(path, _whole(model.state_dict()), about)


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, extra: dict[str, Tensor], about: dict[str, Any]
) -> None:
    """Everything that the rest of a training depends on, at the end of an epoch.

    Args:
        path: where to write.
        model, optimizer: as they stand.
        extra: further tensors, such as the recorder's.
        about: JSON values, such as epoch, step and history.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items() if isinstance(value, Tensor)}
    tensors |= {f"extra.{name}": value for name, value in extra.items()}
    save_tensors(path, _whole(tensors), about)


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Put the saved state into model and optimizer; returns the extra tensors and the JSON values."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "extra": {}}
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        for name in file.keys():  # noqa: SIM118  safe_open is no mapping
            part, _, rest = name.partition(".")
            parts[part][rest] = file.get_tensor(name)
    model.load_state_dict(parts["model"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return parts["extra"], about


def has_tensor(path: Path, name: str) -> bool:
    """Whether a saved state is there and holds a tensor of that name."""
    if not path.exists():
        return False
    with safe_open(path, framework="pt") as file:
        return name in file.keys()  # noqa: SIM118  safe_open is no mapping


def weights_digest(model: nn.Module) -> str:
    """A hash of a model's parameters and buffers."""
    tensors = _whole(model.state_dict()).items()
    return digest([[name, array_digest(value.reshape(-1).view(torch.uint8).numpy())] for name, value in tensors])


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and JSON values to one file, whole or not at all."""
    metadata = {"about": json.dumps(about, sort_keys=True)}

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # which hides the number of the system's error in its text
            full = f"os error {errno.ENOSPC}" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, first_line(error), str(path)) from None

    atomic_write(path, write)


def _whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors refuses tensors that share memory, as tied weights do."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
