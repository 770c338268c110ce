"""What a comparison with a peer consists of, and the measures of agreement."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

__all__ = [
    "Arrays",
    "Case",
    "Peer",
    "checkout",
    "function",
    "member",
    "overlap",
    "rank_correlation",
    "relative_difference",
    "same_order",
    "script",
]

Arrays = Mapping[str, np.ndarray]
PEERS = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One method, computed twice from the same arrays.

    Attributes:
        method: its name in datadiet.
        what: what was computed, for the table.
        n: how many examples.
        arrays: n -> the input of both sides.
        ours, theirs: the input -> named results. They import what they need themselves, since each runs in an
            environment of its own.
        agreement: (input, our results, their results) -> measure -> value.
        expected: measure -> the least and the largest value that it should have, also where the two differ.
        why: if they differ, the reason.
    """

    method: str
    what: str
    n: int
    arrays: Callable[[int], Arrays]
    ours: Callable[[Arrays], Arrays]
    theirs: Callable[[Arrays], Arrays]
    agreement: Callable[[Arrays, Arrays, Arrays], Mapping[str, float]]
    expected: Mapping[str, tuple[float, float]]
    why: str = ""


@dataclass(frozen=True)
class Peer:
    """A package that pip installs, or a public repository.

    Attributes:
        name: of the package or the repository, for the table.
        cases: what is compared.
        install: requirements, with versions, for pip.
        repository: "owner/name" on GitHub if it is run from a checkout, which is then given by `--checkout`.
    """

    name: str
    cases: tuple[Case, ...]
    install: tuple[str, ...] = ()
    repository: str = ""


def checkout() -> Path:
    """Where the peer's repository is, for `theirs`."""
    return Path(os.environ["CONFORMANCE_CHECKOUT"])


def script(path: str, *arguments: str) -> Any:
    """A file of the peer's repository as a module, with what it expects on its command line."""
    file = checkout() / path
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(f"peer_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    given, sys.argv = sys.argv, [str(file), *arguments]
    try:
        spec.loader.exec_module(module)
    finally:
        sys.argv = given
    return module


def member(path: str, **stand_ins: Mapping[str, Any]) -> Any:
    """A file of a package of the peer's repository as a module, without running the package's `__init__`.

    Args:
        path: of the file.
        stand_ins: a module of the package that is not needed -> the names in it that have to be there.
    """
    file = checkout() / path
    package = ModuleType(f"peer_{file.parent.name}")
    package.__path__ = [str(file.parent)]
    sys.modules[package.__name__] = package
    for name, content in stand_ins.items():
        sys.modules[f"{package.__name__}.{name}"] = stand_in = ModuleType(name)
        vars(stand_in).update(content)
    return importlib.import_module(f"{package.__name__}.{file.stem}")


def function(path: str, name: str, **names: Any) -> Any:
    """One function of a script of the peer's repository that does its work when it is loaded.

    Args:
        path: of the file.
        name: of the function.
        names: what it finds in its module.
    """
    file = checkout() / path
    body = [node for node in ast.parse(file.read_text()).body if getattr(node, "name", None) == name]
    exec(compile(ast.Module(body, []), str(file), "exec"), names)
    return names[name]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, with mean ranks for ties."""
    ranks = [_ranks(np.asarray(x)) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, as a share of the largest value of b."""
    return float(np.abs(np.asarray(a, dtype=float) - b).max() / np.abs(b).max())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The share of a's elements that b has too."""
    return float(np.isin(a, b).mean())


def same_order(a: np.ndarray, b: np.ndarray) -> float:
    """The share of equal places before the first difference."""
    differ = np.flatnonzero(np.asarray(a) != b)
    return float(differ[0] / len(a)) if len(differ) else 1.0
