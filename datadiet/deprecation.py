"""Renamed public names: the old one works, with a warning, for one minor version."""

from __future__ import annotations

import warnings

__all__ = ["renamed"]


def renamed(old: str, new: str, *, removed_in: str = "0.3") -> None:
    """Warn that a public name has changed.

    Args:
        old, new: the names as a user writes them.
        removed_in: the version that drops the old one.
    """
    warnings.warn(
        f"{old} is now {new}; the old name will be removed in datadiet {removed_in}.", FutureWarning, stacklevel=3
    )
