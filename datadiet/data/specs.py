"""open_data: from a data spec, or a Python object, to a Source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from datadiet.arrays import refuse_sparse
from datadiet.attributes import load_attribute, user_code
from datadiet.data.arrays import open_arrays, open_digits, open_npz
from datadiet.data.folder import open_folder
from datadiet.data.hub import (
    choose_split,
    is_hf_dataset,
    open_hf,
    open_hf_dataset,
    open_torchvision,
)
from datadiet.data.objects import are_arrays, is_map_style, is_stream, open_object
from datadiet.data.run import open_run
from datadiet.data.scheme import resolve_spec
from datadiet.data.source import Opening, Source
from datadiet.data.table_source import open_frame, open_table_files, source_from_table
from datadiet.errors import DataError, OptionError

__all__ = ["OPENERS", "open_data", "opened_elsewhere"]

_ADVICE = {
    True: "which can only be read from front to back (an iterable or WebDataset): scores belong to positions, so store "
    "it as Parquet, a folder of images or a map-style data set first, or take list(...) of it if it fits in memory.",
    False: "which has no len() and [i]: give a map-style data set, arrays (X, y), or a function that returns one.",
}

_OPTIONS = ("split", "image", "text", "label", "id", "allow_paths")

OPENERS: dict[str, Callable[..., Source]] = {
    "npz": open_npz,
    "parquet": partial(open_table_files, "parquet"),
    "jsonl": partial(open_table_files, "jsonl"),
    "csv": partial(open_table_files, "csv"),
    "imagefolder": open_folder,
    "hf": open_hf,
    "torchvision": open_torchvision,
    "run": open_run,
}
"""Each opener takes the rest of a spec and, by keyword, the options of `open_data` that apply to it."""


def open_data(
    spec: Any,
    *,
    split: str | None = None,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    id: str | None = None,
    allow_paths: str | Path | None = None,
    on_error: str = "raise",
    clean: Any = None,
) -> Source:
    """Open a data set.

    Args:
        spec: `digits`; or scheme:rest, one of npz, parquet, jsonl, csv, imagefolder, hf, torchvision, run and py as
            the scheme; or an existing path, whose kind is guessed (see `Source.spec`); or a map-style data set, a
            `datasets.Dataset`, a pandas DataFrame, an Arrow table, arrays (X, y), or a Source, which is returned as
            it is.
        split: the part to open, if there are several; "train" if one must be chosen.
        image: the column, array or key that holds the inputs.
        text: the column or key that holds the inputs, if they are texts.
        label: the column, array or key that holds the labels.
        id: the column or array that holds distinct ids.
        allow_paths: for tables, the only folder that their rows may name files in; by default any. Only regular files
            are read.
        on_error: "raise", or "skip" to leave out and list examples that cannot be decoded.
        clean: for Python objects, the un-augmented view of the same examples: a data set, or a function that returns
            one.

    Returns:
        The opened data.

    Raises:
        OptionError: the spec has no known form, or an option does not apply to it.
        DataError: the data is missing, damaged, empty or of another kind.
    """
    if on_error not in ("raise", "skip"):
        raise OptionError(f"on_error={on_error!r}: give 'raise' or 'skip'.")
    given: dict[str, Any] = {"split": split, "image": image, "text": text, "label": label, "id": id}
    given["allow_paths"] = allow_paths
    options = {name: value for name, value in given.items() if value is not None}
    if on_error == "skip":
        options["on_error"] = on_error
    if isinstance(spec, Opening):
        return open_data(spec.spec, **{**spec.options, **options})
    if not isinstance(spec, str | Path):
        return _open_value(spec, clean, f"object:{type(spec).__module__}.{type(spec).__qualname__}", options)
    opening = Opening(str(spec), dict(options) if clean is None else {**options, "clean": clean})
    return replace(_open_spec(str(spec), clean, options), opening=opening)


def opened_elsewhere(data: Any) -> Any:
    """What another process opens some data from: how it was opened here, if that was by a spec; else the data itself.

    Args:
        data: anything that `open_data` takes; other values are returned unchanged.
    """
    known = isinstance(data, Source) and data.opening is not None and not data.skipped  # to find those takes long
    return data.opening if known else data


def _open_spec(spec: str, clean: Any, options: dict[str, Any]) -> Source:
    scheme, rest = resolve_spec(spec)
    if scheme == "py":
        return _open_value(load_attribute(rest), clean, f"py:{rest}", options)
    if clean is not None:
        raise OptionError(
            f"clean= is for Python data sets and {scheme}:{rest} is read without augmentation: leave it out."
        )
    opener = open_digits if scheme == "digits" else OPENERS[scheme]
    return _call(opener, rest, options, f"{scheme}:{rest}".rstrip(":"))


def _open_value(value: Any, clean: Any, spec: str, options: dict[str, Any]) -> Source:
    if isinstance(value, Source):
        if options or clean is not None:
            raise OptionError("this data is already open: give the options where it is opened.")
        return value
    if isinstance(value, Mapping) and value and not is_stream(value) and all(map(is_hf_dataset, value.values())):
        value = choose_split(value, options.pop("split", None), spec)
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        return _call(partial(open_frame, value, spec), None, options, spec)
    if isinstance(value, pa.Table):
        return _call(partial(source_from_table, value, [], spec), None, options, spec)
    if are_arrays(value):
        return _call(partial(open_arrays, value[0], value[1], spec), None, options, spec)
    refuse_sparse(value, spec, DataError)
    whole = _made(value, spec)
    view = whole if clean is None else _made(clean, "clean=")
    for candidate in (whole, view):
        if not is_map_style(candidate):
            in_order = is_stream(candidate) or (hasattr(candidate, "__iter__") and not isinstance(candidate, Mapping))
            raise OptionError(f"{spec} is of type {type(candidate).__name__}, {_ADVICE[in_order]}")
    with user_code(f"{spec} does not say how many examples it has"):
        sizes = len(view), len(whole)
    if sizes[0] != sizes[1]:
        raise DataError(f"clean= has {sizes[0]} examples and {spec} has {sizes[1]}: give a view of the same examples.")
    if isinstance(view, Source):
        return view
    if is_hf_dataset(view):
        return _call(partial(open_hf_dataset, view, spec), None, options, spec)
    return _call(partial(open_object, view, spec), None, options, spec)


def _made(value: Any, spec: str) -> Any:
    """The data set that a function returns, or the value itself."""
    with user_code(f"{spec} gives no data set"):
        return value() if callable(value) and not is_map_style(value) else value


def _call(opener: Callable[..., Source], rest: str | None, options: dict[str, Any], spec: str) -> Source:
    accepted = inspect.signature(opener).parameters
    for name in options:
        if name not in accepted:
            known = ", ".join(f"{known}=" for known in _OPTIONS if known in accepted)
            raise OptionError(f"{name}= does not apply to {spec}: it takes {known or 'no such option'}.")
    return opener(**options) if rest is None else opener(rest, **options)
