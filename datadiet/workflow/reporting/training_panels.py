"""A training run in a report: how it went, and what the network gets right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datadiet.report.canvas import NARROW
from datadiet.report.markup import tag
from datadiet.report.svg import Series, line_chart
from datadiet.report.tables import Bar, TableColumn, html_table
from datadiet.workflow.reporting.panel import Panel, figure

__all__ = ["history_panel", "recall_panel"]

_CLASSES: tuple[TableColumn, ...] = (("name", "class", "left"), ("recall", "recall", "right"))


def history_panel(histories: Mapping[int, Sequence[Mapping[str, Any]]]) -> Panel:
    """Accuracy and loss on the examples that are trained on.

    Args:
        histories: seed -> one entry per epoch.
    """
    values = {str(seed): [dict(entry) for entry in history] for seed, history in histories.items()}
    charts = []
    for key, label, unit in (("accuracy", "training accuracy (%)", 100.0), ("loss", "training loss", 1.0)):
        series = [
            Series(f"seed {seed}", [e["epoch"] for e in history], [unit * e[key] for e in history])
            for seed, history in histories.items()
            if history and all(isinstance(entry.get(key), (int, float)) for entry in history)
        ]
        if series:
            chart = line_chart(
                series, title=label.partition(" (")[0].capitalize(), x_label="epoch", y_label=label, x_percent=False,
                y_percent=False, width=NARROW,
            )  # fmt: skip
            charts.append(figure(chart, "During each epoch, on augmented examples, while the network still changes."))
    return Panel("history", "How did the training go?", values, [tag("div", *charts, class_="charts")])


def recall_panel(recall: Sequence[float], names: Sequence[str]) -> Panel:
    """The share of each class that the network gets right on held-out data."""
    rows: list[dict[str, Any]] = [
        {"name": names[code] if code < len(names) else str(code), "recall": value} for code, value in enumerate(recall)
    ]
    shown = sorted(rows, key=lambda row: row["recall"])[:30]
    drawn = [row | {"recall": Bar(row["recall"])} for row in shown]
    caption = "Share of the held-out examples of a class that the network gets right, the lowest first."
    return Panel("recall", "Which classes does it get right?", rows, [html_table(drawn, _CLASSES, caption)])
