"""Which libraries are here, in which versions, whether they can be imported, and what a missing one is for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datadiet.errors import one_line

__all__ = ["CORE", "EXTRAS", "Extra", "import_problems", "is_installed", "version_of", "without_paths"]

_PATIENCE = 180.0  # seconds for one process of imports
_LONGEST = 160  # characters of a problem
_FOLDERS = re.compile(r"(?:\b[A-Za-z]:)?(?:[\\/][^\\/\s'\":;,()\[\]]+)+(?=[\\/])")

# Each import is reported before and after it, so that one that ends or hangs the process is known too.
_TRIAL = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
report, sys.path[:], modules = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
for module in modules:
    try:
        importlib.import_module(module)
        problem = ""
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    with open(report, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps([module, problem]) + "\\n")
"""

CORE: Mapping[str, str] = {
    "torch": "torch", "numpy": "numpy", "pandas": "pandas", "pyarrow": "pyarrow", "scikit-learn": "sklearn",
    "scipy": "scipy", "datasets": "datasets", "safetensors": "safetensors", "pillow": "PIL", "click": "click",
    "rich": "rich", "tqdm": "tqdm", "pyyaml": "yaml", "fsspec": "fsspec", "jinja2": "jinja2",
    "markupsafe": "markupsafe",
}  # fmt: skip
"""The libraries that datadiet always needs, and the modules that they are imported by."""


@dataclass(frozen=True)
class Extra:
    """Optional libraries that are installed together.

    Attributes:
        purpose: what they are for.
        modules: library -> the module that it is imported by.
    """

    purpose: str
    modules: Mapping[str, str]


EXTRAS: Mapping[str, Extra] = {
    "vision": Extra("torchvision's data sets and models", {"torchvision": "torchvision"}),
    "timm": Extra("timm's models and encoders", {"timm": "timm"}),
    "text": Extra(
        "embedding texts",
        {"transformers": "transformers", "sentence-transformers": "sentence_transformers", "model2vec": "model2vec"},
    ),
    "accelerate": Extra("training loops under Accelerate", {"accelerate": "accelerate"}),
    "transformers": Extra("the Hugging Face Trainer", {"transformers": "transformers", "accelerate": "accelerate"}),
    "lightning": Extra("the Lightning callback", {"lightning": "lightning.pytorch"}),
    "prune": Extra("removing channels (channels:S)", {"torch-pruning": "torch_pruning"}),
    "stateful": Extra("torchdata's StatefulDataLoader", {"torchdata": "torchdata"}),
    "tensorboard": Extra("logs for TensorBoard", {"tensorboard": "tensorboard"}),
    "wandb": Extra("logs for Weights & Biases", {"wandb": "wandb"}),
    "ray": Extra("many GPUs or machines", {"ray": "ray"}),
    "faiss": Extra("nearest neighbours by faiss", {"faiss-cpu": "faiss"}),
}
"""The extras of datadiet; faiss-gpu has the same module as faiss-cpu."""

_OTHERS = {"faiss-cpu": ("faiss-gpu",)}


def version_of(library: str) -> str:
    """The installed version of a library, "" if none is."""
    for name in (library, *_OTHERS.get(library, ())):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def is_installed(library: str, module: str) -> bool:
    """Whether a library is there, which does not say that it can be imported. Nothing is imported for this."""
    try:
        return bool(version_of(library)) or importlib.util.find_spec(module.partition(".")[0]) is not None
    except ValueError:  # a module without a spec
        return module.partition(".")[0] in sys.modules


def import_problems(modules: Iterable[str]) -> dict[str, str]:
    """Module -> why it cannot be imported, in a line without folders, "" if it can.

    They are imported in processes of their own: a broken library may end or hang one.
    """
    left, found = list(dict.fromkeys(modules)), dict[str, str]()
    while left:
        tried, ended, late = _tried(left)
        found |= tried
        left = [module for module in left if module not in tried]
        if left and not (late and tried):  # the first was being imported; if only the time is up, it gets all of it
            found[left.pop(0)] = f"importing it {ended}"
    return {module: without_paths(problem) for module, problem in found.items()}


def _tried(modules: Sequence[str]) -> tuple[dict[str, str], str, bool]:
    """What one process reports, how it ended, and whether its time was up."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        command = [sys.executable, "-c", _TRIAL, str(report), json.dumps(sys.path), *modules]
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE, check=False
            )
            ended, late = f"ends the process (code {done.returncode})", False
        except subprocess.TimeoutExpired:
            ended, late = f"does not end within {_PATIENCE:g} s", True
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    return dict(map(json.loads, lines)), ended, late


def without_paths(text: str) -> str:
    """A text in one line, without the folders of paths, which may hold the names of people.

    >>> without_paths("/home/me/env/lib/libcudart.so.12: cannot open shared object file")
    '…/libcudart.so.12: cannot open shared object file'
    """
    home = os.path.expanduser("~")
    return one_line(_FOLDERS.sub("…", text.replace(home, "/~") if len(home) > 1 else text), _LONGEST)
