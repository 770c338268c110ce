"""export: the kept examples as a data set of their own, a preprocessing step for any training code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datadiet.data import files_read, open_data, write_examples
from datadiet.files.writing import refuse_own_input
from datadiet.table import Selection
from datadiet.workflow.fitting.schedules import placed_selection, rows_of

__all__ = ["export"]


def export(selection: Selection | str | Path, dataset: Any, to: str, path: str | Path, overwrite: bool = False) -> Path:
    """Write the examples that a selection keeps, in the order of the data set.

    Args:
        selection: a Selection, its file, or a text file of ids (.txt), one per line.
        dataset: the data it was selected from: a spec, a data set, or a `Source`.
        to: "parquet", "jsonl", "imagefolder", "hf" (a folder for `datasets.load_from_disk`), "indices" or "ids".
        path: the file or folder to write; it appears only when it is complete.
        overwrite: replace what is there.

    Returns:
        The path.

    Raises:
        FingerprintMismatch: the selection belongs to another data set.
        OptionError: an unknown form, or a path that already holds something, or that is the data or the selection.
        DataError: an example that cannot be read or written in this form, or an id that the data lacks.
    """
    read = {Path(selection).resolve()} if isinstance(selection, (str, Path)) else set()
    source = open_data(dataset)
    refuse_own_input(Path(path), read | files_read(source))
    return write_examples(source, rows_of(placed_selection(selection, source).indices, source), to, path, overwrite)
