"""The page of the demo: the answer, the two comparisons, the scores, the images, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from datadiet.files.writing import atomic_write
from datadiet.report.canvas import NARROW
from datadiet.report.images import grid
from datadiet.report.markup import tag
from datadiet.report.matrix import Beside, Method, matrix
from datadiet.report.page import Section, page, side_by_side
from datadiet.report.palette import BASELINE, REFERENCE, look
from datadiet.report.svg import Level, Series, histogram, line_chart
from datadiet.report.tables import Percent
from datadiet.table import Scores, Selection
from datadiet.workflow.comparing.comparison import COMMANDS, Comparison, Row
from datadiet.workflow.comparing.examples import Predictions, picture_groups
from datadiet.workflow.comparing.findings import NOISE, answer, budgets, leader

__all__ = ["HARDEST", "LOOKS", "write_page"]

HARDEST = "top-k (EL2N, hardest)"
LOOKS = {
    "full data": REFERENCE,
    "random": BASELINE,
    "static random": BASELINE,  # the same subsets, trained for fewer steps
    "CCS (AUM)": look(0),
    HARDEST: look(1),
    "RS2": look(2),
    "full data, shortened": look(3),
}
"""How each method looks, all over the page."""


def write_page(
    found: Comparison, scores: Scores, hardest: Selection, order: NDArray[np.int64], predicted: Predictions
) -> None:
    """Write the page to `found.page`.

    Args:
        found: the comparison.
        scores: the score table of the digits.
        hardest: the top-k selection whose cut the page shows.
        order: all rows as the same method ranks them.
        predicted: what a network of the run predicts.
    """
    full = found.equal[0]
    sections = [
        Section("Equal steps: which images?", _equal(found, len(scores))),
        Section("Fewer steps: choose, or just stop earlier?", _reduced(found)),
        Section("How hard is each image?", _scores(scores, hardest)),
        Section("What the images look like", _images(scores, len(hardest), order, predicted)),
        Section("Next: your own images", _next()),
    ]
    facts = [
        f"{len(scores):,} handwritten digits to train on",
        f"{len(full.correct)} others to test on",
        "a small network",
        f"{len(full.accuracy)} seeds",
        f"made in {found.seconds:.0f} s",
    ]
    title = "How much of the data does a network need?"
    text = page(title, answer(found), sections, "Made by datadiet demo.", facts=facts, manifest=dict(scores.meta))
    atomic_write(found.page, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _equal(found: Comparison, n: int) -> list[str]:
    full = found.equal[0]
    notes = {
        row.method: f"+ {found.scoring_seconds:.1f} s scoring" if row.scored else "no scoring" for row in found.equal
    }
    return [
        f"Each network takes {full.steps} steps, whatever share of the {n:,} images it may see. So within a column, "
        "only the choice of images differs.",
        side_by_side(_chart(found.equal[1:], "Accuracy at equal steps", full), _matrix(found.equal[1:], full, notes)),
        f"{_verdict(found.equal)} The scores take {found.scoring_seconds:.1f} s, once for all shares; training one "
        f"network takes {full.seconds:.1f} s.",
    ]


def _reduced(found: Comparison) -> list[str]:
    full = found.equal[0]
    notes = {
        "RS2": "new random images each epoch",
        "full data, shortened": "all images, as many steps",
        "static random": "the same images each epoch",
    }
    seconds = [row.seconds for row in found.reduced]
    return [
        "Here the work shrinks with the share of the images per epoch. The question is how best to spend the steps "
        "that are left.",
        side_by_side(_chart(found.reduced, "Accuracy at fewer steps", full), _matrix(found.reduced, full, notes)),
        f"{_verdict(found.reduced)} No method here needs scores. Training one network takes {min(seconds):.1f} to "
        f"{max(seconds):.1f} s.",
    ]


def _chart(rows: Sequence[Row], title: str, full: Row) -> Markup:
    series = []
    for name in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == name]
        mean, spread = [100 * row.mean for row in mine], [100 * row.spread for row in mine]
        series.append(Series(name, [row.keep for row in mine], mean, spread, look=LOOKS[name]))
    chart = line_chart(
        series, title=title, x_label="share of the images per epoch (%)", y_label="held-out accuracy (%)",
        x_percent=False, y_percent=False, width=NARROW,
        reference=Level("full data, all steps", 100 * full.mean, 100 * full.spread),
    )  # fmt: skip
    about = f"Mean of {len(full.accuracy)} seeds; bands are one standard deviation. The table has the same numbers."
    return tag("figure", chart, tag("figcaption", about), class_="chart")


def _matrix(rows: Sequence[Row], full: Row, notes: dict[str, str]) -> Markup:
    """Methods by kept shares; a cell is marked if it leads its column by more than noise."""
    by_share = budgets(rows)
    leaders = [leader(column) for column in by_share.values()]
    methods = []
    for name in dict.fromkeys(row.method for row in rows):
        mine = [row for column in by_share.values() for row in column if row.method == name]
        best = frozenset(place for place, row in enumerate(mine) if row is leaders[place])
        methods.append(Method(name, LOOKS[name], [_accuracy(row) for row in mine], notes[name], best))
    headings = [(f"{keep}\N{NO-BREAK SPACE}%", f"{column[0].steps} steps") for keep, column in by_share.items()]
    caption = (
        f"Held-out accuracy in %, mean ± standard deviation of {len(full.accuracy)} seeds, by share of the images per "
        "epoch"
    )
    beside = Beside(("100\N{NO-BREAK SPACE}%", f"full data, {full.steps} steps"), _accuracy(full), LOOKS["full data"])
    return matrix(methods, headings, caption, beside)


def _accuracy(row: Row) -> Percent:
    return Percent(row.mean, row.spread)


def _verdict(rows: Sequence[Row]) -> str:
    """How noise is judged, and whether any column has a marked cell."""
    leaders = {keep: leader(column) for keep, column in budgets(rows).items()}
    marked = [f"{row.method} at {keep}\N{NO-BREAK SPACE}%" for keep, row in leaders.items() if row is not None]
    if not marked:
        return f"{NOISE} No method leads its column by that much, so none is marked as the best."
    return f"{NOISE} Marked as the best, because it leads its column by that much: {', '.join(marked)}."


def _scores(scores: Scores, hardest: Selection) -> list[str]:
    agreement = scores.meta["stability"]["el2n"]
    chart = histogram(
        scores["el2n"], hardest.keep, title="EL2N of all images", x_label="EL2N (higher is harder)", bins=40,
        kept_look=LOOKS[HARDEST], width=NARROW,
    )  # fmt: skip
    about = f"In colour: the {len(hardest)} hardest images, which {HARDEST} keeps at 30\N{NO-BREAK SPACE}%."
    meaning = (
        "EL2N is the distance between the predicted probabilities and the label, early in training: the higher, the "
        "harder the image."
    )
    agreeing = (
        f"Two seeds rank the images with a correlation of {agreement['spearman']:.2f} and share "
        f"{100 * agreement['overlap_30']:.0f}\N{NO-BREAK SPACE}% of their hardest 30\N{NO-BREAK SPACE}%."
    )
    figure = tag("figure", chart, tag("figcaption", about), class_="chart")
    return [side_by_side(figure, tag("div", tag("p", meaning), tag("p", agreeing)))]


def _images(scores: Scores, k: int, order: NDArray[np.int64], predicted: Predictions) -> list[str]:
    epochs = " and then after epoch ".join(map(str, sorted(predicted)))
    right, n = int((predicted[max(predicted)] == scores.labels).sum()), len(scores)
    share = f"all its {n:,} training images right, the hard ones too" if right == n else f"{right:,} of its {n:,} right"
    return [
        f"Ranked by EL2N, with the cut at the hardest 30\N{NO-BREAK SPACE}%. Below each image: its label, what the "
        f"first network predicted after epoch {epochs}, and its EL2N. In the end that network gets {share}.",
        grid(picture_groups(scores, predicted, order, k)),
    ]


def _next() -> list[str]:
    steps = [tag("li", tag("span", what), tag("pre", tag("code", _unbroken(command)))) for what, command in COMMANDS]
    return [
        "Put your images into a folder named photos, with one folder per class. Three commands do the same for them:",
        tag("ol", *steps, class_="commands"),
        tag(
            "p",
            "The documentation goes on from here: ",
            tag("code", "docs/how-to/own-images.md"),
            " on your own images, ",
            tag("code", "docs/tutorials/first-selection.md"),
            " step by step, and ",
            tag("code", "docs/explanation/honest-comparison.md"),
            " on why there are two tables.",
        ),
    ]


def _unbroken(command: str) -> Markup:
    """A command whose lines break only between its options."""
    parts = re.split(r"(--\S+ [^-\s]\S*|\S+)", command)
    return Markup("").join(tag("span", part) if part.strip() else part for part in parts)
