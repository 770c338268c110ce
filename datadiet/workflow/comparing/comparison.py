"""A comparison of ways to choose data: rows of methods over seeds, in two tables that are never mixed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.report.tables import Percent, text_table

__all__ = ["COLUMNS", "Comparison", "Row", "table_rows"]


@dataclass(frozen=True)
class Row:
    """One line of a table: a method at a kept share, over several seeds.

    Attributes:
        method: its name.
        keep: percent of the examples seen per epoch.
        accuracy: held-out accuracy of each seed, after the last step.
        steps: optimizer steps of one training run.
        seconds: training time of one seed, mean.
        scored: whether it needs the scores, whose cost is in `Comparison.scoring_seconds`.
    """

    method: str
    keep: int
    accuracy: tuple[float, ...]
    steps: int
    seconds: float
    scored: bool

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(np.mean(self.accuracy))

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds."""
        return float(np.std(self.accuracy, ddof=1))


@dataclass(frozen=True)
class Comparison:
    """What the demo found.

    Attributes:
        equal: the table at equal steps, full data first.
        reduced: the table at reduced steps.
        scoring_seconds: recording and scoring, once for all budgets.
        seconds: the whole demo.
        page: the HTML page.
    """

    equal: list[Row]
    reduced: list[Row]
    scoring_seconds: float
    seconds: float
    page: Path

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        tables = {name: [vars(row) for row in getattr(self, name)] for name in ("equal", "reduced")}
        return {**tables, "scoring_seconds": self.scoring_seconds, "seconds": self.seconds, "page": str(self.page)}

    def text(self) -> str:
        """The tables, for a terminal."""
        parts = [
            f"Equal steps: every training run takes {self.equal[0].steps} steps",
            text_table(table_rows(self.equal, self.scoring_seconds), COLUMNS),
            "Reduced steps: in proportion to the kept share",
            text_table(table_rows(self.reduced, self.scoring_seconds), COLUMNS),
            "Held-out accuracy after the last step, mean ± standard deviation of "
            f"{len(self.equal[0].accuracy)} seeds, in {self.seconds:.0f} s.\nPage: {self.page}",
        ]
        return "\n\n".join(parts)


COLUMNS = [
    ("method", "method", "left"),
    ("keep", "kept", "right"),
    ("accuracy", "accuracy (%)", "right"),
    ("steps", "steps", "right"),
    ("train", "train (s)", "right"),
    ("score", "scoring (s)", "right"),
]


def table_rows(rows: list[Row], scoring_seconds: float) -> list[dict[str, Any]]:
    """Rows for `report.tables`."""
    return [
        {
            "method": row.method,
            "keep": f"{row.keep} %",
            "accuracy": Percent(row.mean, row.spread),
            "steps": row.steps,
            "train": f"{row.seconds:.1f}",
            "score": f"{scoring_seconds:.1f}" if row.scored else "0",
        }
        for row in rows
    ]
