"""The scores of a report: what each is, how it is spread, how far seeds and scores agree, and what is kept of it."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
from markupsafe import Markup

from datadiet.errors import one_line, some_of
from datadiet.evaluate.ranks import average_ranks, correlation
from datadiet.report.bars import Bins, bins_chart
from datadiet.report.canvas import NARROW, rounded
from datadiet.report.density import Cells, density_chart
from datadiet.report.markup import tag
from datadiet.report.tables import TableColumn, html_table
from datadiet.table import Scores
from datadiet.workflow.reporting.panel import Panel, figure
from datadiet.workflow.reporting.subject import Subject

__all__ = ["score_panels"]

_DRAWN, _COMPARED = 6, 8
_COLUMNS: tuple[TableColumn, ...] = (
    ("score", "score", "left"), ("harder", "harder is", "left"), ("min", "smallest", "right"),
    ("median", "median", "right"), ("max", "largest", "right"), ("spearman", "seeds agree", "right"),
    ("overlap_30", "share of the hardest 30\xa0%", "right"),
)  # fmt: skip


def score_panels(subject: Subject) -> list[Panel]:
    """The table of the scores, their histograms, and score against score."""
    scores = subject.scores
    if scores is None or subject.main is None:
        return []
    names = [subject.main, *(name for name in scores.names if name != subject.main)]
    panels: list[Panel] = []
    drawn = [name for name in names if scores[name].dtype != bool and np.isfinite(scores[name]).any()]
    if drawn:
        panels.append(_histograms(subject, scores, drawn))
    if len(drawn) > 1:
        panels.append(_against(subject, scores, drawn[:_COMPARED]))
    return [*panels, _table(scores, names)]


def harder_is(scores: Scores, name: str) -> str:
    """Which values of a column are hard."""
    return "high" if scores.meta["columns"][name]["hardness"] > 0 else "low"


def _table(scores: Scores, names: list[str]) -> Panel:
    rows, stability = [], scores.meta.get("stability", {})
    for name in names:
        values = scores[name][np.isfinite(scores[name])].astype(np.float64)
        quantiles = np.quantile(values, [0.0, 0.5, 1.0]).tolist() if len(values) else [None] * 3
        agreement = {key: stability.get(name, {}).get(key) for key in ("spearman", "overlap_30")}
        row = {"score": name, "harder": harder_is(scores, name)} | dict(
            zip(("min", "median", "max"), quantiles, strict=True)
        )
        rows.append(row | agreement | {"not_finite": int(len(scores) - len(values))})
    seeds = (
        "Seeds agree: the rank correlation of the scores of single seeds, mean over their pairs, and the share of the "
        "hardest 30 % that two seeds have in common. Where they agree little, more seeds change the ranking."
    )
    several = any(row["spearman"] is not None for row in rows)
    columns = _COLUMNS if several else _COLUMNS[:-2]
    table = html_table(rows, columns, "Each score keeps its own sign; the second column says which end is hard.")
    known = scores.meta["columns"]
    elsewhere = [name for name in names if known[name].get("scorer") == "imported"]
    if elsewhere:
        *first, last = elsewhere
        come = f"{some_of(first)} and {one_line(last)} come" if first else f"{one_line(last)} comes"
        table += tag("p", f"{come} from another program. Unless higher_is= (--higher-is) says "
                     "otherwise, a high value is taken to be harder.")  # fmt: skip
    odd = [f"{row['score']}: {row['not_finite']:,}" for row in rows if row["not_finite"]]
    more = [f"Examples without a finite value, which are left out below: {', '.join(odd)}."] if odd else []
    return Panel("scores", "The scores", rows, [table, *([seeds] if several else []), *more])


def _histograms(subject: Subject, scores: Scores, names: list[str]) -> Panel:
    values: dict[str, Any] = {}
    drawings = []
    for name in names[:_DRAWN]:
        finite = np.isfinite(scores[name])
        kept = None if subject.kept is None else subject.kept[finite]
        bins = Bins.of(scores[name][finite], kept, 40)
        harder = harder_is(scores, name)
        values[name] = {**asdict(bins), "harder": harder}
        side = "right" if harder == "high" else "left"
        chart = bins_chart(bins, title=name, x_label=f"{name} (hard: {harder})", width=NARROW)
        kept_part = "" if kept is None else " The solid part of a bar is kept."
        reading = f"A bar counts the examples with such a score; further to the {side} is harder.{kept_part}"
        drawings.append(figure(chart, reading))
    body: list[str | Markup] = [tag("div", *drawings, class_="charts")]
    if len(names) > _DRAWN:
        body.append(f"{len(names) - _DRAWN} more are not drawn: to see another one, name it, score= (--score COLUMN).")
    return Panel("histograms", "How hard are the examples?", values, body)


def _against(subject: Subject, scores: Scores, names: list[str]) -> Panel:
    """Rank correlations of all pairs, and the main score beside the one that agrees with it least."""
    finite = np.isfinite(np.stack([scores[name] for name in names])).all(0)
    if finite.sum() < 2:
        return Panel(
            "agreement", "Do the scores agree?", {}, ["Fewer than two examples have a finite value of all scores."]
        )
    ranks = np.stack([average_ranks(scores.hardness(name)[finite]) for name in names], axis=1)
    pairs = {(a, b): _rank_correlation(ranks[:, a], ranks[:, b]) for a, b in combinations(range(len(names)), 2)}
    correlations: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for (a, b), value in pairs.items():
        correlations[names[a]][names[b]] = correlations[names[b]][names[a]] = value
    columns: list[TableColumn] = [("score", "", "left"), *((f"with {name}", name, "right") for name in names)]
    shown: list[dict[str, Any]] = [
        {"score": name, **{f"with {other}": _hundredths(value) for other, value in row.items()}}
        for name, row in correlations.items()
    ]
    table = html_table(
        shown, columns, "Rank correlation of hardness: 1 = the same order, 0 = unrelated, -1 = reversed."
    )
    known = {b: value for (a, b), value in pairs.items() if a == 0 and value is not None}
    other = names[min(known, key=lambda b: known[b]) if known else 1]
    kept = None if subject.kept is None else subject.kept[finite]
    cells = Cells.of(scores[names[0]][finite], scores[other][finite], kept)
    values = {"rank_correlation": correlations, "x": names[0], "y": other, **asdict(cells)}
    chart = density_chart(
        cells, title=f"{other} against {names[0]}", x_label=f"{names[0]} (hard: {harder_is(scores, names[0])})",
        y_label=f"{other} (hard: {harder_is(scores, other)})",
    )  # fmt: skip
    solid = "" if kept is None else "; the solid part is kept"
    reading = f"The area of a square grows with the number of examples there{solid}."
    if len(names) > 2:
        reading += f" Of the scores in the table, {other} agrees least with {names[0]}."
    body: list[str | Markup] = [figure(chart, reading), table]
    return Panel("agreement", "Do the scores agree?", values, body)


def _hundredths(value: float | None) -> str | None:
    return None if value is None else rounded(value, 0.01)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's coefficient from ranks; None if either is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return None
    return float(correlation(a, b))
