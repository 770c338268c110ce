"""The sections of docs/results.md about model pruning."""

from __future__ import annotations

from typing import Any

import numpy as np
from cells import Cell, interval, load, pick
from distillation_tables import TITLES, reading, where
from kd_weight import SEEDS
from pruning_curves import METHODS as CURVES
from pruning_curves import SETS, SMALL, SPARSITIES, best
from recover_cifar10 import METHODS as RECOVERIES
from recover_cifar10 import SPARSITIES as PRUNED

from datadiet.report.svg import Series, line_chart
from datadiet.report.tables import text_table

__all__ = ["figure", "sections"]


def sections() -> list[str]:
    """Those whose cells are there."""
    out = []
    curves = {data: load(f"pruning/{data}_?.json") for data in SETS}
    if all(len(cells) == SEEDS for cells in curves.values()):
        out.append(curve_section(curves))
    recovered = [c for c in load("recovery/cifar10-*.json") if "method" in c]
    if len(recovered) == len(PRUNED) * len(RECOVERIES) * 3:
        out.append(recovery_section(recovered, load("recovery/cifar10-*-before-?.json")))
    return out


def curve_section(curves: dict[str, list[Cell]]) -> str:
    """Accuracy by method and sparsity."""
    heads = [("name", "method", "left"), *((s, f"{100 * s:g} % pruned", "right") for s in SPARSITIES)]
    parts = [
        "## Which pruning method loses least?",
        "`datadiet:mlp` trained for 20 epochs and pruned on the way (magnitude, 25 to 75 % of the training) or before "
        "training (all others). *Shuffled* keeps as many weights of each layer at random places. The small dense "
        "network has about as many weights as are left. Accuracy (%) at the better of two learning rates, mean and "
        f"95 % interval over {SEEDS} paired seeds. {where([cell for cells in curves.values() for cell in cells])}. "
        "Script: `benchmarks/pruning_curves.py`.",
    ]
    for data, cells in curves.items():
        rows: list[dict[Any, str]] = []
        for name in (*CURVES, SMALL):
            rows.append({"name": name, **{s: interval(list(best(cells, name, s))) for s in SPARSITIES}})
        dense = interval(list(best(cells, "dense", 0)))
        parts.append(f"### {TITLES[data]} (dense: {dense})\n\n" + text_table(rows, heads))
    return "\n\n".join([*parts, reading("pruning_curves")])


def recovery_section(cells: list[Cell], before: list[Cell]) -> str:
    """Accuracy by recovery data and sparsity."""
    heads = [("name", "recovery data", "left"), *((s, f"{100 * s:g} % pruned", "right") for s in PRUNED)]
    rows: list[dict[Any, str]] = [
        {"name": "none (pruned only)", **{s: interval([c["pruned"] for c in pick(before, sparsity=s)]) for s in PRUNED}}
    ]
    for name in RECOVERIES:
        own = {s: [c["accuracy"] for c in pick(cells, method=name, sparsity=s)] for s in PRUNED}
        title = name if name.startswith("all") else f"10 %: {name}"
        rows.append({"name": title, **{s: interval(own[s]) for s in PRUNED}})
    dense = interval([c["dense"] for c in pick(before, sparsity=PRUNED[0])])
    return "\n\n".join([
        "## What brings a pruned network back?",
        f"The dense networks ({dense}) are those of the recorded trainings above, pruned at once by global magnitude. "
        "What is left trains for 240 steps: on a tenth of the 10,000 images, with the dense network as teacher; or on "
        "all of them, with and without it. Accuracy (%), mean and 95 % interval over three paired seeds. "
        f"{where(cells)}. Script: `benchmarks/recover_cifar10.py`.",
        text_table(rows, heads),
        "![Divergence by difficulty](figures/pruning-hurts.svg)",
        reading("recover_cifar10"),
    ])  # fmt: skip


def figure() -> str | None:
    """Which examples pruning hurts, as SVG; None without the cells."""
    series = []
    for sparsity in PRUNED:
        cells = load(f"recovery/cifar10-{sparsity}-before-?.json")
        if not cells:
            return None
        tenths = np.array([cell["divergence_by_tenth_of_aum"] for cell in cells])
        half = (tenths.max(axis=0) - tenths.min(axis=0)) / 2
        at = [(tenth + 0.5) / 10 for tenth in range(10)]
        series.append(Series(f"{100 * sparsity:g} % pruned", at, list(tenths.mean(axis=0)), list(half)))
    return line_chart(
        series, title="Which examples pruning hurts (CIFAR-10)", x_label="examples by AUM, hardest first",
        y_label="divergence (nats)", y_percent=False,
    )  # fmt: skip
