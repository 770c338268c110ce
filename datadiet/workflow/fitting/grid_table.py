"""What a grid of trainings found: a table over seeds, a figure, and both as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
from markupsafe import Markup

from datadiet.report.svg import Series, line_chart
from datadiet.report.tables import Percent, text_table

__all__ = ["CellResult", "Grid"]

_COLUMNS = [
    ("kept", "kept", "right"),
    ("sparsity", "sparsity", "right"),
    ("teacher", "teacher", "left"),
    ("seeds", "seeds", "right"),
    ("accuracy", "accuracy (%)", "right"),
    ("worst", "worst class (%)", "right"),
    ("steps", "steps", "right"),
    ("seconds", "train (s)", "right"),
]


@dataclass(frozen=True)
class CellResult:
    """One training of a grid.

    Attributes:
        name: of its folder in `cells`.
        kept: examples in the first epoch.
        sparsity: of the weights; None if the options of all cells decide it.
        teacher: its name; None if the options of all cells decide it.
        seed: of the training and of the choice of examples.
        accuracy: held-out accuracy after the last step.
        worst_class: the lowest recall of a class.
        steps: optimizer steps.
        seconds: of training.
    """

    name: str
    kept: int
    sparsity: float | None
    teacher: str | None
    seed: int
    accuracy: float
    worst_class: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Grid:
    """The result of a grid of trainings.

    Attributes:
        cells: every training, the seeds of one setting in a row.
        n: examples that there are to train on.
    """

    cells: Sequence[CellResult]
    n: int

    def table(self) -> list[dict[str, Any]]:
        """One row per setting: kept, share, sparsity, teacher, seeds, accuracy, interval, worst_class, steps, seconds.

        Accuracy, worst class and seconds are means over the seeds. `interval` is half the width of the 95 % interval of
        the mean accuracy, t · sd / sqrt(seeds) with Student's t; None for one seed. It covers the seeds, not the
        choice of the held-out examples.
        """
        return [_row(list(cells), self.n) for _, cells in groupby(self.cells, key=_setting)]

    def text(self) -> str:
        """The table, for a terminal."""
        rows = [
            {
                **row,
                "kept": f"{100 * row['share']:.3g} % ({row['kept']})",
                "sparsity": None if row["sparsity"] is None else f"{100 * row['sparsity']:.4g} %",
                "accuracy": Percent(row["accuracy"], row["interval"]),
                "worst": Percent(row["worst_class"]),
                "seconds": f"{row['seconds']:.1f}",
            }
            for row in self.table()
        ]
        several = max(row["seeds"] for row in rows) > 1
        note = "mean ± half its 95 % interval over the seeds" if several else "one seed, so no interval"
        return f"{text_table(rows, _COLUMNS)}\n\nHeld-out accuracy after the last step, {note}."

    def figure(self) -> Markup:
        """Accuracy against the kept share, one line per sparsity and teacher, as SVG."""
        lines: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
        for row in self.table():
            lines.setdefault((row["sparsity"], row["teacher"]), []).append(row)
        series = []
        for (sparsity, teacher), rows in lines.items():
            rows = sorted(rows, key=lambda row: row["kept"])
            known = all(row["interval"] is not None for row in rows)
            name = ["dense" if not sparsity else f"{100 * sparsity:.4g} % pruned"] if sparsity is not None else []
            name += [] if teacher in (None, "none") else [f"taught by {teacher}"]
            series.append(
                Series(
                    ", ".join(name) or "accuracy",
                    [row["share"] for row in rows],
                    [row["accuracy"] for row in rows],
                    [row["interval"] for row in rows] if known else None,
                )
            )
        return line_chart(
            series, title="Held-out accuracy at equal steps", x_label="kept examples", y_label="held-out accuracy"
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"n": self.n, "rows": self.table(), "cells": [asdict(cell) for cell in self.cells]}


def _setting(cell: CellResult) -> tuple[Any, ...]:
    return cell.kept, cell.sparsity, cell.teacher


def _row(cells: Sequence[CellResult], n: int) -> dict[str, Any]:
    kept, sparsity, teacher = _setting(cells[0])
    accuracy = np.array([cell.accuracy for cell in cells])
    return {
        "kept": kept,
        "share": kept / n,
        "sparsity": sparsity,
        "teacher": teacher,
        "seeds": len(cells),
        "accuracy": float(accuracy.mean()),
        "interval": _interval(accuracy),
        "worst_class": float(np.mean([cell.worst_class for cell in cells])),
        "steps": cells[0].steps,
        "seconds": float(np.mean([cell.seconds for cell in cells])),
    }


def _interval(values: np.ndarray) -> float | None:
    """Half the width of the 95 % interval of the mean of (m,) values; None for one."""
    from scipy.special import stdtrit  # comes with scikit-learn

    m = len(values)
    return None if m < 2 else float(stdtrit(m - 1, 0.975) * values.std(ddof=1) / m**0.5)
