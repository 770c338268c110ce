"""A folder of images, one sub-folder per class."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from datadiet.data.blobs import Files
from datadiet.data.labels import encode_labels
from datadiet.data.paths import CLASS_NAMES, is_utf8
from datadiet.data.rows import Encoded
from datadiet.data.scheme import IMAGE_SUFFIXES, image_files
from datadiet.data.source import Source, make_source
from datadiet.errors import DataError, OptionError
from datadiet.files.opening import json_of, read_text

__all__ = ["open_folder"]


def open_folder(rest: str, *, split: str | None = None, on_error: str = "raise") -> Source:
    """Open a folder of images.

    Args:
        rest: the folder. Each folder in it is a class, with images at any depth; or all images lie directly in it and
            have no labels. Files and folders whose names begin with a dot are ignored. If it holds the file that
            `write_examples` leaves where a class name cannot name a folder, the classes have their names in it.
        split: the folder in it to open instead, such as "train" or "val".
        on_error: see `open_data`.

    Returns:
        A source whose ids are the paths relative to the opened folder.

    Raises:
        DataError: there are no images, or some have a class and others none.
        OptionError: there is no such split.
    """
    root = Path(rest)
    if not os.path.isdir(root):
        raise DataError(f"{rest} is not a folder: give the path of one with a folder of images for each class.")
    if split is not None:
        root = root / split
        if not os.path.isdir(root):
            there = ", ".join(sorted(entry.name for entry in Path(rest).iterdir() if entry.is_dir()))
            raise OptionError(f"{rest} has no folder {split!r} for the split: it holds {there or 'no folders'}.")
    found = image_files(root)
    if not found:
        raise DataError(f"{root} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): give a folder of images.")
    bad = [path for path in found if not is_utf8(path)]
    if bad:
        raise DataError(f"{os.fsencode(bad[0])!r} is not a name in UTF-8: rename that file or folder.")
    paths = pa.array(found)
    classes = [path.partition("/")[0] if "/" in path else None for path in found]
    if classes[0] is None and not any(classes):
        labels = None
    elif None in classes:
        stray = found[classes.index(None)]
        raise DataError(f"{root / stray} lies beside the class folders: move it into one.")
    else:
        names = _class_names(root)
        labels = encode_labels([names.get(str(folder), folder) for folder in classes], paths)
    return make_source(f"imagefolder:{rest}", Encoded(Files(root, paths)), ids=paths, labels=labels, on_error=on_error)


def _class_names(root: Path) -> dict[str, str]:
    """Folder -> class name, for the classes whose names cannot name a folder."""
    file = root / CLASS_NAMES
    if not file.is_file():
        return {}
    found = json_of(read_text(file))
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise DataError(f"{file} does not map folders to class names: export the data again, or remove the file.")
    return found
