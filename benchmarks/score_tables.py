"""The section of docs/results.md about ten scores, the hardest and the easiest examples by each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cells import Cell, commits, half_width, interval, load
from ten_metrics import SCORES, SIZES

from datadiet.report.tables import text_table

__all__ = ["sections"]


def sections() -> list[str]:
    """It, if its cells are there."""
    cells = sorted(load("ten_metrics/*.json"), key=lambda cell: cell["images"])
    return [] if len(cells) < len(SIZES) else [ten_scores(cells)]


def ten_scores(cells: list[Cell]) -> str:
    """How the accuracy differs from random choice, for each score and number of images."""
    first, sizes = cells[0], [f"{cell['images']:,}" for cell in cells]
    heads = [("score", "score", "left"), *((size, f"{size} images", "right") for size in sizes)]

    def table(better: str, other: str) -> str:
        rows = [
            {"score": f"`{score}`"}
            | {size: difference(cell, score, better, other) for size, cell in zip(sizes, cells, strict=True)}
            for score in SCORES
        ]
        return text_table(rows, heads)

    baselines = [
        {"name": name} | {size: interval(accuracy(cell, name)) for size, cell in zip(sizes, cells, strict=True)}
        for name in ("full data", "random")
    ]
    steps = ", ".join(
        f"{cell['rows'][0]['steps']:,} of {SIZES[cell['images']][1]} images ({size})"
        for size, cell in zip(sizes, cells, strict=True)
    )
    return "\n\n".join([
        "## Ten scores: hardest or easiest?\n\n"
        f"The first images of MNIST, of which {first['keep'].replace('%', ' %')} are kept: the hardest or the easiest "
        f"by each of ten scores. `datadiet:mlp`, equal steps: {steps}. Accuracy (%) on "
        f"{first['tested']:,} test images, as mean and 95 % interval (t distribution) over {first['seeds']} seeds; "
        f"each seed scores anew. Each number of images is one call of `dd.compare`. {first['threads']} thread of an "
        f"{first['cpu']}, torch {first['torch']}, {commits(cells)}. Script: `benchmarks/ten_metrics.py`.",
        text_table(baselines, [("name", "method", "left"), *((size, f"{size} images", "right") for size in sizes)]),
        "The hardest less the easiest, in points:\n\n" + table("hardest", "easiest") + "\n\n" + counted(cells, sizes),
        "The hardest less random choice:\n\n" + table("hardest", "random"),
        "The easiest less random choice:\n\n" + table("easiest", "random"),
        (Path(__file__).parent / "ten_metrics_reading.md").read_text(encoding="utf-8").strip(),
    ])  # fmt: skip


def accuracy(cell: Cell, name: str) -> list[float]:
    """Of each seed."""
    found: list[float] = next(row["accuracy"] for row in cell["rows"] if row["name"] == name)
    return found


def differences(cell: Cell, score: str, one: str, other: str) -> list[float]:
    """Of the accuracies of two ways to choose, seed by seed."""
    values = [accuracy(cell, "random" if way == "random" else f"{score}+top_k:prefer={way}") for way in (one, other)]
    return [a - b for a, b in zip(*values, strict=True)]


def difference(cell: Cell, score: str, one: str, other: str) -> str:
    """Its mean and 95 % interval."""
    values = differences(cell, score, one, other)
    return f"{100 * np.mean(values):+.1f} ± {100 * half_width(values):.1f}"


def counted(cells: list[Cell], sizes: list[str]) -> str:
    """By how many scores the hardest are ahead, and by how many beyond the interval."""
    found = []
    for size, cell in zip(sizes, cells, strict=True):
        all_of = [differences(cell, score, "hardest", "easiest") for score in SCORES]
        means, widths = [float(np.mean(one)) for one in all_of], [half_width(one) for one in all_of]
        ahead, behind = sum(mean > 0 for mean in means), sum(mean < 0 for mean in means)
        sure = [sum(sign * mean > width for mean, width in zip(means, widths, strict=True)) for sign in (1, -1)]
        found.append(
            f"{size} images: the hardest are ahead by {ahead} of {len(SCORES)} scores ({sure[0]} beyond the interval), "
            f"the easiest by {behind} ({sure[1]})"
        )
    return "; ".join(found) + "."
