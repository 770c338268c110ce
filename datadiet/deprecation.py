"""Renamed public names: the old one works, with a warning, for one minor version."""

from __future__ import annotations

import warnings

__all__ = ["renamed"]

_REMOVED_IN = "0.3"


def renamed(old: str, new: str) -> None:
    """Warn that a public name has changed.

    Args:
        old, new: the names as a user writes them.
    """
    warnings.warn(
        f"{old} is now {new}; the old name will be removed in datadiet {_REMOVED_IN}.", FutureWarning, stacklevel=3
    )
