"""The examples whose labels are most likely wrong, as a table: in the terminal, and as .csv, .parquet or .json."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv

from datadiet.errors import OptionError, one_line
from datadiet.files import write_json, write_parquet
from datadiet.files.writing import atomic_write
from datadiet.report.tables import TableColumn, text_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SUSPECT_FILES", "Suspects", "check_suspect_file"]

SUSPECT_FILES = (".csv", ".parquet", ".json")
_CAUTION = (
    "These are suspects, not errors: rare, ambiguous and simply hard examples look the same to a network. Look at each "
    "one before you change its label or drop it."
)
_HEADINGS: tuple[TableColumn, ...] = (
    ("index", "index", "right"),
    ("id", "id", "left"),
    ("given", "given", "left"),
    ("predicted", "predicted", "left"),
    ("p_given", "p given", "right"),
    ("p_predicted", "p predicted", "right"),
    ("score", "score", "right"),
)


def check_suspect_file(path: Path) -> None:
    """Refuse a name that does not end in one of SUSPECT_FILES.

    Raises:
        OptionError: the form is not known.
    """
    if path.suffix not in SUSPECT_FILES:
        raise OptionError(f"{path}: suspects are written as .csv, .parquet or .json: end the name in one of these.")


@dataclass(frozen=True, eq=False)
class Suspects:
    """The examples whose labels are most likely wrong, the most suspicious first.

    Attributes:
        table: a row for each, with the columns `index` (int64, position in the source), `id`, `given` (the name of the
            class that the label says), `score` (float32), and where known `predicted` (the name of the class that the
            network predicts), `p_given` and `p_predicted` (float32, the network's probabilities of these classes).
        score: the name of the score that ranks them.
        suspicious: "low" or "high": which values of the score are.
        n: how many examples were ranked.
        notes: what is missing in the table, and what would add it.
        meta: the identity of the data, and the parent of the table.
    """

    table: pa.Table
    score: str
    suspicious: str
    n: int
    notes: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        return f"Suspects({len(self)} of {self.n} examples, by {self.score})"

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas DataFrame."""
        return self.table.to_pandas()

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; an infinite score is None."""
        about = {"n": self.n, "score": self.score, "suspicious": self.suspicious, "notes": list(self.notes)}
        return {**about, "suspects": _rows(self.table)}

    def text(self, first: int = 10) -> str:
        """The first of them as a table for a terminal, and how to take them."""
        head = f"{len(self)} suspects among {self.n} examples, by {self.score} ({self.suspicious} = suspicious)"
        if len(self) > first:
            head += f"; the first {first}:"
        shown = [{key: _short(key, value) for key, value in row.items()} for row in _rows(self.table.slice(0, first))]
        columns = [column for column in _HEADINGS if column[0] in self.table.column_names]
        return "\n\n".join([f"{head}\n\n{text_table(shown, columns)}", _CAUTION, *self.notes])

    def write(self, path: str | Path) -> Path:
        """Write `path`, by the end of its name as UTF-8 CSV, Parquet (with a JSON file beside it) or JSON.

        Raises:
            OptionError: another ending.
        """
        path = Path(path)
        check_suspect_file(path)
        if path.suffix == ".parquet":
            about = {"score": self.score, "suspicious": self.suspicious, **self.meta}
            write_parquet(path, self.table, {**about, "format": "datadiet.suspects", "version": 1})
        elif path.suffix == ".json":
            write_json(path, self.as_dict())
        else:
            atomic_write(path, lambda temporary: csv.write_csv(self.table, os.fspath(temporary)))
        return path


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return [{key: _finite(value) for key, value in row.items()} for row in table.to_pylist()]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(key: str, value: Any) -> Any:
    """A value for a cell; positions without thousands separators, since they are to be looked up."""
    if isinstance(value, (str, int)):
        return one_line(value)
    return f"{value:.3f}" if value is not None and key != "score" else value
