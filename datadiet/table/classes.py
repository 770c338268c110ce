"""How many examples of each class a selection keeps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datadiet.errors import one_line, some_of

__all__ = ["ClassCounts"]

_log = logging.getLogger("datadiet")
_LISTED, _STORED = 12, 10_000  # classes in a line of text, and in a file


@dataclass(frozen=True)
class ClassCounts:
    """Examples per class, before and after selecting.

    Attributes:
        names: of the C classes that occur.
        before, after: C counts.
    """

    names: tuple[str, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, labels: np.ndarray, kept: np.ndarray, names: Sequence[str] = ()) -> ClassCounts:
        """Count.

        Args:
            labels: (n,) class numbers; negative ones, the unlabelled, are left out.
            kept: (k,) rows that are kept.
            names: class number -> name; numbers without one are their own names.
        """
        rows = labels[kept]
        classes, before = _counted(labels[labels >= 0])
        after = np.zeros(len(classes), dtype=np.int64)
        chosen, counts = _counted(rows[rows >= 0])
        after[np.searchsorted(classes, chosen)] = counts
        named = [names[c] if c < len(names) else str(c) for c in classes.tolist()]
        return cls(tuple(named), tuple(before.tolist()), tuple(after.tolist()))

    @classmethod
    def read(cls, found: Any) -> ClassCounts | None:
        """The counts in a description; None if it has none."""
        if not isinstance(found, dict) or set(found) != {"names", "before", "after"}:
            return None
        counts = cls(tuple(found["names"]), tuple(found["before"]), tuple(found["after"]))
        return counts if len(counts.names) == len(counts.before) == len(counts.after) else None

    def as_dict(self) -> dict[str, Any] | None:
        """As JSON values; None for very many classes."""
        return None if len(self.names) > _STORED else {key: list(value) for key, value in vars(self).items()}

    def shares(self) -> dict[str, str]:
        """Class -> how many of its examples are kept, as text."""
        parts = zip(self.names, self.before, self.after, strict=True)
        return {name: f"{after} of {before}" for name, before, after in parts}

    @property
    def vanished(self) -> list[str]:
        """The classes that keep nothing."""
        return [name for name, count in zip(self.names, self.after, strict=True) if not count]

    def warn(self, advice: str) -> None:
        """A note that names the classes that keep nothing, if there are any."""
        lost = self.vanished
        if lost:
            shown = some_of(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            keep = "keeps" if len(lost) == 1 else "keep"
            _log.warning("%d of %d classes %s nothing (%s): %s", len(lost), len(self.names), keep, shown, advice)

    def __str__(self) -> str:
        if len(self.names) <= _LISTED:
            parts = zip(self.names, self.before, self.after, strict=True)
            return "classes: " + ", ".join(f"{one_line(name)} {after}/{before}" for name, before, after in parts)
        shares = 100 * np.array(self.after) / np.array(self.before)
        return (
            f"classes: {len(self.names)}, which keep {shares.min():.3g} to {shares.max():.3g} % of their examples; "
            f"{len(self.vanished)} of them keep{'s' if len(self.vanished) == 1 else ''} nothing"
        )


def _counted(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct class numbers, ascending, and how often each occurs; without sorting where they are small."""
    if not len(labels) or int(labels.max()) >= 1 << 20:
        return np.unique(labels, return_counts=True)
    counts = np.bincount(labels)
    classes = np.flatnonzero(counts)
    return classes, counts[classes]
