"""Scores written by other tools: bare arrays and small text files, in the order of the data set."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa

from datadiet.errors import DataError, first_line

__all__ = ["read_foreign"]

_NOT_SCORES = ("index", "id", "label", "cluster")


def read_foreign(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray | None, pa.Array | None]:
    """The score columns of a .npy, .npz, .csv or .json file, and its labels and ids if it has any.

    An unnamed array becomes the column "score". JSON may hold a list of numbers, an object of lists, or a list of
    objects with the same keys. A column `index` must number the examples 0..n-1; the rows are put in its order.

    Raises:
        DataError: a missing or damaged file, pickled objects, or nothing numeric.
    """
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".json": _json}
    try:
        columns = readers[path.suffix](path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: give the path of a score file.") from None
    except (ValueError, OSError, EOFError, TypeError, KeyError, BadZipFile, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as {path.suffix} scores ({first_line(error)}): give numbers, one per example."
        ) from None
    columns = _in_order(columns, path)
    numeric = {
        name: values for name, values in columns.items() if name not in _NOT_SCORES and values.dtype.kind in "biuf"
    }
    if not numeric:
        raise DataError(
            f"{path} holds no numbers (it has {', '.join(columns) or 'nothing'}): give one number per example."
        )
    labels = columns.get("label")
    ids = pa.array([str(value) for value in columns["id"].tolist()]) if "id" in columns else None
    if ids is not None and len(ids.unique()) < len(ids):
        raise DataError(f"{path}: column 'id' holds an id twice: ids must be unique.")
    return numeric, labels if labels is not None and labels.dtype.kind in "iu" else None, ids


def _in_order(columns: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    index = columns.get("index")
    if index is None:
        return columns
    lengths = {len(values) for values in columns.values() if values.ndim}
    if lengths != {len(index)} or not np.array_equal(np.sort(index), np.arange(len(index))):
        raise DataError(
            f"{path}: column 'index' does not number the examples 0 to {len(index) - 1}: give one row for each."
        )
    order = np.argsort(index)
    return {name: values[order] for name, values in columns.items()}


def _npy(path: Path) -> dict[str, np.ndarray]:
    found = np.load(path, allow_pickle=False)
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError("it is an archive: name it .npz")
    return {"score": found}


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def _csv(path: Path) -> dict[str, np.ndarray]:
    from pyarrow import csv

    table = csv.read_csv(path)
    if any(_is_number(name) for name in table.column_names):
        raise ValueError("its first line holds numbers instead of a header with column names")
    if len(set(table.column_names)) < len(table.column_names):
        raise ValueError("two columns have the same name")
    return {name: table[name].to_numpy() for name in table.column_names}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json(path: Path) -> dict[str, np.ndarray]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {key: [row[key] for row in value] for key in value[0]}
    return {key: np.asarray(v) for key, v in (value if isinstance(value, dict) else {"score": value}).items()}
