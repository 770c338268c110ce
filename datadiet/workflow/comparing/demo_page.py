"""The page of the demo: what was found, on which scores, and what the chosen images look like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datadiet.data import Source, open_data
from datadiet.report.images import grid
from datadiet.report.page import Section, page
from datadiet.report.svg import Level, Series, histogram, line_chart
from datadiet.report.tables import results_table
from datadiet.table import Scores, Selection
from datadiet.workflow.comparing.comparison import COLUMNS, Comparison, Row, table_rows
from datadiet.writing import atomic_write

__all__ = ["write_page"]

_SHOWN = 12


def write_page(found: Comparison, scores: Scores, hardest: Selection, ranking: Selection) -> None:
    """Write the page to `found.page`.

    Args:
        found: the comparison.
        scores: the score table of the digits.
        hardest: the top-k selection whose cut the page shows.
        ranking: the same selection of everything.
    """
    full = found.equal[0]
    sections = [
        Section(
            "Equal steps: which examples?",
            [
                f"Every network takes the same {full.steps} steps, whatever share of the {len(scores)} images it sees. "
                "Bands and ± are standard deviations over seeds.",
                _chart(found.equal[1:], "Accuracy at equal steps", full, "random"),
                results_table(table_rows(found.equal, found.scoring_seconds), COLUMNS),
            ],
        ),
        Section(
            "Reduced steps: choose, or just stop earlier?",
            [
                "Here the work shrinks with the share. RS2 shows a new random part every epoch; the shortened "
                "schedule sees all images in fewer epochs; the static random subset is the same every epoch.",
                _chart(found.reduced, "Accuracy at reduced steps", full, "full data, shortened"),
                results_table(table_rows(found.reduced, found.scoring_seconds), COLUMNS),
            ],
        ),
        Section("Scores", _scores(scores, hardest)),
        Section("Images", _images(scores, len(hardest), ranking.chosen)),
    ]
    lead = (
        f"How many of {len(scores)} handwritten digits does a small network need, and which? With all of them it gets "
        f"{100 * full.mean:.1f} % of {len(open_data('digits', split='eval'))} other digits right. With so few, "
        "differences below one percent are noise."
    )
    text = page("datadiet demo", lead, sections, "Made by datadiet demo.", manifest=dict(scores.meta))
    atomic_write(found.page, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _chart(rows: Sequence[Row], title: str, full: Row, baseline: str) -> str:
    names = dict.fromkeys(row.method for row in rows)
    series = []
    for name in names:
        mine = [row for row in rows if row.method == name]
        x, y = [row.keep / 100 for row in mine], [row.mean for row in mine]
        series.append(Series(name, x, y, [row.spread for row in mine], baseline=name == baseline))
    return line_chart(
        series, title=title, x_label="kept share of the images per epoch", y_label="held-out accuracy",
        reference=Level("full data, all steps", full.mean, full.spread),
    )  # fmt: skip


def _scores(scores: Scores, hardest: Selection) -> list[str]:
    agreement = scores.meta["stability"]["el2n"]
    return [
        f"EL2N, the distance of the predicted probabilities from the label early in training, and the {len(hardest)} "
        "hardest images in a darker shade. Two seeds rank the images with a correlation of "
        f"{agreement['spearman']:.2f}, and share {100 * agreement['overlap_30']:.0f} % of their hardest 30 %.",
        histogram(scores["el2n"], hardest.keep, title="EL2N of all images", x_label="EL2N (higher is harder)"),
    ]


def _images(scores: Scores, k: int, order: np.ndarray) -> list[str]:
    source = open_data("digits")
    groups = {
        "Hardest": order[:_SHOWN],
        "Just above the cut (kept)": order[k - _SHOWN : k],
        "Just below the cut (left out)": order[k : k + _SHOWN],
        "Easiest": order[-_SHOWN:],
    }
    return [
        "By EL2N, with the cut of the hardest 30 %. Captions give the label.",
        grid([(name, [_picture(scores, source, int(row)) for row in rows]) for name, rows in groups.items()]),
    ]


def _picture(scores: Scores, source: Source, row: int) -> tuple[np.ndarray, str]:
    assert source.labels is not None
    return source.take([row])[0].numpy(), f"{source.class_names[source.labels[row]]} · {scores['el2n'][row]:.2f}"
