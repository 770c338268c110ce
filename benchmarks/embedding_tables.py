"""The parts of docs/results.md about vectors, for tables.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duplicate_tables
import numpy as np
from cells import Cell, commits, half_width, interval, load, pick, spread

from datadiet.report.svg import Level, Series, line_chart
from datadiet.report.tables import text_table

__all__ = ["sections"]

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
CLOCKS = {"perf_counter": "by the clock", "process_time": "processor time"}
CURVES = 59  # trainings of embedding_curves.py


def sections() -> list[str]:
    """What has been measured so far."""
    parts = []
    if sizes := sorted(load("speed/semdedup_*.json"), key=lambda c: c["n"]):
        parts.append("## Vectors: time and memory\n\n" + semdedup(sizes))
    if clusters := load("speed/kmeans_*.json"):
        parts.append(kmeans(clusters))
    if greedy := sorted(load("speed/submodular_[0-9]*.json"), key=lambda c: c["n"]):
        parts.append(growth(greedy, load("speed/submodular_value.json")))
    if budgets := sorted(load("speed/dbp_allocation_*.json"), key=lambda c: c["clusters"]):
        parts.append(allocation(budgets))
    if planned := load("plan/*.json"):
        parts.append(plans(planned))
    trained = load("embedding_curves/[1-9]*.json")
    if len(trained) == CURVES:
        parts.append(curves(trained, load("embedding_curves/embeddings.json")[0]))
    else:
        print(f"{len(trained)} of {CURVES} trainings of embedding_curves.py are there: its section is left out")
    if found := load("embedding_probes/*.json"):
        parts.append(probes(found))
    if found := load("near_duplicates/*.json"):
        parts.append(duplicate_tables.section(found))
    return parts


def semdedup(cells: list[Cell]) -> str:
    """Growth with n."""
    rows = [
        {
            "n": f"{c['n']:,}", "clusters": c["clusters"], "seconds": f"{c['seconds']:.1f}",
            "floor": f"{c['kmeans_seconds']:.1f} + {c['products_seconds']:.1f}", "ratio": f"{c['ratio']:.2f}",
            "memory": f"{c['peak_gb']:.2f}",
        }
        for c in cells
    ]  # fmt: skip
    heads = [
        ("n", "vectors", "right"), ("clusters", "clusters", "right"), ("seconds", "SemDeDup (s)", "right"),
        ("floor", "its k-means + bare products (s)", "right"), ("ratio", "ratio", "right"),
        ("memory", "peak resident memory (GB)", "right"),
    ]  # fmt: skip
    c = cells[-1]
    return (
        "### SemDeDup from disk\n\n"
        + text_table(rows, heads)
        + f"\n\nVectors of {c['dim']} numbers in float16, memory-mapped, with ε = {c['epsilon']}. Each size runs in "
        f"its own process, and the memory includes torch. Targets at a million vectors: ratio {c['targets']['ratio']}, "
        f"{c['targets']['peak_gb']} GB. "
        f"{c['threads']} thread(s), {c['cpu']}, torch {c['torch']}, commit {c['commit']}. Script: "
        "`benchmarks/semdedup_size.py`."
    )


def kmeans(cells: list[Cell]) -> str:
    """Against faiss and the bare products."""
    rows = [
        {
            "what": f"{c['n']:,} x {c['dim']}, {c['k']:,} clusters, {c['distance']}",
            "faiss": f"{c['ratio_to_faiss']:.2f}", "target": c["targets"]["ratio_to_faiss"] or "–",
            "products": f"{c['ratio_to_products']:.2f}",
            "objective": f"{c['objective']['ratio']:.4f}",
        }
        for c in sorted(cells, key=lambda c: (c["k"], c["distance"]))
    ]  # fmt: skip
    heads = [
        ("what", "vectors in memory", "left"), ("faiss", "time / faiss-cpu", "right"), ("target", "target", "right"),
        ("products", "time / its bare products", "right"), ("objective", "objective / faiss", "right"),
    ]  # fmt: skip
    c = cells[0]
    return (
        "### k-means\n\n"
        + text_table(rows, heads)
        + f"\n\n{c['iterations']} rounds of k-means from the same first centroids, as medians of {c['rounds']} "
        f"interleaved measurements, {CLOCKS[c['clock']]}, {c['threads']} thread(s), beside faiss-cpu "
        f"{c['faiss_version']}; the objective is to be within 1 % of its. Our k-means also finds the second nearest "
        "centroid of every vector, so that rounding does not affect the result, and it adds in whole numbers, so that "
        "the order of the rows does not either. With 100 clusters of short vectors, the products are small, and this "
        "work costs more than they do. "
        f"{c['cpu']}, torch {c['torch']}, commit {c['commit']}. Script: `benchmarks/kmeans_speed.py`."
    )


def growth(cells: list[Cell], values: list[Cell]) -> str:
    """The greedy selectors with n, and what sparse similarities cost in value."""
    names = list(cells[-1]["seconds"])
    of = {name: [c["seconds"].get(name, np.nan) for c in cells] for name in names}
    of |= {
        "d2, 5 neighbours, with finding them": [
            a + b for a, b in zip(of["d2, 5 neighbours"], of["5 nearest, Euclidean"], strict=True)
        ]
    }
    rows = [
        {"what": name}
        | {c["n"]: f"{s:.2f}" for c, s in zip(cells, of[name], strict=True)}
        | {"growth": f"{of[name][-1] / of[name][0]:.0f}x"}
        for name in of
    ]
    heads: list[Any] = [("what", "processor seconds", "left"), *((c["n"], f"n = {c['n']:,}", "right") for c in cells)]
    heads.append(("growth", "growth", "right"))
    c = cells[-1]
    parts = [
        "### Greedy selectors",
        text_table(rows, heads)
        + f"\n\nVectors of {c['dim']} numbers, a tenth kept, {c['threads']} thread, {c['cpu']}, "
        f"commit {c['commit']}. The second column has ten times the vectors and ten times the kept examples, so a "
        "growth of 100x is quadratic and 10x is linear. Finding exact neighbours is quadratic. So is every method that "
        "compares all examples with each kept one (k_center, herding, graph cut over all pairs). Once the neighbours "
        "are given, the greedy step is nearly linear. Script: `benchmarks/submodular_speed.py`.",
    ]
    if values:
        shares = [{"what": name, "share": f"{share:.3f}"} for name, share in values[0]["share"].items()]
        parts.append(
            f"Facility location, n = {values[0]['n']:,}, k = {values[0]['k']}: the value reached, as a share of the "
            "value that lazy greedy over all pairs reaches.\n\n"
            + text_table(shares, [("what", "optimizer", "left"), ("share", "value", "right")])
        )
    return "\n\n".join(parts)


def allocation(cells: list[Cell]) -> str:
    """The budgets of DBP."""
    keeps = [key for key in cells[0] if key.startswith("keep_")]
    rows = [{"clusters": f"{c['clusters']:,}"} | {key: f"{c[key]['milliseconds']:.2f}" for key in keeps} for c in cells]
    heads = [("clusters", "clusters", "right")]
    heads += [(key, f"{100 * float(key[5:]):.0f} % kept (ms)", "right") for key in keeps]
    c = cells[-1]
    return (
        "### Budgets of DBP\n\n"
        + text_table(rows, heads)
        + f"\n\nTime to find the exact optimum in whole numbers. Target at 50,000 clusters: {c['target_ms']} ms. "
        f"{c['cpu']}, commit {c['commit']}. Script: `benchmarks/dbp_allocation.py`."
    )


def plans(cells: list[Cell]) -> str:
    """What `datadiet plan` said, and what it took."""
    rows = [
        {
            "what": f"{c['method']}, {'a threshold' if c['keep'] is None else c['keep']}", "n": f"{c['n']:,}",
            "told": f"{c['planned']['seconds']:.2f}", "took": f"{c['seconds']:.2f}",
            "told_mb": f"{c['planned']['peak_mb']:,.0f}", "took_mb": f"{c['peak_mb']:,.0f}",
        }
        for c in sorted(cells, key=lambda c: (c["method"], str(c["keep"]), c["n"]))
    ]  # fmt: skip
    heads = [
        ("what", "method, kept", "left"), ("n", "n", "right"), ("told", "plan (s)", "right"),
        ("took", "took (s)", "right"), ("told_mb", "plan (MB)", "right"), ("took_mb", "peak resident (MB)", "right"),
    ]  # fmt: skip
    c = cells[0]
    return (
        "### What `datadiet plan` says, and what it takes\n\n"
        + text_table(rows, heads)
        + f"\n\nVectors of {c['dim']} numbers, mapped from disk. Each row runs in its own process and is timed by the "
        "clock. Where torch is needed, it is loaded before. The plan counts 25 rounds of k-means, but k-means stops "
        "when its objective stops improving, so the planned time of k-means is an upper bound. "
        f"{c['cores']} cores, {c['cpu']}, torch {c['torch']}, commit {c['commit']}. "
        "Script: `benchmarks/plan_accuracy.py`."
    )


def curves(cells: list[Cell], embeddings: Cell) -> str:
    """Accuracy against the kept share on CIFAR-10."""
    methods = list(dict.fromkeys(c["method"] for c in cells if c["keep"] < 100))
    methods.sort(key=lambda name: (name != "random", name))
    keeps = sorted({c["keep"] for c in cells} - {100})
    full = [c["accuracy"] for c in pick(cells, keep=100)]
    rows: list[Cell] = [{"method": "full data", "all": interval(full)}]
    smallest: list[Cell] = []
    for m in methods:
        of = {k: pick(cells, method=m, keep=k) for k in keeps}
        rows.append({"method": m} | {k: spread([c["accuracy"] for c in of[k]]) for k in keeps})
        smallest.append(
            {"method": m} | {k: f"{100 * np.mean([c['smallest_class'] for c in of[k]]):.1f}" for k in keeps}
        )
    heads: list[Any] = [("method", "method", "left"), *((k, f"{k} %", "right") for k in keeps)]
    figure(cells, methods, keeps, full)
    c = cells[0]
    reading = Path(__file__).parent / "embedding_reading.md"
    return "\n\n".join([
        "## Choosing without labels on CIFAR-10\n\n5,000 training and 1,000 test images (recompressed JPEG). The "
        "embeddings come from a network that we trained without labels to predict rotations "
        f"({embeddings['dim']} numbers; a linear classifier on them reaches {100 * embeddings['probe_accuracy']:.0f} "
        f"%). `datadiet:cnn` trains for {c['steps']} steps in every row. The table gives the accuracy (%) after the "
        "last step, as mean and 95 % interval over three seeds. At 50 % there are two seeds, and it gives their mean "
        f"and both values. {len(cells)} trainings, {c['cpu']}, torch {c['torch']}, {commits(cells)}. Script: "
        "`benchmarks/embedding_curves.py`.",
        text_table(rows, [*heads, ("all", "100 %", "right")]),
        "![Accuracy against the kept share](figures/embedding-curves.svg)",
        "Share (%) of the smallest of the ten classes among the kept examples:\n\n" + text_table(smallest, heads),
        reading.read_text(encoding="utf-8").strip() if reading.exists() else "",
    ]).strip()  # fmt: skip


def figure(cells: list[Cell], methods: list[str], keeps: list[int], full: list[float]) -> None:
    """The chart."""
    series = []
    for m in methods:
        values = [[c["accuracy"] for c in pick(cells, method=m, keep=k)] for k in keeps]
        means = [float(np.mean(v)) for v in values]  # seven bands would hide each other: the table has the intervals
        series.append(Series(m, [k / 100 for k in keeps], means, [0.0] * len(means), baseline=m == "random"))
    chart = line_chart(
        series, title="CIFAR-10 (5,000 images), chosen from embeddings", x_label="kept share", y_label="test accuracy",
        reference=Level("full data", float(np.mean(full)), half_width(full)),
    )  # fmt: skip
    (FIGURES / "embedding-curves.svg").write_text(chart, encoding="utf-8")


def probes(cells: list[Cell]) -> str:
    """A linear classifier on what is kept."""
    parts = [
        "## Choosing texts and digits by their vectors\n\nAccuracy (%) of logistic regression on the kept vectors, "
        "as mean and 95 % interval over five seeds. If there is no interval, the method does not depend on the seed. "
        "TREC and AG News use static token vectors of 128 numbers, and digits uses the pixels. No selection sees a "
        f"label. Script: `benchmarks/embedding_probes.py`, {commits(cells)}."
    ]
    for data in sorted({c["data"] for c in cells}):
        here = [c for c in cells if c["data"] == data]
        keeps = sorted({c["keep"] for c in here} - {100})
        methods = sorted({c["method"] for c in here if c["keep"] < 100}, key=lambda name: (name != "random", name))
        of = {(c["method"], c["keep"]): c["accuracy"] for c in here}
        rows: list[Cell] = [{"method": m} | {k: _accuracy(of[m, k]) for k in keeps} for m in methods]
        whole = of["full data", 100]
        heads: list[Any] = [("method", f"{data}, n = {here[0]['n']:,}", "left")]
        heads += [(k, f"{k} %", "right") for k in keeps]
        parts.append(text_table(rows, heads) + f"\n\nAll the data: {_accuracy(whole)}.")
    reading = Path(__file__).parent / "probes_reading.md"
    return "\n\n".join([*parts, reading.read_text(encoding="utf-8").strip() if reading.exists() else ""]).strip()


def _accuracy(values: list[float]) -> str:
    return interval(values) if len(set(values)) > 1 else f"{100 * values[0]:.1f}"
