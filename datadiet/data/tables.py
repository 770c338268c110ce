"""Read Parquet, JSON lines and CSV files, one or many, into one Arrow table."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from datadiet.errors import DataError
from datadiet.files.tables import parquet_table, read_csv, read_json_lines

__all__ = ["FORMATS", "Folders", "matching_files", "read_tables"]

Folders = list[tuple[int, Path]]
"""(first row, folder of the file it comes from), ascending: relative paths in a row are relative to that folder."""


def read_tables(scheme: str, pattern: str) -> tuple[pa.Table, Folders]:
    """The rows of all files that match, in sorted order of their paths.

    Args:
        scheme: "parquet", "jsonl" or "csv"; the last two may be compressed (.gz). If the first line of a CSV file holds
            values, not names, its columns are f0, f1, …
        pattern: a path or a glob; ** crosses folders.

    Raises:
        DataError: nothing matches, a file is damaged or of another format, or the columns of the files differ.
    """
    tables, folders, row = [], [], 0
    for path in matching_files(pattern):
        tables.append(FORMATS[scheme](path))
        folders.append((row, path.parent))
        row += tables[-1].num_rows
    if len(tables) == 1:
        return tables[0], folders
    try:
        return pa.concat_tables(tables, promote_options="default"), folders
    except pa.ArrowException as error:
        raise DataError(
            f"the files of {pattern} do not have the same columns ({_sentence(error)}): open them separately."
        ) from error


def matching_files(pattern: str) -> list[Path]:
    """The files that a path or glob names, sorted; DataError if there are none."""
    if os.path.isfile(pattern):  # unlike Path.is_file(), also False for a name that is too long
        return [Path(pattern)]
    if os.path.isdir(pattern):
        raise DataError(f"{pattern} is a folder: name its files, for example {pattern.rstrip('/')}/*.")
    found = [Path(match) for match in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(match)]
    if not found:
        raise DataError(f"no file matches {pattern}: check the path.")
    return found


def _csv(path: Path) -> pa.Table:
    table = read_csv(path)
    return read_csv(path, header=False) if _are_values(table.column_names) else table


def _are_values(names: list[str]) -> bool:
    """Whether a first line is data: it holds numbers other than 0, 1, 2, …, pandas' default column names."""
    numbers = [name.strip() for name in names if _is_number(name)]
    running = numbers == [str(i) for i in range(len(numbers))]
    return bool(numbers) and not (running and (len(numbers) > 1 or len(names) == 1))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return any(map(str.isdigit, text))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


FORMATS: dict[str, Callable[[Path], pa.Table]] = {"parquet": parquet_table, "jsonl": read_json_lines, "csv": _csv}
