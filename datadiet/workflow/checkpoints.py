"""Checkpoints to evaluate instead of training: which files, in which order, and what is known of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data import Normalisation, Source, measure_normalisation
from datadiet.errors import DataError, OptionError
from datadiet.files import array_digest, read_json

__all__ = ["Checkpoint", "checkpoints_given", "hashes", "inputs_of_runs", "normalisation_for", "rates"]

Checkpoint = tuple[int, int, Path | None]


def checkpoints_given(given: str | Path | Sequence[str | Path]) -> list[Checkpoint]:
    """(seed, number, file) of the checkpoints to evaluate; those of a run are numbered by epoch, others from 1."""
    if isinstance(given, (str, Path)):
        run = Path(given) / "checkpoints"
        files = (
            sorted(run.glob("seed-*/epoch-*.safetensors"), key=_natural)
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
    places = [(int(match[1]), int(match[2])) for match in found if match]
    if len(set(places)) == len(files):
        return [(seed, epoch, path) for (seed, epoch), path in zip(places, files, strict=True)]
    return [(0, number, path) for number, path in enumerate(files, 1)]


def inputs_of_runs(files: Sequence[Path | None]) -> dict[str, Any]:
    """The shape and the normalisation of the inputs that some checkpoints were trained with; empty if nobody knows.

    Raises:
        OptionError: they were trained with different ones.
    """
    known = [{} if file is None else _manifest(file).get("plan", {}).get("inputs") or {} for file in files]
    found = [{key: inputs[key] for key in ("shape", "normalisation") if key in inputs} for inputs in known]
    for file, inputs in zip(files, found, strict=True):
        if inputs != found[0]:
            raise OptionError(
                f"{file} and {files[0]} are of runs that prepared their inputs differently, or one of them is of no "
                "run: give checkpoints of one run."
            )
    return found[0] if found else {}


def normalisation_for(source: Source, trained_on: dict[str, Any]) -> Normalisation | None:
    """That with which weights were trained; measured on this data where nobody knows.

    Args:
        source: the data.
        trained_on: see `inputs_of_runs`.

    Raises:
        DataError: that does not fit these inputs.
    """
    measured = measure_normalisation(source)
    if not trained_on:
        return measured
    scale = trained_on["normalisation"]
    if (0 if scale is None else len(scale["mean"])) != (0 if measured is None else len(measured.mean)):
        kinds = ["scaled already" if one is None else "to be normalised" for one in (scale, measured)]
        raise DataError(
            f"the network was trained on inputs of shape {tuple(trained_on['shape'])}, {kinds[0]}, and {source.spec} "
            f"holds inputs of shape {source.shape}, {kinds[1]}: give data of the same kind."
        )
    return None if scale is None else Normalisation(tuple(scale["mean"]), tuple(scale["std"]))


def rates(given: list[Checkpoint]) -> dict[str, list[float]]:
    """The learning rate at each checkpoint, if they are those of a run that noted it."""
    found: dict[int, float] = {}
    for _, number, path in given:
        epoch = None if path is None else re.fullmatch(r"epoch-(\d+)", path.stem)
        noted = [] if path is None else _manifest(path).get("facts", {}).get("lr", [])
        if epoch is None or int(epoch[1]) > len(noted):
            return {}
        found[number] = noted[int(epoch[1]) - 1]
    return {"lr": [found[number] for number in sorted(found)]}


def _manifest(file: Path) -> dict[str, Any]:
    """The manifest of the run that a checkpoint lies in; empty if it lies in none."""
    folder = file.resolve().parent.parent
    path = folder.parent / "manifest.json"
    return dict(read_json(path)) if folder.name == "checkpoints" and path.exists() else {}


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
