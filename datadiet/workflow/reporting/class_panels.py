"""Classes and strata of a report: what each keeps, or how hard each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from datadiet.evaluate.ranks import average_ranks
from datadiet.report.bars import Bins, bins_chart
from datadiet.report.canvas import NARROW
from datadiet.report.tables import Bar, TableColumn, html_table
from datadiet.table.classes import ClassCounts
from datadiet.workflow.reporting.panel import Panel, figure
from datadiet.workflow.reporting.subject import Subject

__all__ = ["class_counts", "class_panels"]

_SHOWN, _STRATA = 20, 100
_KEPT: tuple[TableColumn, ...] = (
    ("name", "", "left"), ("before", "examples", "right"), ("after", "kept", "right"), ("share", "share kept", "right")
)  # fmt: skip
_HARD: tuple[TableColumn, ...] = (
    ("name", "class", "left"), ("examples", "examples", "right"), ("mean_rank", "mean hardness rank", "right"),
    ("hardest_tenth", "among the hardest tenth", "right"),
)  # fmt: skip


def class_counts(subject: Subject) -> ClassCounts | None:
    """What a selection keeps of each class; None if the classes are not known."""
    selection = subject.selection
    if selection is None:
        return None
    counts = ClassCounts.read(selection.meta.get("classes"))
    if subject.labels is not None:
        counts = ClassCounts.of(subject.labels, selection.chosen, subject.class_names)
    return counts if counts is not None and counts.names else None


def class_panels(subject: Subject) -> list[Panel]:
    """Classes; and for a selection the clusters or strata of its method."""
    if subject.selection is None:
        return _hard_classes(subject)
    panels, counts = [], class_counts(subject)
    if counts is not None:
        named = zip(counts.names, counts.before, counts.after, strict=True)
        rows = [{"name": name, "before": before, "after": after} for name, before, after in named]
        reading = (
            "The bar is the share of the class that is kept. Where it is short, the class may be learnt less well."
        )
        panels.append(Panel("classes", "What does each class keep?", rows, _coverage(rows, "class", reading)))
    stratum = subject.selection.stratum
    if stratum is not None and len(np.unique(stratum[stratum >= 0])) > 1:
        inside = stratum >= 0
        counted = ClassCounts.of(stratum, np.flatnonzero(inside & subject.selection.keep))
        panels.append(_strata(counted, int((~inside).sum()), str(subject.selection.meta.get("method", "the method"))))
    return panels


def _strata(counted: ClassCounts, outside: int, method: str) -> Panel:
    """A bar for each stratum; of very many, how their shares are spread."""
    named = zip(counted.names, counted.before, counted.after, strict=True)
    rows: list[dict[str, Any]] = [{"name": name, "before": before, "after": after} for name, before, after in named]
    if len(rows) <= _STRATA:
        bins = Bins(tuple(place - 0.5 for place in range(len(rows) + 1)), counted.before, counted.after)
        chart = bins_chart(bins, title="Examples by stratum", x_label="stratum", width=NARROW)
        reading = "A bar counts the examples of a stratum; the solid part is kept."
    else:
        shares = [100 * row["after"] / row["before"] for row in rows]
        chart = bins_chart(Bins.of(shares, bins=40), title="Shares kept", x_label="share of a stratum kept (%)",
                           width=NARROW, y_label="strata")  # fmt: skip
        reading = f"A bar counts strata, of {len(rows):,}: further to the right, more of a stratum is kept."
    words = f"A stratum is a cluster or a range of scores, as {method} divides the examples."
    if method == "ccs":
        words += " From 1 on, a higher stratum is harder"
        words += "; 0 holds those that ccs drops first, as the hardest." if "0" in counted.names else "."
    if outside:
        words += f" {outside:,} examples are in none: the method set them aside before."
    values = {"strata": rows, "outside": outside}
    return Panel("strata", "What does each stratum keep?", values, [words, figure(chart, reading)])


def _coverage(rows: Sequence[Mapping[str, Any]], what: str, reading: str) -> list[str | Markup]:
    """A table with a bar for each row; of very many, those that keep the smallest and the largest shares."""
    full = [{**row, "share": Bar(row["after"] / row["before"])} for row in rows]
    caption = f"Examples of each {what}, and how many of them are kept."
    if len(full) > _SHOWN:
        full.sort(key=lambda row: row["share"].share)
        caption = (
            f"The {_SHOWN // 2} of {len(full):,} with the smallest share kept, and the {_SHOWN // 2} with the largest."
        )
        full = full[: _SHOWN // 2] + full[-(_SHOWN // 2) :]
    return [html_table(full, [(_KEPT[0][0], what, "left"), *_KEPT[1:]], caption), reading]


def _hard_classes(subject: Subject) -> list[Panel]:
    """How hard the examples of each class are, by the main score."""
    labels, hardness = subject.labels, subject.hardness
    if labels is None or hardness is None or not (labels >= 0).any():
        return []
    known = ~np.isnan(hardness)
    if not (labels[known] >= 0).any():
        return []
    labels, ranks = labels[known], average_ranks(hardness[known])
    share = (ranks - 0.5) / len(ranks)
    tenth = share > 0.9
    rows: list[dict[str, Any]] = []
    for code in np.unique(labels[labels >= 0]).tolist():
        mine = labels == code
        rows.append(
            {
                "name": subject.named(code),
                "examples": int(mine.sum()),
                "mean_rank": float(share[mine].mean()),
                "hardest_tenth": float(tenth[mine].mean()),
            }
        )
    shown = sorted(rows, key=lambda row: -row["mean_rank"])
    caption = f"Classes by {subject.main}, the hardest first."
    if len(shown) > _SHOWN:
        caption = (
            f"The {_SHOWN // 2} hardest and the {_SHOWN // 2} easiest of {len(shown):,} classes by {subject.main}."
        )
        shown = shown[: _SHOWN // 2] + shown[-(_SHOWN // 2) :]
    drawn = [row | {key: Bar(row[key]) for key in ("mean_rank", "hardest_tenth")} for row in shown]
    reading = (
        "A rank of 0 % is the easiest of all examples and 100 % the hardest; a class like all others has a mean rank "
        "of 50 % and a tenth of its examples among the hardest tenth."
    )
    return [Panel("classes", "Which classes are hard?", rows, [html_table(drawn, _HARD, caption), reading])]
