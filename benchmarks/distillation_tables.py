"""The sections of docs/results.md about distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, commits, interval, load, pick
from kd_teacher import HIDDEN, KEPT, SEEN
from kd_weight import SEEDS, SHARES, WEIGHTS, best

from datadiet.report.tables import text_table

__all__ = ["sections"]

TITLES = {"digits": "digits", "mnist": "MNIST", "mnist_wrong": "MNIST, 20 % wrong labels"}
STUDENTS = 48  # of distillation_cifar10.py


def sections() -> list[str]:
    """Those whose cells are there."""
    out = []
    weights = {data: load(f"distillation/weight_{data}_?.json") for data in TITLES}
    if all(len(cells) == SEEDS for cells in weights.values()):
        out.append(weight_section(weights))
    teachers = {data: load(f"distillation/teacher_{data}_?.json") for data in ("digits", "mnist")}
    if all(len(cells) == SEEDS for cells in teachers.values()):
        out.append(teacher_section(teachers))
    students = load("distillation/cifar10-*-?e-?.json") + load("distillation/cifar10-*-kd-?.json")
    if len(students) == STUDENTS:
        out.append(cifar_section(students, load("distillation/cifar10-100-full-?.json")))
    return out


def where(cells: list[Cell]) -> str:
    """What they were measured with."""
    first = cells[0]
    return f"{first['threads']} thread of an {first['cpu']}, torch {first['torch']}, {commits(cells)}"


def reading(name: str) -> str:
    """What the figures show."""
    return (Path(__file__).parent / f"{name}_reading.md").read_text(encoding="utf-8").strip()


def weight_section(found: dict[str, list[Cell]]) -> str:
    """Accuracy by share and weight."""
    parts = [
        "## Which weight should the teacher have?",
        "A student sees a random part of the data, and learns from a teacher that was trained on all of it. Teacher "
        "and student are `datadiet:mlp`, and every training takes the steps of 20 epochs of the full data. Mean "
        f"accuracy (%) on true labels over {SEEDS} seeds, at the best of three learning rates; weight 0 is training "
        "on labels only. "
        f"{where([cell for cells in found.values() for cell in cells])}. Script: `benchmarks/kd_weight.py`.",
    ]
    heads = [("share", "kept", "right"), *((w, f"w = {w:g}", "right") for w in WEIGHTS)]
    for data, cells in found.items():
        rows: list[dict[Any, str]] = []
        for share in SHARES:
            means = {w: 100 * float(best(cells, share, w).mean()) for w in WEIGHTS}
            top = max(means.values())
            told = {w: f"**{mean:.1f}**" if mean == top else f"{mean:.1f}" for w, mean in means.items()}
            rows.append({"share": f"{100 * share:g} %", **told})
        teacher = 100 * np.mean([cell["teacher"] for cell in cells])
        parts.append(f"### {TITLES[data]} (teacher {teacher:.1f} %)\n\n" + text_table(rows, heads))
    return "\n\n".join([*parts, reading("kd_weight")])


def teacher_section(found: dict[str, list[Cell]]) -> str:
    """Accuracy of students by their teacher."""
    names = [*(f"seen {seen}" for seen in SEEN), *(f"hidden {hidden}" for hidden in HIDDEN)]
    heads = [
        ("name", "teacher", "left"), ("own", "teacher's accuracy", "right"),
        *((share, f"student, {100 * share:g} % kept", "right") for share in KEPT),
    ]  # fmt: skip
    parts = [
        "## How good, and how large, must the teacher be?",
        "As above, with a weight that follows from the share (`auto`). The teacher saw a part of the data, or has "
        "another number of hidden units; the student has 128. "
        f"{where([cell for cells in found.values() for cell in cells])}. Script: `benchmarks/kd_teacher.py`.",
    ]
    for data, cells in found.items():
        rows: list[dict[Any, str]] = [
            {"name": "none", "own": "", **{s: interval([c["alone"][str(s)] for c in cells]) for s in KEPT}}
        ]
        for name in names:
            kind, number = name.split()
            title = f"saw {100 * float(number):g} %" if kind == "seen" else f"{number} hidden units"
            students = {s: interval([c["taught"][name][str(s)] for c in cells]) for s in KEPT}
            rows.append({"name": title, "own": interval([c["teacher"][name] for c in cells]), **students})
        parts.append(f"### {TITLES[data]}\n\n" + text_table(rows, heads))
    return "\n\n".join([*parts, reading("kd_teacher")])


def cifar_section(students: list[Cell], full: list[Cell]) -> str:
    """Accuracy by method, share and whether there was a teacher."""
    keeps = sorted({c["keep"] for c in students})
    rows: list[dict[Any, str]] = []
    for method in ("random", "ccs"):
        for taught in (False, True):
            cells = {k: pick(students, method=method, taught=taught, keep=k) for k in keeps}
            title = f"{'CCS (AUM)' if method == 'ccs' else method}, {'with a teacher' if taught else 'labels only'}"
            rows.append({"name": title, **{k: interval([c["accuracy"] for c in cells[k]]) for k in keeps}})
    heads = [("name", "", "left"), *((k, f"{k} %", "right") for k in keeps)]
    return "\n\n".join([
        "## What a teacher pays back on CIFAR-10",
        "10,000 training images, all test images, `datadiet:cnn`, equal steps for every training. The teachers are the "
        "three trainings on all the images that also give the scores; a student reads its stored logits. Accuracy (%) "
        f"after the last step, mean and 95 % interval over three paired seeds. All images, labels only: "
        f"{interval([c['accuracy'] for c in full])}. {where(students)}. Script: `benchmarks/distillation_cifar10.py`.",
        text_table(rows, heads),
        reading("distillation_cifar10"),
    ])  # fmt: skip


if __name__ == "__main__":
    print("\n\n".join(sections()))
