"""Checkpoints to evaluate instead of training: which files, in which order, and what is known about them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from datadiet.data import Normalisation, Source, measure_normalisation
from datadiet.errors import DataError, OptionError
from datadiet.files import array_digest
from datadiet.files.opening import read_bytes
from datadiet.models import open_model
from datadiet.models.narrow import Removed
from datadiet.runtime.layout import Layout, checkpoint_place
from datadiet.runtime.records import read_record

__all__ = [
    "Checkpoint",
    "check_class_names",
    "checkpoints_given",
    "hashes",
    "image_size",
    "inputs_of_runs",
    "last_checkpoint",
    "normalisation_for",
    "rates",
    "removed_in_runs",
]

_log = logging.getLogger("datadiet")

Checkpoint = tuple[int, int, Path | None]


def checkpoints_given(given: str | Path | Sequence[str | Path]) -> list[Checkpoint]:
    """(seed, number, file) of the checkpoints to evaluate; those of a run are numbered by epoch, others from 1."""
    if isinstance(given, (str, os.PathLike)):
        if os.path.isdir(given):
            files = [path for _, _, path in Layout(Path(given)).checkpoints()]
        elif os.path.isfile(given):  # its name may look like a glob
            files = [Path(given)]
        else:
            files = sorted(map(Path, glob(str(given))), key=_natural)
    else:
        several = isinstance(given, Sequence)
        files = [_as_path(path, "checkpoints") for path in (given if several else [given])]
    if not files:
        raise DataError(
            f"no checkpoint matches {given}: give a glob, a list of files, or a run folder with checkpoints."
        )
    places = list(filter(None, map(checkpoint_place, files)))
    if len(set(places)) == len(files):
        return [(seed, epoch, path) for (seed, epoch), path in zip(places, files, strict=True)]
    return [(0, number, path) for number, path in enumerate(files, 1)]


def inputs_of_runs(files: Sequence[Path | None]) -> dict[str, Any]:
    """The shape and normalisation of the inputs that some checkpoints were trained with, and the names of the classes
    that their outputs stand for; empty if unknown.

    Raises:
        OptionError: they were trained with different ones.
    """
    plans = [{} if file is None else _manifest(file).get("plan", {}) for file in files]
    known = [plan | plan["inputs"] if plan.get("inputs") else {} for plan in plans]
    found = [{key: said[key] for key in ("shape", "normalisation", "class_names") if key in said} for said in known]
    for file, inputs in zip(files, found, strict=True):
        if inputs != found[0]:
            raise OptionError(
                f"{file} and {files[0]} come from runs that prepared their inputs differently or had other classes, or "
                "one of them does not come from a run: give checkpoints of one run."
            )
    return found[0] if found else {}


def removed_in_runs(files: Sequence[Path | None]) -> tuple[Removed, ...]:
    """The channels that the networks of some checkpoints lack, as their runs say, in the order of their removal.

    Raises:
        OptionError: the networks lack different ones.
    """
    found = [() if file is None else tuple(_manifest(file).get("plan", {}).get("removed", ())) for file in files]
    for file, removed in zip(files, found, strict=True):
        if removed != found[0]:
            raise OptionError(
                f"{file} and {files[0]} are of networks from which other channels were removed: give checkpoints of "
                "one run."
            )
    return found[0] if found else ()


def image_size(model: Any, trained_on: dict[str, Any]) -> int:
    """The size to resize images of several sizes to: that of training, or what the family of the model expects."""
    return int(trained_on["shape"][-1] if trained_on else open_model(model, (3, 224, 224), 2).size or 224)


def normalisation_for(source: Source, trained_on: dict[str, Any], integers: str = "tokens") -> Normalisation | None:
    """The normalisation that weights were trained with; measured on this data if unknown.

    Args:
        source: the data.
        trained_on: see `inputs_of_runs`.
        integers: see `measure_normalisation`; weights that were trained on numbers get numbers.

    Raises:
        DataError: it does not fit these inputs.
    """
    scale = trained_on.get("normalisation")
    measured = measure_normalisation(source, integers if scale is None else "numbers")
    if not trained_on:
        return measured
    if (0 if scale is None else len(scale["mean"])) != (0 if measured is None else len(measured.mean)):
        kinds = ["already scaled" if one is None else "to be normalised" for one in (scale, measured)]
        raise DataError(
            f"the network was trained on inputs of shape {tuple(trained_on['shape'])}, {kinds[0]}, but {source.spec} "
            f"holds inputs of shape {source.shape}, {kinds[1]}: give data of the same kind."
        )
    return None if scale is None else Normalisation(tuple(scale["mean"]), tuple(scale["std"]))


def check_class_names(source: Source, trained_on: dict[str, Any], whose: str) -> None:
    """Refuse weights whose outputs stand for other classes than the labels of the data.

    Names that only one side has are reported, not refused: a class may have been renamed. So are numbers, which data
    without names has, on one side only.

    Args:
        source: the data.
        trained_on: see `inputs_of_runs`.
        whose: the weights, in messages.

    Raises:
        DataError: a name that both know stands for different outputs.
    """
    theirs, ours = tuple(trained_on.get("class_names", ())), source.class_names
    if ours == theirs or not theirs:
        return
    if all(map(str.isdigit, theirs)) != all(map(str.isdigit, ours)):
        _log.warning(
            "classes have names on one side only: %r of %s is taken to be %r of the training data of %s, and so on in "
            "order", ours[0], source.spec, theirs[0], whose,
        )  # fmt: skip
        return
    place = {name: number for number, name in enumerate(theirs)}
    moved = [(number, place[name], name) for number, name in enumerate(ours) if place.get(name, number) != number]
    if moved:
        here, there, name = moved[0]
        raise DataError(
            f"{whose} learned other labels: {name!r} is class {there} of their training data and class {here} of "
            f"{source.spec}, so every number would be wrong: give data whose classes come in the same order."
        )
    new = [name for name in ours if name not in place]
    if new:
        _log.warning(
            "%s were trained on classes that are not those of %s: %r is not among them; the outputs are taken in "
            "order", whose, source.spec, new[0],
        )  # fmt: skip


def rates(given: Sequence[Checkpoint]) -> dict[str, list[float]]:
    """The learning rate at each checkpoint, if they come from a run that recorded it."""
    found: dict[int, float] = {}
    for _, number, path in given:
        place = None if path is None else checkpoint_place(path)
        noted = [] if path is None else _manifest(path).get("facts", {}).get("lr", [])
        if place is None or place[1] > len(noted):
            return {}
        found[number] = noted[place[1] - 1]
    return {"lr": [found[number] for number in sorted(found)]}


def last_checkpoint(given: str | Path, option: str) -> Path:
    """A file itself; for a run, the first seed's weights at the last epoch.

    Args:
        given: the file, or the folder of a run.
        option: what was given, for messages.

    Raises:
        OptionError: weights instead of a file.
        DataError: no such path, or a folder without checkpoints.
    """
    path = _as_path(given, option)
    if not os.path.exists(path):
        raise DataError(f"there is no checkpoint {path}: give a .safetensors or .pt file, or a run folder.")
    if not path.is_dir():
        return path
    files = Layout(path).checkpoints()
    if not files:
        raise DataError(f"{path} holds no checkpoints: give a file, or a run of train or score.")
    return min(files, key=lambda found: (found[0], -found[1]))[2]


def _as_path(given: Any, option: str) -> Path:
    """A path; OptionError for what is none, such as the weights themselves."""
    if not isinstance(given, (str, os.PathLike)):
        what = "a table of weights" if isinstance(given, Mapping) else f"of type {type(given).__name__}"
        raise OptionError(
            f"{option}= is {what}, not a file: save it to a file with torch.save, or load it into the module and pass "
            "that."
        )
    return Path(given)


def _manifest(file: Path) -> dict[str, Any]:
    """The manifest of the run that a checkpoint is in; empty if it is in none."""
    run = Layout.of_checkpoint(file)
    return {} if run is None else read_record(run.manifest)


def _natural(path: Path) -> list[Any]:
    """A sort key that puts epoch-2 before epoch-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def hashes(given: Sequence[Checkpoint]) -> list[Any]:
    """Seed, number and a hash of the weights of each, as JSON values for a plan."""
    return [
        [
            seed,
            epoch,
            None if path is None else array_digest(read_bytes(path)) if os.path.exists(path) else str(path),
        ]
        for seed, epoch, path in given
    ]
