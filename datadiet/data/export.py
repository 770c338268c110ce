"""Write chosen examples of a source to disk, in a form that other programs read."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from datadiet.data.columns import LABEL_NAMES
from datadiet.data.decode import SUFFIX_OF_FORMAT, read_header
from datadiet.data.ids import write_id_lines
from datadiet.data.labels import names_in_schema, refuse_unlabelled
from datadiet.data.paths import CLASS_NAMES, safe_name
from datadiet.data.rows import Encoded
from datadiet.data.scheme import IMAGE_SUFFIXES, files_of
from datadiet.data.table_rows import holds_images, image_bytes
from datadiet.errors import DataError, OptionError, require, unknown_name
from datadiet.files import digest, write_json
from datadiet.files.writing import appearing, save_array

if TYPE_CHECKING:
    from datadiet.data.source import Source

__all__ = ["EXPORT_FORMS", "files_read", "write_examples"]

EXPORT_FORMS = {
    "parquet": "one Parquet file with the columns of the source",
    "jsonl": "one JSON object per line",
    "imagefolder": "one folder per class, image files unchanged",
    "hf": "a folder for datasets.load_from_disk",
    "indices": "positions, .npy or one per line",
    "ids": "one id per line",
}

_ROWS_AT_ONCE = 4096


def write_examples(source: Source, positions: np.ndarray, to: str, path: str | Path, overwrite: bool = False) -> Path:
    """Write the examples at `positions`, in ascending order.

    A source that comes from a table keeps its columns and gains none. Any other source is written with `image` (an
    image file's bytes; arrays become PNG) or `x` (lists of numbers), `label` and `id`.

    Args:
        source: the source of the examples.
        positions: (k,) distinct integers within the source, in any order.
        to: "parquet"; "jsonl" (.gz compresses); "imagefolder": class/id.suffix, image files unchanged,
            and class_names.json where the system does not allow a class name as the name of a folder; "hf": a folder
            that `datasets.load_from_disk` reads; "indices": positions in the opened data, `.npy` of int64 or one per
            line; "ids": one id per line.
        path: the file or folder to write; it appears only when it is complete.
        overwrite: replace what is there.

    Returns:
        The path.

    Raises:
        OptionError: `to` is unknown, positions repeat or lie outside the source, or `path` already holds something.
        DataError: an example cannot be read, or cannot be written in this form.
    """
    if to not in EXPORT_FORMS:
        raise unknown_name("form to export to", to, EXPORT_FORMS)
    chosen = np.sort(np.asarray(positions))
    if len(chosen) == 0:
        raise OptionError("there is nothing to export: give at least one position.")
    if len(np.unique(chosen)) < len(chosen):
        raise OptionError("a position to export is given twice: give each position once.")
    part = source.subset(chosen)
    if _joins(source.spec, to, Path(path)):
        raise OptionError(f"{path} would become a part of {source.spec}: name a place outside of it.")
    with appearing(Path(path), overwrite) as temporary:
        try:
            _WRITERS[to](part, temporary, Path(path).name)
        except DataError:
            if isinstance(part.inputs.rows, Encoded):
                part.inputs.refuse_faults(part.index)
            raise
    return Path(path)


def _joins(spec: str, to: str, path: Path) -> bool:
    """Whether what is written there would be read as data of this spec."""
    scheme, _, rest = spec.partition(":")
    if scheme != to:
        return False
    if os.path.isdir(rest):
        return Path(rest).resolve() in path.resolve().parents
    return fnmatch(os.path.abspath(path), os.path.abspath(rest))


def files_read(source: Source) -> set[Path]:
    """The files that a source reads, and the folders of those that its rows name, with links resolved."""
    found = files_of(source.spec) if ":" in source.spec else set()
    file = getattr(source.inputs.rows, "file", None)
    named = filter(None, map(file, source.index.tolist())) if file else ()
    return found | {Path(folder).resolve() for folder in {os.path.dirname(path) for path in named}}


def _parquet(part: Source, path: Path, name: str) -> None:
    writer = None
    try:
        for table in _tables(part):
            writer = writer or pa.parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _jsonl(part: Source, path: Path, name: str) -> None:
    with _lines(path, packed=name.endswith(".gz")) as file:
        for start in range(0, len(part), _ROWS_AT_ONCE):
            rows = part.subset(np.arange(start, min(start + _ROWS_AT_ONCE, len(part))))
            for row in _plain_rows(rows):
                file.write(json.dumps(_without_nan(row), ensure_ascii=False, default=str, allow_nan=False) + "\n")


@contextmanager
def _lines(path: Path, packed: bool) -> Iterator[IO[str]]:
    """A text file to write, whose bytes depend on the text alone."""
    with path.open("wb") as file, ExitStack() as stack:
        into = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0)) if packed else file
        yield stack.enter_context(io.TextIOWrapper(into, encoding="utf-8", newline="\n"))


def _without_nan(value: Any) -> Any:
    """A JSON value with null for NaN, which JSON lacks.

    Raises:
        DataError: an infinite number, which has no such replacement.
    """
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    if isinstance(value, float) and math.isinf(value):
        raise DataError("JSON has no infinite numbers, and this data holds one: export it as parquet.")
    return None if isinstance(value, float) and math.isnan(value) else value


def _imagefolder(part: Source, path: Path, name: str) -> None:
    if not holds_images(part):
        raise DataError(f"{part.spec} holds no images: export it as parquet or jsonl.")
    if part.labels is not None:
        refuse_unlabelled(part.labels, part.ids, part.spec)
    path.mkdir(parents=True)
    folders = _class_folders(part, path)
    for position in range(len(part)):
        blob = image_bytes(part, position)
        label = None if part.labels is None else part.class_names[int(part.labels[position])]
        target = path / _image_path(part.ids[position].as_py(), label, folders, blob)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.write(blob)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise DataError(
                f"{part.ids[position].as_py()!r} would be written to {target.relative_to(path)}, where another example "
                "is, or below it: give the examples ids that differ as paths."
            ) from error


def _class_folders(part: Source, path: Path) -> dict[str, str]:
    """Class name -> folder: the name itself where the system allows it; other names are written down beside them."""
    names = [] if part.labels is None else [part.class_names[c] for c in np.unique(part.labels).tolist()]
    as_filed = str.casefold if _ignores_case(path) else str
    folders: dict[str, str] = {}
    taken = {as_filed(CLASS_NAMES)}
    for name in sorted(names, key=lambda name: safe_name(name) != name):  # first those that can stay as they are
        folder = safe_name(name)
        while as_filed(folder) in taken:
            folder = f"{folder}-{digest([name, folder])[:8]}"
        taken.add(as_filed(folder))
        folders[name] = folder
    changed = {folder: name for name, folder in folders.items() if folder != name}
    if changed:
        write_json(path / CLASS_NAMES, changed)
    return folders


def _ignores_case(folder: Path) -> bool:
    """Whether the file system takes names that differ only in case for one."""
    probe = folder / ".Case"
    probe.touch()
    found = (folder / ".cASE").exists()
    probe.unlink()
    return found


def _hf(part: Source, path: Path, name: str) -> None:
    datasets = require("datasets", "all")
    table = part.rows(np.arange(len(part)))
    label = next((column for column in LABEL_NAMES if column in table.column_names), "")
    names = names_in_schema(table.schema, label)
    if names == part.class_names and pa.types.is_integer(table.schema.field(label).type):
        # datasets drops metadata other than its own, and with it class names under another key.
        features = datasets.Features.from_arrow_schema(table.schema)
        features[label] = datasets.ClassLabel(names=list(names))
        table = table.cast(features.arrow_schema)
    datasets.Dataset(datasets.table.InMemoryTable(table)).save_to_disk(str(path))


def _indices(part: Source, path: Path, name: str) -> None:
    if name.endswith(".npy"):
        save_array(path, part.index)
    else:
        path.write_text("".join(f"{i}\n" for i in part.index.tolist()), encoding="utf-8")


def _ids(part: Source, path: Path, name: str) -> None:
    write_id_lines(path, part.ids)


_WRITERS: dict[str, Callable[[Source, Path, str], None]] = {
    "parquet": _parquet,
    "jsonl": _jsonl,
    "imagefolder": _imagefolder,
    "hf": _hf,
    "indices": _indices,
    "ids": _ids,
}


def _tables(part: Source) -> Iterator[pa.Table]:
    """The rows, a few thousand at a time, so that not all images are in memory twice."""
    for start in range(0, len(part), _ROWS_AT_ONCE):
        yield part.rows(np.arange(start, min(start + _ROWS_AT_ONCE, len(part))))


def _plain_rows(part: Source) -> list[dict[str, Any]]:
    table = part.rows(np.arange(len(part)))
    for field in table.schema:
        if "binary" in str(field.type):
            raise DataError(f"jsonl cannot hold the bytes of the column {field.name!r}: export it as parquet.")
    rows: list[dict[str, Any]] = table.to_pylist()
    if part.origin is None and part.labels is not None:
        # Unlike a table with metadata, a line can give the class only by its name.
        numbers = all(name.removeprefix("-").isdigit() and str(int(name)) == name for name in part.class_names)
        names = list(map(int, part.class_names)) if numbers else list(part.class_names)
        for row in rows:
            row["label"] = names[row["label"]]
    return rows


def _image_path(id: str, label: str | None, folders: Mapping[str, str], blob: bytes) -> Path:
    """class/id.suffix; an id that already is such a path stays as it is."""
    parts = id.split("/")
    if label is not None and len(parts) > 1 and parts[0] in (label, folders[label]):
        parts = parts[1:]
    stem, dot, suffix = parts[-1].rpartition(".")
    if dot and stem and f".{suffix.lower()}" in IMAGE_SUFFIXES:
        ending = f".{suffix}"
        parts[-1] = stem
    else:
        ending = SUFFIX_OF_FORMAT.get(read_header(blob)[0], ".png")
    parts[-1] = parts[-1] or id
    folder = [] if label is None else [folders[label]]
    return Path(*folder, *map(safe_name, parts[:-1]), safe_name(parts[-1]) + ending)
