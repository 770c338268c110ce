"""The run folder: opening it, finding which files it already has, and the only writer of its files.

A file that exists is complete: it is written under another name and renamed. A part is named after its range of rows
and carries the plan's hash (for .npy files it is in plan.json beside them), so parts of another plan never count.
"""

from __future__ import annotations

import logging
import platform
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.errors import DISK_FULL, DataError, OptionError
from datadiet.files import parquet_identity, read_json, write_json, write_parquet
from datadiet.files.writing import (
    atomic_write,
    check_name,
    is_temporary,
    remove_strays,
    save_array,
    temporary_name,
)
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.layout import Layout, plan_beside
from datadiet.runtime.plan import FORMAT, Plan
from datadiet.runtime.records import read_manifest, read_record
from datadiet.runtime.units import Cost, Product
from datadiet.version import __version__

__all__ = ["RunFolder", "Sink", "plan_in", "planned_hardware", "planned_threads"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Use `RunFolder.open`."""

    path: Path
    plan: Plan

    @cached_property
    def layout(self) -> Layout:
        """Where its files are."""
        return Layout(self.path)

    @classmethod
    def open(cls, path: str | Path, plan: Plan) -> RunFolder:
        """A new run, or the run to continue if the folder holds one of the same plan.

        Nothing is written until there is something to keep; what a killed process left half-written is removed.

        Raises:
            OptionError: it holds a run of another plan, or of an older version; or no folder can have its name, or be
            made there.
            DataError: it exists and is something else.
        """
        folder = cls(Path(path), plan)
        check_name(folder.path)
        if folder.layout.is_run:
            found = read_record(folder.layout.manifest)
            if found.get("version", 1) < FORMAT:
                raise OptionError(
                    f"{path} was begun by an older datadiet and cannot be continued: choose another out= (--out); "
                    "rescore, select, export and --checkpoints still read it."
                )
            plan.check_same(found["plan"], str(path))
        elif folder.path.exists() and (not folder.path.is_dir() or not all(map(is_temporary, folder.path.iterdir()))):
            raise DataError(f"{path} exists and is not a run folder: choose another out= (--out).")
        else:
            _check_place(folder.path)
        remove_strays(folder.path)
        _log.debug("%s has the plan %s", path, plan.hash)
        return folder

    def has(self, path: Path) -> bool:
        """Whether a part or checkpoint of this plan exists and is complete."""
        if not path.exists():
            return False
        if path.suffix == ".npy":
            beside = plan_beside(path)
            return beside.exists() and read_json(beside) == {"plan": self.plan.hash}
        if path.suffix != ".parquet":
            return True
        try:
            identity, _, _ = parquet_identity(path)
        except DataError:
            return False
        return identity is not None and identity.get("plan") == self.plan.hash

    def read(self, path: Path) -> dict[str, Any]:
        """The manifest or the log of the run, empty if it does not exist yet."""
        return read_record(path)


class Sink:
    """The only writer of a run's files."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def write(self, product: Product) -> None:
        """Write a product, completely or not at all."""
        path, content = self.folder.path / product.path, product.content
        if content is None:
            path.unlink(missing_ok=True)
            return
        self.begin()
        if isinstance(content, pa.Table):
            identity = {"format": "datadiet.signals", "version": 1, "plan": self.folder.plan.hash}
            write_parquet(path, content, identity, beside=False)
        elif isinstance(content, np.ndarray):
            self.note_plan(path)
            atomic_write(path, lambda temporary: save_array(temporary, content))
        elif isinstance(content, tuple):
            from datadiet.runtime.tensors import save_tensors

            save_tensors(path, *content)
        elif isinstance(content, str):
            atomic_write(path, lambda temporary: temporary.write_text(content, encoding="utf-8"))
        elif isinstance(content, Cost):
            before = self.folder.read(path).get(content.title, {}).get("seconds", 0.0)
            self.update(path, {content.title: {"seconds": round(before + content.seconds, 3)}})
        elif isinstance(content, dict):
            self.update(path, content)
        else:
            content.write(path)

    def update(self, path: Path, values: dict[str, Any]) -> None:
        """Add to the manifest or the log of the run."""
        self.begin()
        write_json(path, self.folder.read(path) | values)

    def log_host(self, **more: Any) -> None:
        """Add to the log which machine and versions work on the run, and further entries."""
        host = {"python": platform.python_version(), "machine": platform.machine(), "datadiet": __version__}
        self.update(self.folder.layout.log, {"host": host, **more})

    def begin(self) -> None:
        """Create the folder and its manifest if they do not exist yet."""
        path, plan = self.folder.layout.manifest, self.folder.plan
        if not path.exists():
            about = {"format": "datadiet.run", "version": FORMAT, "plan": dict(plan.what), "plan_hash": plan.hash}
            write_json(path, about)

    def note_plan(self, vectors: Path) -> None:
        """Write beside a file of vectors which plan it belongs to, if nothing says so yet."""
        beside = plan_beside(vectors)
        if not beside.exists():
            write_json(beside, {"plan": self.folder.plan.hash})

    @contextmanager
    def probe(self) -> Iterator[tuple[Path, str]]:
        """A file by which a process elsewhere finds out whether it sees this folder, and what it holds."""
        self.begin()
        path, token = temporary_name(self.folder.path.resolve() / "probe"), secrets.token_hex(16)
        path.write_text(token, encoding="utf-8")
        try:
            yield path, token
        finally:
            path.unlink(missing_ok=True)


def _check_place(path: Path) -> None:
    """Refuse a place where no folder can be made, before any work; the folder that tries it is removed at once."""
    try:
        there = next(place for place in (path, *path.parents) if place.exists())
        tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=there).cleanup()
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise OptionError(
            f"out={str(path)!r} cannot be written ({error.strerror or error}): check the path and its permissions, or "
            "choose another out= (--out)."
        ) from error


def planned_hardware(path: str | Path | None, device: Any = "auto") -> Hardware | None:
    """What the run in a folder was begun on; None if there is no run, or if another type of device is asked for."""
    plan = plan_in(path)
    if not plan:
        return None
    device_type, model, torch = (plan.get(name, "") for name in ("device", "device_model", "torch"))
    asked = str(device) in ("auto", device_type)
    return Hardware(device_type, model, planned_threads(path), torch) if asked else None


def planned_threads(path: str | Path | None) -> int:
    """The number of threads that the run in a folder was started with; 0 if there is no run."""
    return int(plan_in(path).get("recipe", {}).get("threads", 0))


def plan_in(path: str | Path | None) -> dict[str, Any]:
    """The plan of the run in a folder; empty if there is no run."""
    if path is None or not Layout(Path(path)).is_run:
        return {}
    return dict(read_manifest(path)["plan"])
