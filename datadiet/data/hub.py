"""Data from other libraries: Hugging Face datasets, on disk or from the hub, and torchvision's data sets."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from datadiet.data.objects import open_object
from datadiet.data.scheme import is_saved_dataset
from datadiet.data.source import Source
from datadiet.data.table_source import source_from_table
from datadiet.errors import DataError, OptionError, first_line, require, unknown_name

__all__ = ["choose_split", "is_hf_dataset", "open_hf", "open_hf_dataset", "open_torchvision"]

_CACHE = Path.home() / ".cache" / "datadiet" / "torchvision"


def open_hf(
    rest: str,
    *,
    split: str | None = None,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    id: str | None = None,
    allow_paths: str | Path | None = None,
    on_error: str = "raise",
) -> Source:
    """Open a folder written by `save_to_disk`, or the data set that `datasets.load_dataset` finds by name.

    Args:
        rest: a path or a name on the Hugging Face hub.
        split: the split; by default "train" from the hub, and the only split of a folder.
        image: the column of inputs; see `open_data`, also for the other options.
        text: the column of texts.
        label: the label column.
        id: the id column.
        allow_paths: the only folder that the rows may name files in.
        on_error: "raise" or "skip".

    Raises:
        DataError: it cannot be loaded.
        OptionError: a folder with several splits, and no split or an unknown one is named.
    """
    datasets = require("datasets", "all")
    path = Path(rest)
    try:
        if is_saved_dataset(path):
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = datasets.load_dataset(rest, split=split or "train")
    except Exception as error:  # a damaged file or a wrong name makes the library raise anything
        raise DataError(
            f"hf:{rest} cannot be loaded ({type(error).__name__}: {first_line(error)}): check the name or the folder."
        ) from error
    if is_saved_dataset(path):
        loaded = choose_split(loaded, split, f"hf:{rest}")
    return open_hf_dataset(
        loaded, f"hf:{rest}", image=image, text=text, label=label, id=id, allow_paths=allow_paths, on_error=on_error
    )


def open_hf_dataset(
    dataset: Any,
    spec: str,
    *,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    id: str | None = None,
    allow_paths: str | Path | None = None,
    on_error: str = "raise",
) -> Source:
    """Open a `datasets.Dataset` as a table; its format is ignored.

    Raises:
        DataError: it has a transform, whose outputs a table does not hold.
    """
    if dataset.format["type"] == "custom":
        raise DataError(
            f"{spec} has a transform (set_transform), so items differ from what it stores: give "
            "dataset.with_format(None) and let the recipe augment, or your own data set that returns what you train on."
        )
    try:
        table = dataset.with_format("arrow")[:]
        table.validate(full=True)  # reading an offset that a flipped bit has changed would end the process
    except (pa.ArrowException, ValueError, SystemError) as error:
        raise DataError(f"{spec} is damaged ({first_line(error)}): save or download it again.") from None
    table = table.replace_schema_metadata(dataset.features.arrow_schema.metadata)
    return source_from_table(
        table, [], spec, image=image, text=text, label=label, id=id, allow_paths=allow_paths, on_error=on_error
    )


def is_hf_dataset(value: object) -> bool:
    """Whether an object is a `datasets.Dataset`, without importing that library."""
    return any(kind.__module__ == "datasets.arrow_dataset" for kind in type(value).__mro__)


def open_torchvision(rest: str, *, split: str | None = None, on_error: str = "raise") -> Source:
    """Open one of torchvision's data sets, downloading it only if it is missing.

    Args:
        rest: the class, such as CIFAR10, optionally followed by ?root=FOLDER.
        split: "train" (the default), "test", or one of the splits of the class.
        on_error: see `open_data`.

    Raises:
        OptionError: there is no such class, or it has no such split.
        DataError: the files are missing and cannot be downloaded.
    """
    module = require("torchvision.datasets", "vision")
    name, _, root = rest.partition("?root=")
    if name not in module.__all__:
        raise unknown_name("data set of torchvision", name, module.__all__)
    make = getattr(module, name)
    known = inspect.signature(make).parameters
    arguments: dict[str, Any] = {"root": root or str(_CACHE)} if "root" in known else {}
    arguments |= _split_arguments(known, split, rest)
    needed = [key for key, given in known.items() if given.default is given.empty and key not in arguments]
    if needed and not {"args", "kwargs"} & set(needed):
        raise OptionError(
            f"torchvision.datasets.{name} needs {', '.join(needed)}: create it in Python, and open it with py:."
        )
    try:
        dataset = make(**arguments)
    except ValueError as error:
        raise OptionError(f"torchvision:{rest} cannot be opened with these options: {first_line(error)}") from error
    except (RuntimeError, OSError) as absent:
        if "download" not in known:
            raise DataError(f"torchvision:{rest} cannot be opened ({first_line(absent)})") from absent
        try:
            dataset = make(**arguments, download=True)
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"torchvision:{rest} is not in {arguments.get('root')} and cannot be downloaded ({first_line(error)})."
            ) from error
    return open_object(dataset, f"torchvision:{rest}", on_error=on_error)


def choose_split(loaded: Any, split: str | None, spec: str) -> Any:
    """One split of a `DatasetDict`; a `Dataset` as it is, if no split is given."""
    if not isinstance(loaded, Mapping):
        if split is not None:
            raise OptionError(f"{spec} is a single data set without splits: leave out split={split!r}.")
        return loaded
    if split is None:
        raise OptionError(f"{spec} has several splits: choose one of {', '.join(loaded)} with --split (split=).")
    if split not in loaded:
        raise unknown_name(f"split of {spec}", split, loaded)
    return loaded[split]


def _split_arguments(known: Mapping[str, Any], split: str | None, rest: str) -> dict[str, Any]:
    if "train" in known:
        if split not in (None, "train", "test"):
            raise OptionError(f"torchvision:{rest} has no split {split!r}: give train or test.")
        return {"train": split != "test"}
    if "split" in known:
        return {} if split is None else {"split": split}
    if split is not None:
        raise OptionError(f"torchvision:{rest} has no splits: leave out split={split!r}.")
    return {}
