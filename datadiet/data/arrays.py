"""Data held as one array in memory: the digits that scikit-learn bundles, and .npz files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.arrays import in_numpy
from datadiet.data.columns import known_name
from datadiet.data.decode import as_batch
from datadiet.data.ids import distinct_ids, row_numbers
from datadiet.data.labels import encode_labels
from datadiet.data.rows import Dense
from datadiet.data.source import Source, make_source
from datadiet.data.split import stratified_split
from datadiet.errors import DataError, OptionError
from datadiet.files.opening import array_names, load_arrays

__all__ = ["open_arrays", "open_digits", "open_npz"]

_INPUTS = ("x", "images", "image", "data", "features", "inputs")
_LABELS = ("y", "labels", "label", "targets", "target")


def open_digits(rest: str = "", *, split: str | None = None, on_error: str = "raise") -> Source:
    """The 1,797 handwritten digits of 8x8 pixels that scikit-learn bundles, with a split that never changes.

    Args:
        rest: unused.
        split: "train" (the default, 1,438 examples) or "eval" (359), stratified.
        on_error: unused; nothing can fail.

    Returns:
        A source of uint8 (1, 8, 8), the 17 grey levels scaled to 0..255; ids are scikit-learn's row numbers.

    Raises:
        OptionError: another split.
    """
    from sklearn.datasets import load_digits

    if split not in (None, "train", "eval"):
        raise OptionError(f"digits has no split {split!r}: give train or eval.")
    bunch = load_digits()
    rows = np.arange(len(bunch.target))
    train, held_out = stratified_split(bunch.target, rows, 0.2, seed=0)
    chosen = held_out if split == "eval" else train
    images = np.rint(bunch.images[chosen] * (255 / 16)).astype(np.uint8)
    ids = row_numbers(len(rows)).take(pa.array(chosen))
    labels = encode_labels(bunch.target[chosen], ids)
    return make_source("digits", Dense(as_batch(images)), ids=ids, labels=labels, on_error=on_error)


def open_arrays(x: Any, y: Any, spec: str, *, on_error: str = "raise") -> Source:
    """Open inputs and labels in memory.

    Args:
        x: (n, …) inputs, an array, tensor or data frame.
        y: (n,) or (n, 1) labels, or a list of them.
        spec: what to call them.
        on_error: see `open_data`.

    Raises:
        DataError: different lengths, or labels that are not classes.
    """
    inputs, labels = _as_array(x, f"X of {spec}"), _column(_as_array(y, f"y of {spec}"))
    if inputs.ndim == 0 or labels.ndim == 0 or len(inputs) != len(labels):
        raise DataError(
            f"{spec}: inputs of shape {inputs.shape} and labels of shape {labels.shape}: give one label each."
        )
    if _ordered_otherwise(x, y):
        raise DataError(
            "the indexes of X and y order the same rows differently: give y.loc[X.index], or y.to_numpy() if they go "
            "together row by row."
        )
    ids = row_numbers(len(inputs))
    return make_source(spec, Dense(as_batch(inputs)), labels=encode_labels(labels, ids, column="y"), on_error=on_error)


def open_npz(
    rest: str,
    *,
    split: str | None = None,
    image: str | None = None,
    label: str | None = None,
    id: str | None = None,
    on_error: str = "raise",
) -> Source:
    """Open arrays saved with numpy.savez.

    Args:
        rest: the file.
        split: reads `train_x` or `x_train`, `train_y` …; None = plain `x` and `y` if they exist, else the split train.
        image: name of the array of inputs; by default x, images, image, data, features or inputs.
        label: name of the array of labels; by default y, labels, label, targets or target.
        id: name of an array of ids; by default `ids` or `id`, else row numbers, as with "row".
        on_error: see `open_data`.

    Raises:
        DataError: the file is damaged or holds Python objects, an array is missing, or lengths differ.
    """
    known_names = array_names(rest)
    x_name = _find(known_names, image, _INPUTS, split)
    if x_name is None:
        where = f" of the split {split!r}" if split else ""
        raise DataError(f"{rest} has no inputs{where} among {', '.join(known_names)}: name one with --image (image=).")
    y_name = _find(known_names, label, _LABELS, split)
    id_name = None if id == "row" and "row" not in known_names else _find(known_names, id, ("ids", "id"), split)
    arrays = load_arrays(rest, {name for name in (x_name, y_name, id_name) if name is not None})
    x, y, names = arrays[x_name], arrays.get(y_name or ""), arrays.get(id_name or "")
    if x.ndim == 0:
        raise DataError(f"the array {x_name!r} of {rest} is a single value: give an array with one row per example.")
    ids = None if names is None else distinct_ids(names, f"the array {id_name!r}")
    known = row_numbers(len(x)) if ids is None else ids
    if len(known) != len(x):
        raise DataError(
            f"{rest} has {len(x)} inputs ({x_name}) but {len(known)} ids ({id_name}): give one id for each input."
        )
    labels = None if y is None else encode_labels(_column(y), known, column=f"the array {y_name!r}")
    return make_source(f"npz:{rest}", Dense(as_batch(x)), ids=ids, labels=labels, on_error=on_error)


def _ordered_otherwise(x: Any, y: Any) -> bool:
    """Whether the indexes of two pandas objects name the same rows in another order."""
    if not (hasattr(x, "iloc") and hasattr(y, "iloc")) or x.index.equals(y.index):
        return False
    return bool(x.index.symmetric_difference(y.index).empty)


def _as_array(values: Any, name: str) -> np.ndarray:
    return np.asarray(in_numpy(values, name, DataError))


def _find(arrays: Iterable[str], wanted: str | None, names: tuple[str, ...], split: str | None) -> str | None:
    if wanted is not None:
        return known_name(wanted, arrays, "name of an array in this file")
    plain = [] if split else list(names)
    parts = [form for name in names for form in (f"{split or 'train'}_{name}", f"{name}_{split or 'train'}")]
    lower = {name.lower(): name for name in arrays}
    return next((lower[name] for name in [*plain, *parts] if name in lower), None)


def _column(labels: np.ndarray) -> np.ndarray:
    # Files made from tables often have labels of shape (n, 1).
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
