"""Tensors on disk: safetensors files of our own, with a checksum, and the weights that others saved."""

from __future__ import annotations

import errno
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from datadiet.errors import first_line
from datadiet.files.archives import archive_of, check_content
from datadiet.files.opening import check_size, open_file
from datadiet.files.writing import atomic_write
from datadiet.runtime.layout import Layout

__all__ = ["load_weights", "on_cpu", "read_tensors", "save_tensors", "tensors_about", "tensors_digest"]

CHECK = "$check"  # the entry of a safetensors file that holds its checksum


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


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file, on the CPU, and the JSON values that datadiet writes beside them."""
    with (
        open_file(path, "a complete safetensors file", _advice(path)) as file,
        safe_open(file, framework="pt") as opened,
    ):
        about = json.loads((opened.metadata() or {}).get("about", "{}"))
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  not a mapping
        check = about.pop(CHECK, None)
        if check is not None and check != tensors_digest(tensors):
            raise ValueError("its checksum does not fit")
        return tensors, about


def tensors_about(path: str | Path) -> dict[str, Any]:
    """The JSON values in a safetensors file, without its tensors."""
    with (
        open_file(path, "a complete safetensors file", _advice(path)) as file,
        safe_open(file, framework="pt") as opened,
    ):
        return dict(json.loads(opened.metadata()["about"]))


def _advice(path: str | Path) -> str:
    """What to do about a damaged file: one of a run is made again, one of the user's is not ours to remove."""
    return "save it again" if Layout.around(Path(path)) is None else "remove it, and run the command that made it again"


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """A checksum of contiguous tensors on the CPU and their names."""
    found = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def load_weights(path: str | Path) -> Any:
    """What a checkpoint holds: the tensors of a .safetensors file, or what torch saved (no unpickled objects)."""
    if Path(path).suffix == ".safetensors":
        return read_tensors(path)[0]
    advice = "give a .safetensors or .pt file of tensors"
    with open_file(path, "a readable file of weights", advice) as file:
        if zipfile.is_zipfile(file):
            with archive_of(file) as archive:
                check_size(file, sum(info.file_size for info in archive.infolist()))
                check_content(archive)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except UnpicklingError as error:  # torch's own text advises to run what it holds
            if "DTensor" in str(error) or "ShardedTensor" in str(error):
                raise ValueError("its weights are spread over processes: save a full state dict") from error
            raise ValueError("it holds Python objects, which could run code, or is damaged") from error


def on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors refuses tensors that share memory, as tied weights do."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
