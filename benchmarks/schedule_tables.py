"""The sections of docs/results.md about dynamic schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, half_width, interval, load, pick
from distillation_tables import TITLES, where
from kd_weight import SEEDS
from schedule_curves import EPOCHS, HOW, SETS

from datadiet.report.tables import text_table

__all__ = ["sections"]

ON_CIFAR = {"infobatch": "InfoBatch", "rs2": "RS2", "shortened": "full data, shortened schedule"}


def sections() -> list[str]:
    """Those whose cells are there."""
    out = []
    curves = {data: load(f"schedules/{data}_?.json") for data in SETS}
    if all(len(cells) == SEEDS for cells in curves.values()):
        out.append(curve_section(curves))
    cifar = load("schedules/cifar10-*.json")
    if len(cifar) == 3 * len(ON_CIFAR):
        out.append(cifar_section(cifar, load("distillation/cifar10-100-full-?.json")))
    costs = load("speed/schedules.json")
    if costs:
        out.append(cost_section(costs[0]))
    return [*out, reading()] if out else []


def reading() -> str:
    """What the figures show."""
    return (Path(__file__).parent / "schedules_reading.md").read_text(encoding="utf-8").strip()


def at_equal_cost(cells: list[Cell], name: str, cost: str) -> list[float]:
    """For each seed, how much better a schedule is than the full data trained for as many steps (or seconds): the mean
    over budgets of the difference to the curve of the full data, straight between its budgets in the logarithm. A
    budget below all of those of the full data does not count."""
    found = []
    for cell in cells:
        full, own = ([cell["found"][one][str(e)] for e in EPOCHS] for one in ("full", name))
        spent, at = (np.log([point[cost] for point in points]) for points in (full, own))
        order = np.argsort(spent)  # seconds need not rise with the budget
        beside = np.interp(at, spent[order], np.array([point["accuracy"] for point in full])[order])
        ahead = np.array([point["accuracy"] for point in own]) - beside
        found.append(float(ahead[at >= spent.min()].mean()))
    return found


def curve_section(curves: dict[str, list[Cell]]) -> str:
    """Accuracy by schedule and budget, and beside the full data at equal cost."""
    heads = [
        ("name", "schedule", "left"), ("steps", "steps", "right"), ("time", "time", "right"),
        *((e, f"{e} epochs", "right") for e in EPOCHS),
        ("equal", "beside full data at equal steps", "right"), ("seconds", "at equal time", "right"),
    ]  # fmt: skip
    parts = [
        "## How much training does each schedule need?",
        "Each schedule trains `datadiet:mlp` for 5, 10, 20 and 40 epochs, every one a training of its own with its own "
        "learning-rate curve. Steps and time are those of 20 epochs, as a share of the full data's; the time includes "
        "all that the schedule does. Then the accuracy (%), the mean over five seeds. The last two columns compare "
        "with the full data trained for as many steps, or as long: the difference in points, averaged over the "
        "budgets from those of 5 full epochs on, as mean and 95 % interval over five paired seeds. "
        f"{where([cell for cells in curves.values() for cell in cells])}. Script: `benchmarks/schedule_curves.py`.",
    ]
    for data, cells in curves.items():
        rows: list[dict[Any, str]] = []
        for name in HOW:
            of = {e: [cell["found"][name][str(e)] for cell in cells] for e in EPOCHS}
            full = [cell["found"]["full"]["20"] for cell in cells]
            row = {"name": name}
            for key, cost in (("steps", "steps"), ("time", "seconds")):
                row[key] = f"{100 * np.median([a[cost] / b[cost] for a, b in zip(of[20], full, strict=True)]):.0f} %"
            row |= {e: f"{100 * np.mean([one['accuracy'] for one in of[e]]):.1f}" for e in EPOCHS}
            if name != "full":
                row |= {"equal": difference(cells, name, "steps"), "seconds": difference(cells, name, "seconds")}
            rows.append(row)
        parts.append(f"### {TITLES[data]}\n\n" + text_table(rows, heads))
    return "\n\n".join(parts)


def difference(cells: list[Cell], name: str, cost: str) -> str:
    """In points, with the half width of its interval."""
    values = at_equal_cost(cells, name, cost)
    return f"{100 * np.mean(values):+.2f} ± {100 * half_width(values):.2f}"


def cifar_section(cells: list[Cell], full: list[Cell]) -> str:
    """InfoBatch and two simpler ways of saving as many steps."""
    rows = [{"name": "full data", "steps": "790", "accuracy": interval([c["accuracy"] for c in full])}]
    for method, title in ON_CIFAR.items():
        own = pick(cells, method=method)
        rows.append({
            "name": title,
            "steps": f"{np.mean([c['steps'] for c in own]):.0f}",
            "accuracy": interval([c["accuracy"] for c in own]),
        })  # fmt: skip
    heads = [("name", "", "left"), ("steps", "steps", "right"), ("accuracy", "accuracy (%)", "right")]
    return "\n\n".join([
        "### InfoBatch on CIFAR-10",
        "10,000 training images, all test images, `datadiet:cnn`, 10 epochs. RS2 and the "
        "full data with a shortened schedule take as many steps as InfoBatch. Mean and 95 % interval over three seeds. "
        f"{where(cells)}. Script: `benchmarks/schedules_cifar10.py`.",
        text_table(rows, heads),
    ])  # fmt: skip


def cost_section(cell: Cell) -> str:
    """What the schedules themselves cost."""
    rows = [
        {
            "name": name,
            "each": f"{found['ns_each']:.0f}",
            **{part: f"{1000 * found[part]:.0f}" for part in ("begin", "order", "weights", "update")},
        }
        for name, found in cell.items()
        if isinstance(found, dict)
    ]
    heads = [
        ("name", "schedule", "left"), ("begin", "begin (ms)", "right"), ("order", "order (ms)", "right"),
        ("weights", "weights (ms)", "right"), ("update", "update (ms)", "right"),
        ("each", "ns per example shown", "right"),
    ]  # fmt: skip
    return "\n\n".join([
        "### What the schedules cost",
        f"An epoch of {cell['n']:,} examples in batches of {cell['batch']:,}, without a network. {where([cell])}. "
        "Script: `benchmarks/schedules.py`.",
        text_table(rows, heads),
    ])  # fmt: skip
