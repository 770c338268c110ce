"""The tables of docs/results.md about comparisons with a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, load

from datadiet.evaluate import Verdict
from datadiet.report.tables import Percent, text_table

__all__ = ["sections"]

_NAMES = {"cifar10": "CIFAR-10 (10,000 images)", "mnist1d": "MNIST-1D (4,000 signals)"}
_HEADS = [
    ("name", "method", "left"), ("kept", "kept", "right"), ("accuracy", "accuracy (%)", "right"),
    ("loss", "loss", "right"), ("shown", "shown", "left"), ("steps", "steps", "right"),
    ("choosing", "scoring and choosing (s)", "right"), ("training", "training (s)", "right"),
]  # fmt: skip


def sections() -> list[str]:
    """One about all the data sets that were compared."""
    found = {name: load(f"certified_share/{name}.json") for name in _NAMES}
    shown = [part for name, cells in found.items() if cells for part in _tables(_NAMES[name], cells[0])]
    if not shown:
        return []
    first = next(cells[0] for cells in found.values() if cells)
    reading = (Path(__file__).parent / "certified_share_reading.md").read_text(encoding="utf-8").strip()
    return [
        "\n\n".join(
            [
                "## How much is shown to be enough?",
                "`datadiet compare` with a margin of 3 points: CCS (AUM), DUAL + beta and random choice, each tested, "
                "so alpha is 5 % / 3 for each. Accuracy is the mean ± standard deviation over seeds; the loss "
                "in points beyond the full data has one-sided limits over seeds and evaluation examples. A score is "
                "that of its seed alone. Seconds are those of one seed, on one thread of a shared "
                f"{first['cpu']}, commit {first['commit']}. Script: `benchmarks/certified_share.py`; "
                "[what the columns mean](how-to/compare.md#read-the-tables).",
                *shown,
                reading,
            ]
        )
    ]


def _tables(name: str, found: Cell) -> list[str]:
    parts = []
    for budget, words in (("equal", "equal steps"), ("reduced", "steps as the examples of an epoch need")):
        rows = [row for row in found["rows"] if row["budget"] in ("full", budget)]
        if len(rows) > 1:
            about = f"### {name}, {len(found['seeds'])} seeds, {words}"
            parts += [about, text_table([_row(row, found) for row in rows], _HEADS)]
    return parts


def _row(row: dict[str, Any], found: Cell) -> dict[str, Any]:
    loss, costs, verdict = row["loss"], row["costs"], row["verdict"]
    return {
        "name": row["name"],
        "kept": f"{100 * row['kept'] / found['n']:.3g} %",
        "accuracy": Percent(float(np.mean(row["accuracy"])), float(np.std(row["accuracy"], ddof=1))),
        "loss": loss and f"{loss['mean']:.1f} [{loss['lower']:.1f}, {loss['upper']:.1f}]",
        "shown": verdict and str(Verdict(**verdict)),
        "steps": row["steps"],
        "choosing": f"{costs['scoring'] + costs['selection']:.1f}",
        "training": f"{costs['training']:.1f}",
    }
