"""Scores: one number per example and method, with their orientation and origin."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from datadiet.errors import DataError, OptionError, unknown_name
from datadiet.files import array_digest, hash_ids, read_parquet, write_parquet
from datadiet.runtime.layout import Layout
from datadiet.table.examples import as_ids, check_examples, int_column
from datadiet.table.foreign import read_foreign

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Scores"]

_FIXED = ("index", "id", "label", "cluster")
_SIGN = {"harder": 1, "easier": -1}


@dataclass(frozen=True, eq=False)
class Scores:
    """A table of scores.

    Attributes:
        index: (n,) int64, ascending positions of the examples in their source.
        columns: name -> (n,) float32 or bool, in the published quantity and sign.
        ids: n Arrow strings; None when the source has only positions.
        labels: (n,) int64 or None.
        meta: the identity block: `columns` (per column `hardness`, scorer, parameters), `data` (identity of the data
            set), `facts` (what the run knows beyond its columns) and more.
    """

    index: np.ndarray
    columns: Mapping[str, np.ndarray]
    ids: pa.Array | pa.ChunkedArray | None = None
    labels: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

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

    def with_columns(self, columns: Mapping[str, np.ndarray], described: Mapping[str, Any]) -> Scores:
        """These scores with further columns; the same column over more seeds may replace an existing one.

        Raises:
            OptionError: a column of that name exists with another description.
        """
        have = dict(self.meta.get("columns", {}))
        for name in columns:
            if name not in self.columns:
                continue
            old, new = have.get(name, {}), described.get(name, {})
            differing = [key for key in sorted({*old, *new}) if key != "seeds" and old.get(key) != new.get(key)]
            if not differing and not set(old.get("seeds", ())) <= set(new.get("seeds", ())):
                differing = ["seeds"]
            if differing:
                key = differing[0]
                raise OptionError(
                    f"column {name!r} exists with other parameters ({key} {old.get(key)} there, {new.get(key)} here): "
                    "give the new one another name with --as NAME, or another --out."
                )
        meta = {**self.meta, "columns": {**have, **described}}
        return replace(self, columns={**self.columns, **columns}, meta=meta)

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
        columns: Mapping[str, np.ndarray],
        *,
        labels: np.ndarray | None = None,
        higher_is: Literal["harder", "easier"] = "harder",
    ) -> Scores:
        """Scores that were computed elsewhere, in the order of the data set.

        Raises:
            OptionError: an unknown `higher_is`, no column, or columns of different lengths or not one-dimensional.
        """
        if higher_is not in _SIGN:
            raise OptionError(f"higher_is={higher_is!r}: say 'harder' or 'easier'.")
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        shapes = {values.shape for values in arrays.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise OptionError(
                f"score arrays of shapes {sorted(shapes)}: give one number per example, shape (n,), all the same n; "
                "vectors, of shape (n, d), are read from .npy."
            )
        (n,) = next(iter(shapes))
        if labels is not None and len(labels) != n:
            raise OptionError(f"{len(labels)} labels for {n} scores: give one label per example.")
        meta = {
            "columns": {name: {"hardness": _SIGN[higher_is], "scorer": "imported"} for name in arrays},
            "data": {"n": n},
        }
        values = {name: v if v.dtype == bool else v.astype(np.float32, copy=False) for name, v in arrays.items()}
        return cls(np.arange(n), values, labels=labels, meta=meta)

    @classmethod
    def read(cls, path: str | Path, *, higher_is: Literal["harder", "easier"] = "harder") -> Scores:
        """Read a run folder, a score file, or scores from elsewhere (.npy, .npz, .csv, .json).

        Args:
            path: what to read.
            higher_is: what a high value means in a file that does not say.

        Raises:
            DataError: a missing, damaged or foreign file, or ids that occur twice.
        """
        path = Path(path)
        path = Layout(path).scores if path.is_dir() else path
        if path.suffix in (".npy", ".npz", ".csv", ".json"):
            columns, labels, ids = read_foreign(path)
            found = cls.from_arrays(columns, labels=labels, higher_is=higher_is)
            if ids is None:
                return found
            data = {"n": len(found), "ids": hash_ids(ids), "positional_ids": False}
            return replace(found, ids=ids, meta={**found.meta, "data": data})
        table, meta = read_parquet(path)
        if (meta or {}).get("format") == "datadiet.selection":
            raise DataError(f"{path} is a selection, not a score file: give the scores it was made from.")
        index = check_examples(table, path, "score")
        columns = {name: _column(table, name, path) for name in table.column_names if name not in _FIXED}
        if not columns and (meta or {}).get("format") != "datadiet.scores":  # ours may have none yet
            raise DataError(f"{path} has no score column: run datadiet score first.")
        if meta is None:
            warnings.warn(
                f"{path} has lost its description: its scores are read as higher = {higher_is} and accepted for any "
                "data set of the same size.",
                UserWarning,
                stacklevel=2,
            )
            meta = dict(cls.from_arrays(columns, higher_is=higher_is).meta)
            meta["data"] = {"n": int(index[-1]) + 1}
        labels = int_column(table, "label") if "label" in table.column_names else None
        return cls(index, columns, table["id"], labels, meta)


def _column(table: pa.Table, name: str, path: Path) -> np.ndarray:
    kind = table.schema.field(name).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"{path}: column {name!r} holds {kind}, not numbers: a score column is float32 or bool.")
    values = table[name].to_numpy()
    return values.astype(bool) if pa.types.is_boolean(kind) else values.astype(np.float32, copy=False)
