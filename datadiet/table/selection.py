"""Selection: which examples to keep, in what order of preference and with what weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from datadiet.arrow import to_arrow
from datadiet.data.ids import as_strings, read_id_lines, write_id_lines
from datadiet.errors import DataError, OptionError, one_line
from datadiet.files import read_parquet, write_parquet
from datadiet.files.writing import atomic_write
from datadiet.table.examples import as_ids, check_places, ordered_rows, positions_of, rows_of_ids
from datadiet.table.frames import array_of
from datadiet.table.ids import Ids
from datadiet.table.scores import Scores
from datadiet.table.stored import stored_selection

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import torch

    from datadiet.data import Source
    from datadiet.sampling import SubsetSampler

__all__ = ["Selection"]


@dataclass(frozen=True, eq=False)
class Selection:
    """The outcome of selecting k of n examples.

    Attributes:
        index: (n,) int64, ascending: the positions in the source of all examples that were selected from.
        chosen: (k,) int64, distinct: places in `index`, in rank order.
        weight: (k,) float32 in the order of `chosen`, mean 1; None = all 1.
        stratum: (n,) int32, which explains the choice; or None.
        ids: n str, distinct; None when the source has only positions.
        meta: the identity block: method, parameters, seed, parents, identity of the data set.
        witness: n Arrow strings: the id of the example that caused a row to be left out, null if none; or None.
        similarity: (n,) float32, to the witness, NaN if there is none; or None.
    """

    index: np.ndarray
    chosen: np.ndarray
    weight: np.ndarray | None = None
    stratum: np.ndarray | None = None
    ids: Ids | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    witness: pa.Array | pa.ChunkedArray | None = None
    similarity: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.ids is not None and not isinstance(self.ids, Ids):
            object.__setattr__(self, "ids", Ids(self.ids))
        if self.weight is None:
            return
        wrong = np.flatnonzero(~(np.isfinite(self.weight) & (self.weight > 0)))
        if len(wrong):
            row = int(self.chosen[wrong[0]])
            raise DataError(
                f"the weight of example {as_ids(self.ids, self.index)[row].as_py()!r} (row {row}) is "
                f"{self.weight[wrong[0]]:g} ({len(wrong)} such in all): the weights of kept examples are positive, "
                "finite numbers."
            )

    def __len__(self) -> int:
        """The number of kept examples."""
        return len(self.chosen)

    @cached_property
    def indices(self) -> np.ndarray:
        """(k,) int64: positions of the kept examples in the source, ascending."""
        return np.sort(self.index[self.chosen])

    @property
    def ranked(self) -> np.ndarray:
        """(k,) int64: positions of the kept examples in the source, in rank order."""
        return self.index[self.chosen]

    @property
    def weights(self) -> np.ndarray:
        """(k,) float32, mean 1: the weights of the kept examples, in the order of `indices`."""
        if self.weight is None:
            return np.ones(len(self), dtype=np.float32)
        return self.weight[np.argsort(self.chosen)]

    @cached_property
    def keep(self) -> np.ndarray:
        """(n,) bool: whether each example of `index` is kept."""
        mask = np.zeros(len(self.index), dtype=bool)
        mask[self.chosen] = True
        return mask

    def sampler(self, *, shuffle: bool = True, seed: int = 0) -> SubsetSampler:
        """A torch sampler over the kept examples, for a DataLoader over the full data set."""
        from datadiet.sampling import SubsetSampler

        return SubsetSampler(self.indices, shuffle=shuffle, seed=seed)

    def subset(self, dataset: torch.utils.data.Dataset[Any], clean: Any = None) -> torch.utils.data.Subset[Any]:
        """`torch.utils.data.Subset` of the kept examples, ascending.

        Args:
            dataset: the data that was selected from; it may augment at random if `clean` is given.
            clean: the same examples without augmentation, by which the data is recognised.

        Raises:
            OptionError: it is not a data set with `len` and `[i]`.
            FingerprintMismatch: the data set is not the one that was selected from.
        """
        import torch

        from datadiet.data.objects import has_positions

        if not has_positions(dataset):
            raise OptionError(f"subset takes a data set with len() and [i], and this is of type {_instead(dataset)}.")
        kept = self.placed(_opened(dataset if clean is None else clean))
        return torch.utils.data.Subset(dataset, kept.indices.tolist())

    def apply(self, dataset: datasets.Dataset) -> datasets.Dataset:
        """`Dataset.select` of the kept examples of a Hugging Face data set, ascending.

        Raises:
            OptionError: it is something else.
            FingerprintMismatch: the data set is not the one that was selected from.
        """
        if isinstance(dataset, Mapping):
            raise OptionError(
                f"this is a DatasetDict of the splits {', '.join(map(str, dataset))}: give the split that was scored, "
                "such as dataset['train']."
            )
        from datadiet.data.hub import is_hf_dataset
        from datadiet.data.objects import has_positions

        if not (is_hf_dataset(dataset) and has_positions(dataset)):
            raise OptionError(f"apply takes a datasets.Dataset, and this is of type {_instead(dataset)}.")
        plain = dataset.with_format(None)  # a transform changes what it returns, not which data it is
        return dataset.select(self.placed(_opened(plain)).indices)

    def placed(self, source: Source) -> Selection:
        """This selection, checked against a source; by its ids, if no index said which example a row is.

        Raises:
            FingerprintMismatch: the source is not the data that was selected from.
            DataError: an index and its id name different examples.
        """
        from datadiet.data import check_identity

        if self.ids is None or not self.meta.get("data", {}).get("by_id"):
            ids = as_ids(self.ids, self.index), source.ids
            check_identity(self.meta.get("data", {}), source.identity(), "the selection", ids)
            check_places(self.ids, self.index, source, "the selection")
            return self
        index = positions_of(self.ids, source.ids, source.index, "the selection")
        order = np.argsort(index)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        rows = to_arrow(order)
        return replace(
            self,
            index=index[order],
            chosen=place[self.chosen],
            stratum=None if self.stratum is None else self.stratum[order],
            ids=self.ids[order],
            meta={**self.meta, "data": source.identity()},
            witness=None if self.witness is None else self.witness.take(rows),
            similarity=None if self.similarity is None else self.similarity[order],
        )

    def to_arrow(self) -> pa.Table:
        """The table as a selection file stores it."""
        n = len(self.index)
        rank = np.full(n, -1, dtype=np.int64)
        rank[self.chosen] = np.arange(len(self))
        weight = np.zeros(n, dtype=np.float32)
        weight[self.chosen] = 1.0 if self.weight is None else self.weight
        stratum = np.full(n, -1, dtype=np.int32) if self.stratum is None else self.stratum.astype(np.int32)
        columns = {"index": self.index, "id": as_ids(self.ids, self.index), "keep": self.keep}
        columns |= {"weight": weight, "rank": rank, "stratum": stratum}
        if self.witness is not None:
            columns["witness"] = self.witness
        if self.similarity is not None:
            columns["similarity"] = self.similarity.astype(np.float32)
        arrays = {name: to_arrow(v) if isinstance(v, np.ndarray) else v for name, v in columns.items()}
        return pa.table(arrays)

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas DataFrame."""
        return self.to_arrow().to_pandas()

    def __repr__(self) -> str:
        method = one_line(self.meta.get("method", ""))
        return f"Selection({len(self)} of {len(self.index)} examples{f' by {method}' if method else ''})"

    def write(self, path: str | Path) -> Path:
        """Write `path` (Parquet) and a JSON file beside it."""
        path = Path(path)
        write_parquet(path, self.to_arrow(), {**self.meta, "format": "datadiet.selection", "version": 1})
        return path

    def write_ids(self, path: str | Path) -> Path:
        """Write the ids of the kept examples as text in UTF-8, one per line, in the order of the data.

        Raises:
            DataError: an id is empty or holds the end of a line.
        """
        path = Path(path)
        kept = as_ids(self.ids, self.index).take(to_arrow(np.sort(self.chosen)))
        atomic_write(path, lambda temporary: write_id_lines(temporary, kept))
        return path

    @classmethod
    def from_ids(cls, ids: Any, of: Any) -> Selection:
        """The selection that keeps the examples with these ids.

        Args:
            ids: k distinct ids, the first one ranked first: a sequence or column, or a text file with one per line.
            of: what they are selected from: Scores, another Selection, or data (a spec, a data set or a `Source`).

        Raises:
            DataError: no id, or one that is missing, occurs twice or is not there.

        >>> scores = Scores.from_arrays({"id": ["a", "b", "c"], "el2n": [0.1, 0.9, 0.5]})
        >>> Selection.from_ids(["c", "a"], scores).ranked.tolist()
        [2, 0]
        """
        what = str(ids) if isinstance(ids, (str, Path)) else "the list of ids"
        given = read_id_lines(ids) if isinstance(ids, (str, Path)) else as_strings(array_of(ids, what), what)
        if not len(given):
            raise DataError(f"{what} is empty: give at least one id.")
        if isinstance(of, (Scores, Selection)):
            known, data = of.ids, of.meta.get("data", {"n": len(of.index)})
        else:
            of = _opened(of)
            known, data = Ids(of.ids), of.identity()
        chosen = rows_of_ids(given, as_ids(known, of.index), what)
        keep = {"given": len(chosen), "k": len(chosen), "n": len(of.index)}
        about = {"method": "ids", "params": {}, "columns": {}, "keep": keep, "by_class": False, "nested": False}
        return cls(of.index, chosen, ids=known, meta={"data": data, **about})

    @classmethod
    def read(cls, path: str | Path) -> Selection:
        """Read a selection file.

        Raises:
            DataError: a missing, damaged or foreign file, or columns that contradict each other.
        """
        path = Path(path)
        table, meta = read_parquet(path)
        table, index = ordered_rows(table, path, "selection", meta)
        columns = stored_selection(table, path)
        if meta is None:
            warnings.warn(
                f"{one_line(path, 200)} has no description: it is accepted for any data set of the same size.",
                UserWarning,
                stacklevel=2,
            )
            meta = {"data": {"n": int(index[-1]) + 1}}
        return cls(index, meta=meta, **columns)


def _opened(dataset: Any) -> Source:
    from datadiet.data import open_data

    return open_data(dataset)


def _instead(dataset: Any) -> str:
    """The type of something that is not a data set, and how to select from it."""
    name = type(dataset).__name__
    if hasattr(dataset, "iloc"):
        return f"{name}: say df.iloc[selection.indices]"
    if isinstance(dataset, tuple) and dataset and hasattr(dataset[0], "shape"):
        return f"{name}: say X[selection.indices], y[selection.indices]"
    if isinstance(dataset, str):
        return f"{name}: give the data itself, or write what is kept with datadiet.export (datadiet export)"
    if isinstance(dataset, pa.Table):
        return f"{name}: say table.take(selection.indices)"
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return f"{name}: say [dataset[i] for i in selection.indices]"
    return f"{name}: examples are kept by position, so give data that is read by position"
