"""The run folder: where parts, checkpoints and states go, and which of them are there already.

A part file is complete when it is there: it is written under another name and renamed. It is named by its range of rows
and carries the plan's hash, so a part of another plan never counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.errors import DataError
from datadiet.files import atomic_write, parquet_identity, read_json, write_json, write_parquet
from datadiet.runtime.plan import Plan

__all__ = ["RunFolder", "planned_threads"]


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Use `RunFolder.open`."""

    path: Path
    plan: Plan

    @classmethod
    def open(cls, path: str | Path, plan: Plan) -> RunFolder:
        """A new run, or one to continue in the folder if it holds the same plan.

        Nothing is written before there is something to keep: the first part, or whatever else `begin` comes before.

        Raises:
            OptionError: it holds a run of another plan.
            DataError: it exists and is something else.
        """
        folder = cls(Path(path), plan)
        manifest = folder.path / "manifest.json"
        if manifest.exists():
            plan.check_same(read_json(manifest).get("plan", {}), str(path))
        elif folder.path.exists() and (not folder.path.is_dir() or any(map(_is_foreign, folder.path.iterdir()))):
            raise DataError(f"{path} exists and is no run folder: choose another --out.")
        return folder

    def begin(self) -> None:
        """Make the folder and its manifest, if they are not there yet."""
        path, plan = self.path / "manifest.json", self.plan
        if not path.exists():
            write_json(path, {"format": "datadiet.run", "version": 1, "plan": dict(plan.what), "plan_hash": plan.hash})

    def part(self, mode: str, seed: int, epoch: int, lo: int, hi: int) -> Path:
        """The file of one range of rows."""
        return self.path / "signals" / mode / f"seed-{seed}" / f"epoch-{epoch}" / f"part-{lo}-{hi}.parquet"

    def vectors(self, name: str, seed: int, epoch: int, lo: int, hi: int) -> Path:
        """The file of the vectors of one range of rows."""
        return self.path / "embeddings" / name / f"seed-{seed}" / f"epoch-{epoch}" / f"part-{lo}-{hi}.npy"

    def reference_labels(self, reference: str) -> Path:
        """The labels of the reference data with this hash."""
        return self.path / "embeddings" / f"reference-{reference[:12]}.npy"

    def checkpoint(self, seed: int, epoch: int) -> Path:
        """The weights after an epoch."""
        return self.path / "checkpoints" / f"seed-{seed}" / f"epoch-{epoch}.safetensors"

    def state(self, seed: int) -> Path:
        """What an unfinished training resumes from."""
        return self.path / "state" / f"seed-{seed}.safetensors"

    def write_part(self, path: Path, table: pa.Table) -> None:
        """Write a part with the plan's hash."""
        self.begin()
        write_parquet(path, table, {"format": "datadiet.signals", "version": 1, "plan": self.plan.hash}, beside=False)

    def write_vectors(self, path: Path, values: np.ndarray) -> None:
        """Write a .npy file, whole or not at all."""
        self.begin()

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, values, allow_pickle=False)

        atomic_write(path, write)

    def has_part(self, path: Path) -> bool:
        """Whether a part of this plan is there, whole; the plan of vectors is that of their folder."""
        if not path.exists() or path.suffix == ".npy":
            return path.exists()
        try:
            identity, _, _ = parquet_identity(path)
        except DataError:
            return False
        return identity is not None and identity.get("plan") == self.plan.hash

    def read(self, name: str) -> dict[str, Any]:
        """RUN/manifest.json or RUN/run.json, empty if it is not there yet."""
        path = self.path / name
        return dict(read_json(path)) if path.exists() else {}

    def update(self, name: str, values: dict[str, Any]) -> None:
        """Add to RUN/manifest.json or RUN/run.json."""
        self.begin()
        write_json(self.path / name, self.read(name) | values)


def planned_threads(path: str | Path | None) -> int:
    """The number of threads that the run in a folder was begun with; 0 if there is none."""
    manifest = None if path is None else Path(path) / "manifest.json"
    if manifest is None or not manifest.exists():
        return 0
    return int(read_json(manifest).get("plan", {}).get("recipe", {}).get("threads", 0))


def _is_foreign(path: Path) -> bool:
    """Whether a file is more than what a write that was killed left behind."""
    return not (path.name.startswith(".") and path.name.endswith(".tmp"))
