"""A comparison of ways to choose data: rows of methods over seeds, in two tables that are never mixed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadiet.report.tables import Percent, text_table

__all__ = ["COMMANDS", "Comparison", "Row", "commands_text"]

COMMANDS = (
    (
        "Score every image, with a tenth held out",
        "datadiet score imagefolder:photos --model datadiet:cnn --scorer aum,el2n --eval 10% --out runs/photos",
    ),
    ("Keep 30 % of them", "datadiet select runs/photos --method ccs --keep 30% --out kept.parquet"),
    (
        "Train on the kept ones for as many steps as on all",
        "datadiet train imagefolder:photos --model datadiet:cnn --selection kept.parquet --eval 10% \\\n"
        "    --epochs 10 --match full-steps --out runs/kept",
    ),
)
"""What each command does, and the command: the demo on images of one's own, one folder per class."""


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
        correct: (m,) the share of the seeds that get each held-out example right; not in `comparison.json`.
    """

    method: str
    keep: int
    accuracy: tuple[float, ...]
    steps: int
    seconds: float
    scored: bool
    correct: NDArray[np.float64] = field(repr=False, compare=False)

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(np.mean(self.accuracy))

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds."""
        return float(np.std(self.accuracy, ddof=1))

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: value for name, value in vars(self).items() if name != "correct"}


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
        tables = {name: [row.as_dict() for row in getattr(self, name)] for name in ("equal", "reduced")}
        return {**tables, "scoring_seconds": self.scoring_seconds, "seconds": self.seconds, "page": str(self.page)}

    def text(self) -> str:
        """The tables, for a terminal."""
        parts = [
            f"Equal steps: every training run takes {self.equal[0].steps} steps",
            text_table(_table_rows(self.equal, self.scoring_seconds), _COLUMNS),
            "Reduced steps: in proportion to the kept share",
            text_table(_table_rows(self.reduced, self.scoring_seconds), _COLUMNS),
            "Held-out accuracy after the last step, mean ± standard deviation of "
            f"{len(self.equal[0].accuracy)} seeds, in {self.seconds:.0f} s.\nPage: {self.page}",
        ]
        return "\n\n".join(parts)


_COLUMNS = [
    ("method", "method", "left"),
    ("keep", "kept", "right"),
    ("accuracy", "accuracy (%)", "right"),
    ("steps", "steps", "right"),
    ("train", "train (s)", "right"),
    ("score", "scoring (s)", "right"),
]


def _table_rows(rows: list[Row], scoring_seconds: float) -> list[dict[str, Any]]:
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


def commands_text() -> str:
    """The commands, for a terminal."""
    lines = [f"  {line}" for _, command in COMMANDS for line in command.splitlines()]
    return "\n".join(["On your own images (one folder per class), the same in three commands:", "", *lines])
