"""Scores: one number per example and method, with their orientation and origin."""

from __future__ import annotations

import logging
import os
import textwrap
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from datadiet.data.labels import Labels
from datadiet.data.paths import is_utf8
from datadiet.errors import DataError, OptionError, one_line, some_of, unknown_name
from datadiet.files import array_digest, hash_ids, read_parquet, write_parquet
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import without_scores
from datadiet.table.examples import as_ids, ordered_rows, positions_of
from datadiet.table.frames import by_own_index, check_arrays, frame_columns, own_order, shape_of
from datadiet.table.ids import Ids
from datadiet.table.incoming import FOREIGN, NOT_SCORES, Incoming, form_of, incoming, read_columns, score_values
from datadiet.table.named_columns import named_incoming
from datadiet.table.orientation import HigherIs, imported, imported_columns, refuse_other_parameters
from datadiet.table.stored import stored_scores

if TYPE_CHECKING:
    import pandas as pd

    from datadiet.data import Source

__all__ = ["Scores"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True, eq=False)
class Scores:
    """A table of scores.

    Attributes:
        index: (n,) int64, ascending positions of the examples in their source.
        columns: name -> (n,) float32 or bool, in the published quantity and sign.
        ids: n str, distinct; None when the source has only positions.
        labels: (n,) int64 or None.
        meta: the identity block: `columns` (per column `hardness`, scorer, parameters), `data` (identity of the data
            set), `facts` (what the run knows beyond its columns) and more.
    """

    index: np.ndarray
    columns: Mapping[str, np.ndarray]
    ids: Ids | None = None
    labels: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unwritable = [name for name in self.columns if not is_utf8(name)]
        if unwritable:
            raise OptionError(f"a score column is named {unwritable[0]!r}, which is not UTF-8: give it another name.")
        if self.ids is not None and not isinstance(self.ids, Ids):
            object.__setattr__(self, "ids", Ids(self.ids))
        for name in self.columns:
            if name in NOT_SCORES:
                raise OptionError(
                    f"a score cannot be named {name!r}, which a score table uses itself: name it otherwise."
                )

    def __repr__(self) -> str:
        classes = "" if self.labels is None else f", {len(np.unique(self.labels))} classes"
        return textwrap.fill(f"Scores({len(self)} examples{classes}; columns: {some_of(self.columns) or 'none'})", 100)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, column: str) -> np.ndarray:
        if column not in self.columns:
            raise unknown_name("score column here", column, self.columns)
        return self.columns[column]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that rank examples: those with an orientation."""
        described = self.meta.get("columns", {})
        return tuple(name for name in self.columns if "hardness" in described.get(name, {}))

    def hardness(self, column: str) -> np.ndarray:
        """A column oriented so that higher = harder, rarer or more influential: (n,) float32.

        Raises:
            OptionError: no such column, or one that ranks nothing (such as a standard deviation).

        >>> scores = Scores.from_arrays({"aum": np.array([3.0, -1.0])}, higher_is="easier")
        >>> scores.hardness("aum").tolist()
        [-3.0, 1.0]
        """
        values = self[column].astype(np.float32, copy=False)
        sign = self.meta.get("columns", {}).get(column, {}).get("hardness")
        if sign is None:
            raise OptionError(
                f"column {column!r} has no orientation, so it ranks nothing: use one that has "
                f"({', '.join(self.names) or 'there is none'})."
            )
        return values if sign == 1 else -values

    def digest(self, column: str) -> str:
        """A hash of a column's values, which identifies it as the parent of a selection."""
        return array_digest(np.ascontiguousarray(self[column]))

    def with_columns(self, columns: Mapping[str, Any], described: Mapping[str, Any]) -> Scores:
        """These scores with further columns; the same column over more seeds may replace an existing one.

        Args:
            columns: name -> (n,) numbers, in the order of these scores; a pandas series in that of its own index.
            described: name -> what is known of it, such as its `hardness`: 1, or -1 if a low value is harder.

        Raises:
            OptionError: a column of that name exists with another description.
            DataError: a column is not one number for each example.
        """
        columns = {name: score_values(name, by_own_index(values), "these columns") for name, values in columns.items()}
        for name, values in columns.items():
            if len(values) != len(self):
                raise DataError(
                    f"column {name!r} has {len(values)} values for {len(self)} examples: give one for each."
                )
        have = dict(self.meta.get("columns", {}))
        refuse_other_parameters(have, described, [name for name in columns if name in self.columns])
        meta = {**self.meta, "columns": {**have, **described}}
        return replace(self, columns={**self.columns, **columns}, meta=meta)

    def placed(self, source: Source) -> Scores:
        """These scores at the positions that their ids have in a source, if no index said which example a row is."""
        if self.ids is None or not self.meta.get("data", {}).get("by_id"):
            return self
        index = positions_of(self.ids, source.ids, source.index, "the table to select from")
        order = np.argsort(index)
        return replace(
            self,
            index=index[order],
            columns={name: values[order] for name, values in self.columns.items()},
            ids=self.ids[order],
            labels=None if self.labels is None else self.labels[order],
            meta={**self.meta, "data": source.identity()},
        )

    def to_arrow(self) -> pa.Table:
        """The table as `scores.parquet` stores it."""
        data: dict[str, Any] = {"index": self.index, "id": as_ids(self.ids, self.index)}
        if self.labels is not None:
            data["label"] = self.labels
        return pa.table({**data, **self.columns})

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas DataFrame."""
        return self.to_arrow().to_pandas()

    def write(self, path: str | Path) -> Path:
        """Write `path` (Parquet) and a JSON file beside it."""
        path = Path(path)
        write_parquet(path, self.to_arrow(), {**self.meta, "format": "datadiet.scores", "version": 1})
        return path

    @classmethod
    def from_arrays(
        cls,
        columns: Mapping[str, Any] | Any,
        *,
        labels: Any = None,
        higher_is: HigherIs = "harder",
    ) -> Scores:
        """Scores that were computed elsewhere.

        Args:
            columns: name -> (n,) numbers, in the order of the data set; or a data frame or series. The index of pandas
                says which example a row is if it is a permutation of 0..n-1, as do a column `index` and, where data is
                at hand, `id`.
            labels: (n,) class numbers or names, in the same order as the columns; a series by its own index.
            higher_is: what a high value means.

        Raises:
            OptionError: an unknown `higher_is`, no column, or columns of different lengths or not one-dimensional.
            DataError: values that are not numbers, labels that are not classes, or ids that occur twice.
        """
        given, rows = columns, own_order(columns)
        if not isinstance(columns, Mapping):
            columns = frame_columns(columns, "these scores")
        else:
            check_arrays(columns)
        if labels is not None:
            if "label" in columns:
                raise OptionError("labels= and a column 'label' were given: give the labels once.")
            n = max(map(len, columns.values()), default=0)
            if shape_of(labels)[:1] != (n,):
                raise OptionError(f"labels of shape {shape_of(labels)} for {n} scores: give one label per example.")
            columns = {**columns, "label": labels}
        found = incoming(columns, "these scores", rows)
        if hasattr(given, "iloc") and not found.placed:
            _log.warning(
                "the index of this %s does not number the examples: its rows are taken in the order of the data set",
                type(given).__name__,
            )
        elif found.by_id:
            found.note_order("these scores")
        return cls._of(found, dict.fromkeys(found.columns, imported(higher_is)))

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        higher_is: HigherIs | Mapping[str, HigherIs],
        columns: Mapping[str, str] | Iterable[str] | None = None,
        id: str | None = None,
        index: str | None = None,
        label: str | None = None,
    ) -> Scores:
        """Scores in a table of any program, by the names of its columns.

        Args:
            table: a data frame, an Arrow table, a dict of columns, or a file (.parquet, .csv, .json, .jsonl, …).
            higher_is: what a high value means: of all columns, or name in the table -> of that column. Columns that it
                does not name rank nothing.
            columns: name of a score here -> its name in the table, or a list of names; None = all numbers.
            id: the column of ids. Its rows may have any order: `placed`, and whatever has the data, match them by id.
            index: the column of positions in the data, 0..n-1 in any order.
            label: the column of classes. Left out, these three are what `from_arrays` finds.

        Raises:
            OptionError: a column that is not there, an unknown direction, or a file that datadiet wrote.
            DataError: ids that are missing or occur twice, an index other than 0..n-1, scores that are not numbers.
        """
        found, names = named_incoming(table, {"id": id, "index": index, "label": label}, columns)
        return cls._of(found, imported_columns(names, higher_is), found.unplaced and isinstance(table, (str, Path)))

    @classmethod
    def _of(cls, found: Incoming, described: Mapping[str, Any], unplaced: bool = False) -> Scores:
        n = len(next(iter(found.columns.values())))
        data: dict[str, Any] = {"n": n} | ({"unplaced": True} if unplaced else {})
        if found.ids is not None:
            data |= {"ids": hash_ids(found.ids), "positional_ids": False, "by_id": found.by_id}
        meta = {"columns": dict(described), "data": data} | _class_names(found.labels)
        return cls(np.arange(n), found.columns, found.ids, _values(found.labels), meta)

    @classmethod
    def read(cls, path: str | Path, *, higher_is: HigherIs = "harder") -> Scores:
        """Read a run folder, a score file, or scores from elsewhere (.npy, .npz, .csv, .json, .jsonl, .parquet).

        Args:
            path: what to read.
            higher_is: what a high value means in a file that does not say.

        Raises:
            DataError: a missing or damaged file, one without scores, or ids that occur twice.
        """
        path = Path(path)
        if os.path.isdir(path):
            if not Layout(path).scores.exists():
                raise without_scores(path)
            path = Layout(path).scores
        if form_of(path) in FOREIGN:
            return cls._from_elsewhere(path, read_columns(path), higher_is)
        table, meta = read_parquet(path)
        if meta is None and not {"index", "id"} <= set(table.column_names):
            return cls._from_elsewhere(path, read_columns(path), higher_is)
        if (meta or {}).get("format") == "datadiet.selection":
            raise DataError(f"{path} is a selection, not a score file: give the scores it was made from.")
        table, index = ordered_rows(table, path, "score", meta)
        columns, labels = stored_scores(table, path)
        if not columns and (meta or {}).get("format") != "datadiet.scores":  # ours may have none yet
            raise DataError(f"{path} has no score column: score first (dd.score, datadiet score).")
        if meta is None:
            warnings.warn(
                f"{one_line(path, 200)} has no description: its scores are read as higher = {higher_is} and accepted "
                "for any data set of the same size.",
                UserWarning,
                stacklevel=2,
            )
            meta = {"columns": dict.fromkeys(columns, imported(higher_is)), "data": {"n": int(index[-1]) + 1}}
        meta = _class_names(labels) | meta
        return cls(index, columns, table["id"], _values(labels), meta)

    @classmethod
    def _from_elsewhere(cls, path: Path, columns: dict[str, Any], higher_is: str) -> Scores:
        found = incoming(columns, str(path))
        unplaced = found.unplaced and form_of(path) not in (".npy", ".npz")  # an array has no place for ids
        if found.by_id or unplaced:
            found.note_order(str(path))
        return cls._of(found, dict.fromkeys(found.columns, imported(higher_is)), unplaced)


def _values(labels: Labels | None) -> np.ndarray | None:
    return None if labels is None else labels.values


def _class_names(labels: Labels | None) -> dict[str, Any]:
    return {} if labels is None or not labels.names else {"class_names": list(labels.names)}
