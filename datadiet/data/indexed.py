"""Indexed: a data set whose items carry their index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

from datadiet.data.objects import has_positions
from datadiet.errors import OptionError
from datadiet.parameters import in_a_line

__all__ = ["Indexed"]


class Indexed(Dataset[Any]):
    """Wrap a map-style data set so that its items carry their integer index.

    The index is appended to a tuple or list, added to a dict under the key "index", and turns anything else into
    (item, index). Everything except reading is passed on to the wrapped data set.

    >>> Indexed([("a", 0), ("b", 1)])[1]
    ('b', 1, 1)
    """

    def __init__(self, dataset: Any) -> None:
        """Wrap `dataset`, which has `len` and `[i]`; OptionError for anything else."""
        if not has_positions(dataset):
            raise OptionError(
                f"this is of type {type(dataset).__name__}, which is not read by position: Indexed needs a data set "
                "with len() and [i], such as a torch data set or list(...)."
            )
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """The item at `index`; OptionError if it is a dict that already has a key "index"."""
        index = int(index)
        return _with_index(self.dataset[index], index if index >= 0 else index + len(self))

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The items at `indices`, read together if the wrapped data set supports it."""
        read = getattr(self.dataset, "__getitems__", None)
        if read is None:
            return [self[index] for index in indices]
        return [_with_index(item, int(index)) for item, index in zip(read(indices), indices, strict=True)]

    def __getattr__(self, name: str) -> Any:
        # Not for special names: copying and pickling look them up before `dataset` exists.
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __repr__(self) -> str:
        return f"Indexed({in_a_line(self.dataset)})"


def _with_index(item: Any, index: int) -> Any:
    if isinstance(item, Mapping):
        if "index" in item:
            raise OptionError("the items already have a key 'index': rename it, since Indexed needs that key.")
        return {**item, "index": index}
    if isinstance(item, list):
        return [*item, index]
    if isinstance(item, tuple):
        return (*item, index)
    return (item, index)
