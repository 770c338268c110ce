"""Checkpoints to evaluate instead of training: which files, in which order, and what is known of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.errors import DataError
from datadiet.files import array_digest, read_json
from datadiet.workflow.job import Job

__all__ = ["Checkpoint", "checkpoints_given", "hashes", "rates"]

Checkpoint = tuple[int, int, Path | None]


def checkpoints_given(job: Job, given: str | Path | Sequence[str | Path] | None) -> list[Checkpoint] | None:
    """(seed, number from 1, file) of the checkpoints to evaluate; None = train."""
    if given is None:
        return None if job.model.trained is None else [(0, 1, None)]
    if isinstance(given, (str, Path)):
        run = Path(given) / "checkpoints"
        files = (
            sorted(run.glob("seed-*/epoch-*.safetensors"))
            if run.is_dir()
            else sorted(map(Path, glob(str(given))), key=_natural)
        )
    else:
        files = [Path(path) for path in given]
    if not files:
        raise DataError(
            f"no checkpoint matches {given}: give a glob, a list of files, or a run folder with checkpoints."
        )
    found = [re.fullmatch(r"seed-(\d+)/epoch-(\d+)", f"{path.parent.name}/{path.stem}") for path in files]
    if all(found):
        places = [(int(match[1]), int(match[2])) for match in found if match]
        numbers = {epoch: number for number, epoch in enumerate(sorted({epoch for _, epoch in places}), 1)}
        return [(s, numbers[epoch], path) for (s, epoch), path in zip(places, files, strict=True)]
    return [(0, number, path) for number, path in enumerate(files, 1)]


def rates(given: list[Checkpoint]) -> dict[str, list[float]]:
    """The learning rate at each checkpoint, if they are those of a run that noted it."""
    found: dict[int, float] = {}
    for _, number, path in given:
        manifest = None if path is None else path.parent.parent.parent / "manifest.json"
        epoch = None if path is None else re.fullmatch(r"epoch-(\d+)", path.stem)
        if manifest is None or epoch is None or not manifest.exists():
            return {}
        noted = read_json(manifest).get("facts", {}).get("lr", ())
        if int(epoch[1]) > len(noted):
            return {}
        found[number] = noted[int(epoch[1]) - 1]
    return {"lr": [found[number] for number in sorted(found)]}


def _natural(path: Path) -> list[Any]:
    """epoch-2 before epoch-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def hashes(given: list[Checkpoint]) -> list[Any]:
    """Seed, number and a hash of the weights of each, as JSON values for a plan."""
    return [
        [
            seed,
            epoch,
            None if path is None else array_digest(np.fromfile(path, dtype=np.uint8)) if path.exists() else str(path),
        ]
        for seed, epoch, path in given
    ]
