"""The part of docs/results.md about near-duplicates, for tables.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cells import Cell

from datadiet.report.svg import Series, line_chart
from datadiet.report.tables import text_table

__all__ = ["section"]

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
DATA = {
    "news": "News with planted copies",
    "febrl-1": "Persons, Febrl 1",
    "febrl-2": "Persons, Febrl 2",
    "febrl-3": "Persons, Febrl 3",
    "abt-buy": "Products, Abt-Buy",
    "dblp-acm": "Publications, DBLP-ACM",
}
KINDS = ("5 words", "2 words", "1 word", "5 characters", "3 characters", "vectors")
PAIRED, DRAWN = ("abt-buy", "dblp-acm"), "febrl-3"


def section(cells: list[Cell]) -> str:
    """Tables of precision and recall, a figure, and what they show."""
    commits = ", ".join(sorted({c["commit"] for c in cells}))
    parts = [
        "## Near-duplicates: words, characters or vectors\n\nThe tables give precision / recall (%) of the pairs found "
        "at each threshold. For news and persons, all pairs of texts are considered, and a pair is found if both texts "
        "are in one group. The groups come from `minhash` on shingles of the given width, or from `semdedup` with "
        "components on static vectors of 128 numbers, in one cluster. For products and publications, only labelled "
        "pairs of records from two sources are considered, and a pair is found if it is at least that similar. Nothing "
        f"is grouped there. {cells[0]['cpu']}, commits {commits}. Script: `benchmarks/near_duplicates.py`."
    ]
    for data in DATA:
        here = {c["kind"]: c for c in cells if c["data"] == data}
        if set(here) == set(KINDS):
            parts.append(table(data, here))
            if data == DRAWN:
                figure(here)
                parts.append("![F1 against the threshold](figures/near-duplicates.svg)")
        else:
            print(f"{len(here)} of {len(KINDS)} cells of near_duplicates.py for {data} are there: it is left out")
    reading = Path(__file__).parent / "duplicates_reading.md"
    return "\n\n".join([*parts, reading.read_text(encoding="utf-8").strip() if reading.exists() else ""]).strip()


def table(data: str, here: dict[str, Cell]) -> str:
    """One data set: a row for each similarity, a column for each threshold."""
    thresholds = [point["threshold"] for point in here[KINDS[0]]["curve"]]
    rows: list[Cell] = []
    for kind in KINDS:
        best = max(here[kind]["curve"], key=f1)
        points = {point["threshold"]: both(point) for point in here[kind]["curve"]}
        rows.append({"kind": kind, "best": f"{100 * f1(best):.1f} at {best['threshold']:g}"} | points)
    heads: list[Any] = [("kind", "compared", "left"), *((t, f"{t:g}", "right") for t in thresholds)]
    one = here[KINDS[0]]
    of = f"{one['n']:,} {'pairs' if data in PAIRED else 'texts'}, {one['curve'][0]['true']:,} true pairs"
    return f"### {DATA[data]} ({of})\n\n" + text_table(rows, [*heads, ("best", "best F1", "right")])


def f1(point: Cell) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * point["right"] / (point["told"] + point["true"])


def both(point: Cell) -> str:
    """Precision and recall in percent; no precision where nothing is found."""
    precision = "–" if point["precision"] is None else f"{100 * point['precision']:.0f}"
    return f"{precision} / {100 * point['recall']:.0f}"


def figure(here: dict[str, Cell]) -> None:
    """F1 against the threshold."""
    series = [Series(k, [p["threshold"] for p in here[k]["curve"]], [f1(p) for p in here[k]["curve"]]) for k in KINDS]
    chart = line_chart(
        series, title="Copies among 5,000 records of persons (Febrl 3)", x_label="threshold", y_label="F1 of pairs",
        x_percent=False,
    )  # fmt: skip
    (FIGURES / "near-duplicates.svg").write_text(chart, encoding="utf-8")
