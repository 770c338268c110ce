"""The sections of docs/results.md about model pruning."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import removed_channels as removed
import retraining
import sparse_training as growth
from cells import Cell, interval, load, pick
from distillation_tables import TITLES, reading, where
from kd_weight import SEEDS
from keep_sparsity_grid import SETS as GRID
from pruning_curves import METHODS as CURVES
from pruning_curves import SETS, SMALL, SPARSITIES, best
from recover_cifar10 import METHODS as RECOVERIES
from recover_cifar10 import SPARSITIES as PRUNED

from datadiet.report.svg import Series, line_chart
from datadiet.report.tables import text_table

__all__ = ["figure", "sections"]

WAYS = (*growth.GROWING, *growth.PATTERNS)


def sections() -> list[str]:
    """Those whose cells are there."""
    out = []
    curves = {data: load(f"pruning/{data}_?.json") for data in SETS}
    if all(len(cells) == SEEDS for cells in curves.values()):
        out.append(curve_section(curves))
    if all(len(load(growth.key(data, name, "?") + ".json")) == SEEDS for data, name in product(growth.SETS, WAYS)):
        out.append(growing_section())
        out.append(pattern_section())
    retrained = {data: load(f"retraining/{data}_?.json") for data in retraining.SETS}
    if all(len(cells) == SEEDS for cells in retrained.values()):
        out.append(retraining_section(retrained))
    channels = load("channels/digits_?.json")
    if len(channels) == SEEDS:
        out.append(channel_section(channels, load("speed/removed_channels.json")))
    recovered = [c for c in load("recovery/cifar10-*.json") if "method" in c]
    if len(recovered) == len(PRUNED) * len(RECOVERIES) * 3:
        out.append(recovery_section(recovered, load("recovery/cifar10-*-before-?.json")))
    grids = [c for data in GRID for c in load(f"grid/{data}.json")]
    if len(grids) == len(GRID):
        out.append(grid_section(grids))
    return out


def grid_section(grids: list[Cell]) -> str:
    """Accuracy by kept share, sparsity and teacher, and whether the two losses add up."""
    parts = [
        "## Do the losses of fewer examples and fewer weights add up?",
        "`datadiet:mlp` at equal steps (20 epochs of all the data), a random part of the examples, gradual magnitude "
        "pruning, with labels only and with a teacher that was trained on all the data. Accuracy (%), mean and 95 % "
        "interval over five seeds. *More than the sum*: how many points the network with fewer examples *and* fewer "
        f"weights loses beyond what each of them costs alone. {where(grids)}. Script: "
        "`benchmarks/keep_sparsity_grid.py`.",
    ]
    for grid in grids:
        found: dict[tuple[int, float, bool], np.ndarray] = {}
        for c in grid["cells"]:
            key = (c["kept"], c["sparsity"], c["teacher"] not in (None, "none"))
            found[key] = np.append(found.get(key, np.zeros(0)), c["accuracy"])
        keeps, sparsities = (sorted({key[at] for key in found}) for at in (0, 1))
        rows: list[dict[Any, str]] = []
        for taught in (False, True):
            for kept in keeps:
                row: dict[Any, str] = {"kept": str(kept), "teacher": "yes" if taught else "no"}
                for s in sparsities:
                    row[s] = interval(list(found[kept, s, taught]))
                    whole, fewer, sparse = (
                        found[at, of, taught].mean() for at, of in ((keeps[-1], 0), (kept, 0), (keeps[-1], s))
                    )
                    beyond = (whole - found[kept, s, taught].mean()) - (whole - fewer) - (whole - sparse)
                    if s and kept != keeps[-1]:
                        row[f"beyond {s}"] = f"{100 * beyond:+.1f}"
                rows.append(row)
        heads = [
            ("kept", "examples", "right"), ("teacher", "teacher", "left"),
            *((s, f"{100 * s:g} % pruned" if s else "dense", "right") for s in sparsities),
            *((f"beyond {s}", f"more than the sum, {100 * s:g} %", "right") for s in sparsities if s),
        ]  # fmt: skip
        parts.append(f"### {TITLES[grid['data']]}\n\n" + text_table(rows, heads))
    return "\n\n".join([*parts, reading("keep_sparsity_grid")])


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


def growing_section() -> str:
    """Accuracy of sparse training by method, length and sparsity."""
    columns = [(epochs, s) for epochs in growth.EPOCHS for s in growth.GROWN_AT]
    heads = [("name", "method", "left")]
    heads += [((e, s), f"{e} epochs, {100 * s:g} %", "right") for e, s in columns]  # type: ignore[misc]
    return _growth(
        growth.GROWING, columns, heads,
        "## Does it help to grow weights while others are dropped?",
        "`datadiet:mlp` as above. Random weights by ERK, SET, RigL and BiP start as sparse as they end; GraNet and "
        "gradual magnitude start dense. Accuracy (%) at the better of two learning rates, mean and 95 % interval over",
        "sparse_training",
    )  # fmt: skip


def pattern_section() -> str:
    """Accuracy of patterns beside magnitude."""
    columns = [(growth.EPOCHS[0], s) for s in growth.PATTERNS_AT]
    heads = [("name", "method", "left")]
    heads += [((e, s), f"{100 * s:g} % pruned", "right") for e, s in columns]  # type: ignore[misc]
    return _growth(
        growth.PATTERNS, columns, heads,
        "## What does a pattern cost?",
        "The same network, pruned gradually for 20 epochs: 2 or 1 of every 4 weights stay (N:4), or the same share of "
        "every row by weight and input (Wanda), of every layer, or of the whole network. Accuracy (%), mean and 95 % "
        "interval over",
        "patterns",
    )  # fmt: skip


def _growth(methods: dict[str, Any], columns: list[Any], heads: list[Any], title: str, about: str, said: str) -> str:
    every: list[Cell] = []
    tables = []
    for data in growth.SETS:
        rows: list[dict[Any, str]] = []
        for name in methods:
            cells = load(growth.key(data, name, "?") + ".json")
            every += cells
            rows.append({"name": name, **{(e, s): interval(list(growth.best(cells, e, s))) for e, s in columns}})
        tables.append(f"### {TITLES[data]}\n\n" + text_table(rows, heads))
    lead = f"{about} {SEEDS} paired seeds. {where(every)}. Script: `benchmarks/sparse_training.py`."
    return "\n\n".join([title, lead, *tables, reading(said)])


def retraining_section(retrained: dict[str, list[Cell]]) -> str:
    """Accuracy after retraining less or more of a pruned network."""
    heads = [("name", "retrained", "left"), *((s, f"{100 * s:g} % pruned", "right") for s in retraining.SPARSITIES)]
    parts = [
        "## How much retraining does a pruned network need?",
        "`datadiet:resnet8`, 10 epochs, then pruned at once by global magnitude, retrained for 3 epochs at the best "
        f"of three learning rates. Accuracy (%), mean and 95 % interval over {SEEDS} paired seeds. "
        f"{where([cell for cells in retrained.values() for cell in cells])}. Script: `benchmarks/retraining.py`.",
    ]
    for data, cells in retrained.items():
        names = (*retraining.ONCE, *retraining.PARTS, retraining.SOUP, retraining.LONG)
        rows: list[dict[Any, str]] = [
            {"name": name, **{s: interval(list(retraining.best(cells, name, s))) for s in retraining.SPARSITIES}}
            for name in names
        ]
        dense = interval([cell["dense"] for cell in cells])
        parts.append(f"### {TITLES[data]} (dense: {dense})\n\n" + text_table(rows, heads))
    return "\n\n".join([*parts, reading("retraining")])


def channel_section(cells: list[Cell], speeds: list[Cell]) -> str:
    """Accuracy and speed without some channels."""
    heads = [("name", "removed", "left"), *((s, f"{100 * s:g} % removed", "right") for s in removed.SPARSITIES)]
    rows: list[dict[Any, str]] = [
        {"name": name, **{s: interval([c["accuracy"][name][str(s)] for c in cells]) for s in removed.SPARSITIES}}
        for name in removed.WAYS
    ]
    shares = {"multiply_adds": "multiply-adds left (ResNet-20)", "latency": "time left (ResNet-20)"}
    rows += [
        {"name": title, **{s: f"{100 * speed[str(s)][key]:.0f} %" for s in removed.SPARSITIES}}
        for speed in speeds
        for key, title in shares.items()
    ]
    return "\n\n".join([
        "## What does removing channels cost, and what does it gain?",
        "Digits with `datadiet:resnet8` "
        f"(dense: {interval([c['dense'] for c in cells])}), then 3 epochs with fewer parameters. Accuracy (%), mean "
        f"and 95 % interval over {SEEDS} paired seeds; time on one thread, in turns with the dense network. "
        f"{where([*cells, *speeds])}. Script: `benchmarks/removed_channels.py`.",
        text_table(rows, heads),
        reading("removed_channels"),
    ])  # fmt: skip


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
