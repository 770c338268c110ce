"""The vectors of a run as data: what `datadiet embed` made, with the labels and ids of its examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datadiet.data.decode import as_batch
from datadiet.data.ids import distinct_ids
from datadiet.data.labels import encode_labels
from datadiet.data.rows import Dense
from datadiet.data.source import Source, make_source
from datadiet.files import read_parquet
from datadiet.runtime.layout import Layout
from datadiet.runtime.vectors import open_vectors

__all__ = ["open_run"]


def open_run(rest: str, *, on_error: str = "raise") -> Source:
    """Open the run of `datadiet embed` in a folder.

    Args:
        rest: the folder.
        on_error: see `open_data`.

    Returns:
        A source of vectors (d,) float32.

    Raises:
        DataError: it holds no vectors, or is not finished.
    """
    vectors = np.asarray(open_vectors(rest), dtype=np.float32)
    table, meta = read_parquet(Layout(Path(rest)).scores)
    ids = distinct_ids(table["id"], f"the column 'id' of {rest}")
    labels = None
    if "label" in table.column_names:
        names = tuple((meta or {}).get("class_names", ()))
        labels = encode_labels(table["label"], ids, names=names or None)
    return make_source(f"run:{rest}", Dense(as_batch(vectors)), ids=ids, labels=labels, on_error=on_error)
