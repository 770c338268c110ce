"""Scores that other tools wrote: bare arrays and small text files, in the order of the data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from datadiet.errors import DataError

__all__ = ["read_foreign"]

_NOT_SCORES = ("index", "id", "label", "cluster")


def read_foreign(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The score columns of a .npy, .npz, .csv or .json file, and its labels if it has any.

    An unnamed array becomes the column "score". JSON may hold a list of numbers, an object of lists, or a list of
    objects with the same keys.

    Raises:
        DataError: a missing or damaged file, pickled objects, or nothing numeric.
    """
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".json": _json}
    try:
        columns = readers[path.suffix](path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: give the path of a score file.") from None
    except (ValueError, OSError, EOFError, TypeError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise DataError(
            f"{path} cannot be read as {path.suffix} scores ({reason}): give numbers, one per example."
        ) from None
    labels = columns.get("label")
    numeric = {
        name: values
        for name, values in columns.items()
        if name not in _NOT_SCORES and (np.issubdtype(values.dtype, np.number) or values.dtype == bool)
    }
    if not numeric:
        raise DataError(
            f"{path} holds no numbers (it has {', '.join(columns) or 'nothing'}): give one number per example."
        )
    if labels is not None and not np.issubdtype(labels.dtype, np.integer):
        labels = None
    return numeric, labels


def _npy(path: Path) -> dict[str, np.ndarray]:
    return {"score": np.load(path, allow_pickle=False)}


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def _csv(path: Path) -> dict[str, np.ndarray]:
    from pyarrow import csv

    table = csv.read_csv(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def _json(path: Path) -> dict[str, np.ndarray]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {key: [row[key] for row in value] for key in value[0]}
    return {key: np.asarray(v) for key, v in (value if isinstance(value, dict) else {"score": value}).items()}
