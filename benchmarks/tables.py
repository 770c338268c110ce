"""Make docs/results.md and its figures from benchmarks/results/*.json: `python benchmarks/tables.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import comparison_tables
import distillation_tables
import embedding_tables
import gradient_tables
import numpy as np
import pruning_tables
import scale_tables
import schedule_tables
import score_tables
from cells import Cell, commits, half_width, interval, load, pick

from datadiet.report.svg import Level, Series, line_chart
from datadiet.report.tables import text_table

DOCS = Path(__file__).parents[1] / "docs"
CURVES = 57  # cells of cifar10_curves.py


def main() -> None:
    """Write the page."""
    parts = [
        "# Results\n\nA script in `benchmarks/` measured every number on this page, and `python benchmarks/tables.py` "
        "put it here. The times were measured on shared, noisy machines, so read the ratios.",
        speed(),
    ]
    costs = [c for name in ("resnet9", "resnet20", "vit") for c in load(f"speed/gradients_cpu_{name}.json")]
    if costs:
        parts.append(gradient_tables.cost(costs))
    lds, found = load("attribution/lds_*.json"), load("attribution/mislabelled_*.json")
    if lds and found:
        parts.append(gradient_tables.attribution(lds, found))
    classes = load("vanishing/*.json")
    if classes:
        parts.append(vanishing(classes))
    parts += distillation_tables.sections()
    parts += schedule_tables.sections()
    parts += pruning_tables.sections()
    parts += embedding_tables.sections()
    parts += comparison_tables.sections()
    parts += score_tables.sections()
    parts += scale_tables.sections()
    done = len(load("cifar10_curves/*.json"))
    if done == CURVES:
        parts.insert(1, curves())
    else:
        print(f"{done} of {CURVES} trainings of cifar10_curves.py are there: its section is left out")
    hurt = pruning_tables.figure()
    if hurt is not None:
        (DOCS / "figures" / "pruning-hurts.svg").write_text(hurt, encoding="utf-8")
    (DOCS / "results.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def curves() -> str:
    """The CIFAR-10 comparison."""
    cells = load("cifar10_curves/*.json")
    equal, reduced = pick(cells, table="equal"), pick(cells, table="reduced")
    methods = list(dict.fromkeys(c["method"] for c in load("cifar10_curves/equal-10-*.json")))
    methods.sort(key=lambda name: (name != "random", name))
    full = [c["accuracy"] for c in pick(equal, keep=100)]
    figure(equal, methods, full)
    first = cells[0]
    scoring = sum(c["seconds"] for c in pick(equal, keep=100))
    training = np.mean([c["seconds"] for c in equal if c["keep"] < 100])
    return "\n\n".join([
        "## How much of CIFAR-10 does a small network need?\n\n"
        "The training data are the first 1,000 training images of each class (10,000 in all, recompressed JPEG), and "
        "the test data are the full test set. Training uses `datadiet:cnn`, batch 128, one-cycle SGD, flip and "
        "translation. The tables give the accuracy (%) after the last step, as mean and 95 % interval (t distribution) "
        f"over three seeds. {len(cells)} trainings, {first['threads']} thread of an {first['cpu']}, torch "
        f"{first['torch']}, commit {first['commit']}. Script: `benchmarks/cifar10_curves.py`.",
        f"### Equal steps ({equal[0]['steps']} for every row)\n\n" + text_table(*equal_table(equal, methods, full)),
        "Difference from random with the same seed, in points:\n\n" + text_table(*difference_table(equal, methods)),
        "![Accuracy against the kept share](figures/cifar10-equal.svg)",
        "Scoring was done once for all budgets and all methods except random. It took three recorded trainings and "
        f"{scoring:.0f} s. One training of {equal[0]['steps']} steps takes {training:.0f} s.",
        f"### Reduced steps ({reduced[0]['steps']} for every row, 10 % of the work)\n\n"
        + text_table(*reduced_table(reduced)),
        (Path(__file__).parent / "cifar10_reading.md").read_text(encoding="utf-8").strip(),
    ])  # fmt: skip


def equal_table(cells: list[Cell], methods: list[str], full: list[float]) -> tuple[list[Cell], list[Any]]:
    """Rows and columns of the equal-steps table."""
    keeps = sorted({c["keep"] for c in cells} - {100})
    rows: list[Cell] = [{"method": "full data", "all": interval(full)}]
    rows += [
        {"method": m} | {k: interval([c["accuracy"] for c in pick(cells, method=m, keep=k)]) for k in keeps}
        for m in methods
    ]
    heads = [("method", "method", "left"), *((k, f"{k} %", "right") for k in keeps), ("all", "100 %", "right")]
    return rows, heads


def difference_table(cells: list[Cell], methods: list[str]) -> tuple[list[Cell], list[Any]]:
    """Rows and columns of the paired differences to random."""
    keeps = sorted({c["keep"] for c in cells} - {100})

    def difference(method: str, keep: int) -> str:
        ours, random = pick(cells, method=method, keep=keep), pick(cells, method="random", keep=keep)
        values = [a["accuracy"] - b["accuracy"] for a, b in zip(ours, random, strict=True)]
        return f"{100 * np.mean(values):+.1f} ± {100 * half_width(values):.1f}"

    rows = [{"method": m} | {k: difference(m, k) for k in keeps} for m in methods if m != "random"]
    return rows, [("method", "method", "left"), *((k, f"{k} %", "right") for k in keeps)]


def reduced_table(cells: list[Cell]) -> tuple[list[Cell], list[Any]]:
    """Rows and columns of the reduced-steps table."""
    rows = [
        {"method": m, "accuracy": interval([c["accuracy"] for c in pick(cells, method=m)]),
         "seconds": f"{np.mean([c['seconds'] for c in pick(cells, method=m)]):.0f}"}
        for m in dict.fromkeys(c["method"] for c in cells)
    ]  # fmt: skip
    return rows, [
        ("method", "method", "left"),
        ("accuracy", "accuracy (%)", "right"),
        ("seconds", "training (s)", "right"),
    ]


def figure(cells: list[Cell], methods: list[str], full: list[float]) -> None:
    """The equal-steps chart."""
    keeps = sorted({c["keep"] for c in cells} - {100})
    series = []
    for method in methods:
        values = [[c["accuracy"] for c in pick(cells, method=method, keep=k)] for k in keeps]
        means, widths = [float(np.mean(v)) for v in values], [half_width(v) for v in values]
        series.append(Series(method, [k / 100 for k in keeps], means, widths, baseline=method == "random"))
    chart = line_chart(
        series, title="CIFAR-10 (10,000 images), equal steps", x_label="kept share", y_label="test accuracy",
        reference=Level("full data", float(np.mean(full)), half_width(full)),
    )  # fmt: skip
    (DOCS / "figures").mkdir(exist_ok=True)
    (DOCS / "figures" / "cifar10-equal.svg").write_text(chart, encoding="utf-8")


def vanishing(cells: list[Cell]) -> str:
    """Selecting with and without shares of the classes."""
    shapes = {"long_tail": "long tail", "balanced": "balanced"}
    rows = [
        {
            "data": shown,
            "keep": c["keep"].replace("%", " %"),
            "method": c["method"] + " within each class" * c["by_class"],
            "accuracy": interval(c["accuracy"]),
            "tail": interval(c["tail"]),
            "empty": f"{np.mean(c['empty']):.1f}",
        }
        for shape, shown in shapes.items()
        for c in load(f"vanishing/{shape}-*.json")
    ]
    heads = [("data", "data", "left"), ("keep", "kept", "right"), ("method", "method", "left"),
             ("accuracy", "accuracy (%)", "right"), ("tail", "recall of the last three classes (%)", "right"),
             ("empty", "classes that keep nothing", "right")]  # fmt: skip
    rows.sort(key=lambda row: (row["data"] == "balanced", row["keep"], row["method"]))
    first = cells[0]
    return (
        "## Do classes vanish?\n\nDigits made into a long tail (140 examples in the first class, 3 in the last) and "
        "balanced digits (140 in each), selected with CCS by AUM and at random, and trained with `datadiet:mlp` for as "
        "many steps as the full data takes. Accuracy and recall are measured on the balanced held-out digits: mean and "
        "95 % interval (t distribution) over five seeds. The last column counts classes, of ten, that keep nothing. "
        f"{first['cpu']}, torch {first['torch']}, {commits(cells)}. Script: `benchmarks/vanishing_classes.py`.\n\n"
        + text_table(rows, heads)
        + "\n\nWith a long tail, CCS on all examples leaves whole classes out. Within each class it does not, and the "
        "network is better by 19 points or more. On balanced digits it is better too, by less. Random selection "
        "gains nothing clear. This is why `select` without `--method` uses CCS within each class."
    )


def speed() -> str:
    """The speed benchmarks."""
    sections: list[tuple[str, str, Callable[[Cell], tuple[list[Cell], list[Any]]]]] = [
        ("A training step", "training_cost", training_rows),
        ("Selecting from 10 million scores", "select_10m", select_rows),
        ("Whole processes", "select_process", process_rows),
        ("Iterating an RS2 epoch, n = 10 million", "rs2_iteration", sampler_rows),
        ("Beside plain code", "peers", peer_rows),
    ]
    parts = ["## Speed"]
    for heading, name, rows in sections:
        found = load(f"speed/{name}.json")
        if found:
            c = found[0]
            where = f"{c['threads']} thread(s), {c['cpu']}, numpy {c['numpy']}, commit {c['commit']}"
            parts.append(
                f"### {heading}\n\n"
                + text_table(*rows(found[0]))
                + f"\n\n{where}. Results: `benchmarks/results/speed/{name}.json`."
            )
    return "\n\n".join(parts)


def training_rows(c: Cell) -> tuple[list[Cell], list[Any]]:
    """Our loop beside a plain one, and what is added to it beside our loop."""
    rows = [
        {
            "what": name,
            "ms": f"{ms:.1f}",
            "beside": {"plain": "", "loop": "plain"}.get(name, "loop"),
            "ratio": f"{c['ratio'][name]:.3f}" if name in c["ratio"] else "",
            "target": c["target"].get(name, ""),
        }
        for name, ms in sorted(c["ms_per_step"].items(), key=lambda one: (one[0] != "plain", one[0] != "loop", one[0]))
    ]
    heads = {"what": "", "ms": "ms per step", "beside": "beside", "ratio": "ratio", "target": "target, at most"}
    return rows, [(key, head, "left" if key in ("what", "beside") else "right") for key, head in heads.items()]


def select_rows(c: Cell) -> tuple[list[Cell], list[Any]]:
    """Ratios to argpartition."""
    rows = [
        {
            "what": name,
            "ms": f"{1e3 * v['seconds']:.0f}",
            "time": f"{v['time_ratio']:.1f}",
            "memory": f"{v['memory_ratio']:.1f}",
        }
        for name, v in c.items() if isinstance(v, dict) and "time_ratio" in v
    ]  # fmt: skip
    rows.sort(key=lambda row: float(row["ms"]))
    heads = {
        "what": f"k = {c['k']:,}",
        "ms": "ms",
        "time": "time ratio (target 5)",
        "memory": "memory ratio (target 4)",
    }
    return rows, [(k, h, "left" if k == "what" else "right") for k, h in heads.items()]


def process_rows(c: Cell) -> tuple[list[Cell], list[Any]]:
    """Seconds of the command line."""
    targets = {"help": "0.25", "select top_k": "1.5", "select ccs": "1.5"}
    rows = [{"what": name, "s": f"{c[name]['seconds']:.2f}", "target": target} for name, target in targets.items()]
    return rows, [
        ("what", "command (select: 1 million rows)", "left"),
        ("s", "seconds", "right"),
        ("target", "target, at most", "right"),
    ]


def peer_rows(c: Cell) -> tuple[list[Cell], list[Any]]:
    """Each method and the plain code that it is timed beside."""
    rows = [
        {
            "what": f"`{name}`",
            "peer": v["what"],
            "ms": f"{1e3 * v['seconds']:.1f}",
            "ratio": f"{v['ratio']:.2f}",
            "target": v["target"],
        }
        for name, v in c.items() if isinstance(v, dict) and "ratio" in v
    ]  # fmt: skip
    return rows, [
        ("what", "method", "left"),
        ("peer", "beside", "left"),
        ("ms", "ms", "right"),
        ("ratio", "time ratio", "right"),
        ("target", "target, at most", "right"),
    ]


def sampler_rows(c: Cell) -> tuple[list[Cell], list[Any]]:
    """Nanoseconds per index, and the start at a billion examples."""
    rows = [
        {"what": name, "ns": f"{v['ns_per_index']:.0f}", "ratio": f"{v['ratio']:.2f}"}
        for name, v in c.items() if isinstance(v, dict) and "ratio" in v
    ]  # fmt: skip
    rows += [
        {"what": name, "ns": f"first index after {v['first_ms']:.2f} ms", "ratio": f"peak {v['peak_mb']:.1f} MB"}
        for name, v in c.items() if isinstance(v, dict) and "first_ms" in v
    ]  # fmt: skip
    return rows, [
        ("what", "sampler", "left"),
        ("ns", "ns per index", "right"),
        ("ratio", f"ratio (target {c['target']})", "right"),
    ]


if __name__ == "__main__":
    main()
