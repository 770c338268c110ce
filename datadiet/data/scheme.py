"""The kind of data that a spec names: `scheme:rest`, or a guess for a bare path. No torch."""

from __future__ import annotations

import glob
import os
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from datadiet.errors import OptionError, unknown_name
from datadiet.runtime.layout import Layout

__all__ = [
    "DATA_SCHEMES",
    "IMAGE_SUFFIXES",
    "files_of",
    "held_out_share",
    "image_files",
    "is_saved_dataset",
    "resolve_spec",
]

DATA_SCHEMES = {
    "digits": "1,797 images of 8x8 handwritten digits, bundled, with a fixed train/eval split",
    "parquet:GLOB": "Parquet files; images as encoded bytes, Hugging Face image structs or arrays",
    "jsonl:GLOB": "JSON lines, also .gz",
    "csv:GLOB": "comma-separated values, also .gz; image paths or numeric columns",
    "npz:FILE": "numpy arrays",
    "imagefolder:DIR": "one folder per class",
    "hf:NAME": "a Hugging Face data set: a saved folder, or a name on the hub",
    "torchvision:CLASS": "a torchvision data set (extra: vision)",
    "run:RUN": "the vectors of a run of datadiet embed, with their labels",
    "py:MODULE:ATTR": "your own map-style data set, or a function that returns one",
}

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".png",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".jfif",
        ".avif",
    }
)

# At least two letters, so that C:\data is a path.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_]+):(.*)", re.DOTALL)

_NAMES = tuple(name.partition(":")[0] for name in DATA_SCHEMES if ":" in name)

_SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv", ".npz": "npz"}


def resolve_spec(spec: str) -> tuple[str, str]:
    """The scheme and rest of a data spec; the scheme of a bare existing path is guessed.

    Raises:
        OptionError: the scheme is unknown, or there is no scheme and no such path.

    >>> resolve_spec("parquet:data/*.parquet")
    ('parquet', 'data/*.parquet')
    """
    if spec == "digits":
        return "digits", ""
    match = _SCHEME.fullmatch(spec)
    if match:
        scheme, rest = match.groups()
        if scheme not in _NAMES:
            raise unknown_name("data scheme", scheme, _NAMES)
        return scheme, rest
    path = Path(spec)
    if os.path.isdir(path):  # unlike path.is_dir(), also False for a name that is too long
        return _folder_scheme(path), spec
    scheme = _file_scheme(path)
    if os.path.isfile(path) and scheme:
        return scheme, spec
    forms = [f"{scheme}:{spec}"] if scheme else [f"hf:{spec}", f"torchvision:{spec}", f"imagefolder:{spec}"]
    if spec.partition(":")[0].endswith(".py"):
        forms = [f"py:{spec}"]
    what = (
        "is a file of a kind that cannot be guessed"
        if os.path.isfile(path)
        else "is neither digits nor an existing path"
    )
    raise OptionError(f"{spec!r} {what}: say what it is, for example {' or '.join(forms)}.")


def _folder_scheme(path: Path) -> str:
    if is_saved_dataset(path):
        return "hf"
    if Layout(path).is_run:
        if Layout(path).vector_folders():
            return "run"
        raise OptionError(f"{path} is a run without vectors, not data: name the data it was made from.")
    if image_files(path):
        return "imagefolder"
    found = sorted({scheme for entry in path.iterdir() if (scheme := _file_scheme(entry))})
    forms = [f"{scheme}:{path}/*.{scheme}" for scheme in found] or [f"parquet:{path}/*.parquet", f"hf:{path}"]
    raise OptionError(f"{path} is a folder without images: say what to open, for example {' or '.join(forms)}.")


def _file_scheme(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    return next((scheme for suffix, scheme in _SUFFIXES.items() if name.endswith(suffix)), None)


def held_out_share(given: Any, option: str = "eval") -> float | None:
    """The share of the data that eval="10%" or eval=0.1 splits off; None if it names data.

    Args:
        given: the value of the option.
        option: its name: eval or reference.

    Raises:
        OptionError: it looks like a share but is not between 0% and 100%.
    """
    if not isinstance(given, float) and not (isinstance(given, str) and given.strip().endswith("%")):
        return None
    try:
        share = float(Decimal(given.strip().removesuffix("%")) / 100) if isinstance(given, str) else given
    except InvalidOperation:
        share = 0.0
    if not 0 < share < 1:
        raise OptionError(f"{option}={given!r}: split off a share between 0% and 100%, or name data.")
    return share


def image_files(root: Path) -> list[str]:
    """The images below a folder as relative POSIX paths, sorted."""
    found, seen = [], {os.path.realpath(root)}
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and _is_new(Path(folder) / name, seen)]
        names = [name for name in files if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in names]
    return sorted(found)


def _is_new(folder: Path, seen: set[str]) -> bool:
    """Whether a folder was not walked yet; a link may lead back to where it is."""
    place = os.path.realpath(folder)
    new = place not in seen
    seen.add(place)
    return new


def files_of(name: str) -> set[Path]:
    """The files and folders that a path, a run folder or a data spec with a glob may mean, with links resolved."""
    rest = re.sub(r"^[A-Za-z]\w+:", "", name)
    found = {*glob.glob(rest, recursive=True), name, rest} - {""}
    return {path.resolve() for one in found for path in (Path(one), Layout(Path(one)).scores) if path.exists()}


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any(os.path.isfile(path / name) for name in ("state.json", "dataset_dict.json"))
