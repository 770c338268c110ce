"""Tensors and JSON values in one safetensors file, written completely or not at all."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from datadiet.errors import first_line
from datadiet.opening import CHECK, tensors_digest
from datadiet.writing import atomic_write

__all__ = ["on_cpu", "save_tensors"]


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and JSON values, whose keys keep their order, to one file, with a checksum."""
    ready = on_cpu(tensors)
    # One entry, since safetensors writes several in any order.
    metadata = {"about": json.dumps({**about, CHECK: tensors_digest(ready)})}

    def write(temporary: Path) -> None:
        try:
            save_file(ready, temporary, metadata)
        except SafetensorError as error:  # its text hides the number of the system's error
            full = f"os error {errno.ENOSPC}" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, first_line(error), str(path)) from None

    atomic_write(path, write)


def on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors refuses tensors that share memory, as tied weights do."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
