"""Runs that hold vectors: their examples, and the network that made them. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data.identity import check_identity
from datadiet.errors import DataError, OptionError
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_manifest, without_scores
from datadiet.table import Scores
from datadiet.table.examples import as_ids, positions_of

__all__ = ["VectorRun"]

_BY = ("model", "weights", "encoder")  # the entries of a plan that say which network made the vectors


@dataclass(frozen=True)
class VectorRun:
    """A run with vectors.

    Attributes:
        path: the folder.
        plan: what determines it.
        examples: those whose vectors it holds.
    """

    path: Path
    plan: Mapping[str, Any]
    examples: Scores

    @classmethod
    def of(cls, given: Any) -> VectorRun | None:
        """The run that a path names; None for anything else.

        Raises:
            DataError: it is not finished.
        """
        if not isinstance(given, (str, Path)) or not Layout(Path(given)).is_run:
            return None
        path = Path(given)
        if not Layout(path).scores.exists():
            raise without_scores(path)
        return cls(path, read_manifest(path)["plan"], Scores.read(path))

    def rows_in(self, table: Scores) -> np.ndarray | None:
        """The rows at which it holds the examples of a table; None if they are the same in the same order.

        Raises:
            FingerprintMismatch: the table is of other data.
            DataError: some of its examples have no vector here.
        """
        here = self.examples.index
        if table.ids is not None and table.meta.get("data", {}).get("by_id"):
            ids = as_ids(self.examples.ids, here)
            return np.searchsorted(here, positions_of(table.ids, ids, here, "the table to select from"))
        check_identity(table.meta.get("data", {}), self.examples.meta.get("data", {}), "the table to select from")
        if np.array_equal(here, table.index):
            return None
        rows = np.searchsorted(here, table.index)
        if (rows == len(here)).any() or (here[rows] != table.index).any():
            raise DataError(
                f"{self.path} has vectors of {len(here)} examples, not of all {len(table)} to select from: embed all "
                "of the data that was scored."
            )
        return rows

    def check_network(self, other: VectorRun, name: str) -> None:
        """Refuse vectors of another network, which cannot be compared with these.

        Raises:
            OptionError: both runs say which network made them, and they differ.
        """
        for key in _BY:
            ours, theirs = self.plan.get(key), other.plan.get(key)
            if ours is not None and theirs is not None and ours != theirs:
                raise OptionError(
                    f"{name}={other.path} was embedded with {key} {theirs}, but {self.path} with {key} {ours}: embed "
                    "both in the same way."
                )
