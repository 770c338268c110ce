"""The methods of a package: the specs in the files of its imported functions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["specs_in"]

S = TypeVar("S")


def specs_in(package: str, kind: type[S], names: Mapping[str, Any]) -> dict[str, S]:
    """name -> spec, sorted: every spec in those files of the package that the imported names come from.

    So a registry needs one import line per method, and nothing else.

    Args:
        package: such as "datadiet.scorers".
        kind: the class of the specs, which have a `name`.
        names: what the package has imported, in order.
    """
    files = dict.fromkeys(getattr(value, "__module__", "") for value in names.values() if callable(value))
    methods = [sys.modules[file] for file in files if file.startswith(f"{package}.")]
    found = [value for file in methods for value in vars(file).values() if isinstance(value, kind)]
    return {spec.name: spec for spec in sorted(found, key=lambda spec: spec.name)}  # type: ignore[attr-defined]
