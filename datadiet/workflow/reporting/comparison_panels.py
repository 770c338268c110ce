"""A comparison in a report: its metric by share, the certificate, and all costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from datadiet.evaluate.noninferiority import Verdict
from datadiet.report.canvas import NARROW, rounded
from datadiet.report.intervals import Interval, intervals
from datadiet.report.markup import tag
from datadiet.report.matrix import Beside, Method, matrix
from datadiet.report.page import CardLine, side_by_side
from datadiet.report.palette import BASELINE, Look, look
from datadiet.report.svg import Level, Series, line_chart
from datadiet.report.tables import TableColumn, html_table
from datadiet.workflow.comparing.metrics import MEASURES, PAYS_OFF, Measure
from datadiet.workflow.reporting.panel import Panel, figure

__all__ = ["comparison_card", "comparison_lead", "comparison_panels"]

Row = Mapping[str, Any]
"""A row of `comparison.json`."""

_HEADINGS = {
    "equal": (
        "Equal steps: which examples?",
        "Every network takes {steps:,} steps, whatever share of the {n:,} examples it may see. So within a column, "
        "only the choice of examples differs.",
    ),
    "reduced": (
        "Fewer steps: choose, or just stop earlier?",
        "Here the work shrinks with the share of the examples per epoch. The question is how best to spend the steps "
        "that are left.",
    ),
}
_NOTES = {
    "random": "no scoring",
    "RS2": "new random examples each epoch",
    "full data, shortened": "all examples, as many steps",
}
_BASELINES = {
    "random": ("random examples", "lose", "gain"),
    "RS2": ("RS2", "loses", "gains"),
    "full data, shortened": ("all the data with as few steps", "loses", "gains"),
}
_COSTS: tuple[TableColumn, ...] = (
    ("name", "method", "left"), ("table", "steps", "left"), ("kept", "kept", "right"),
    ("scoring", "scoring (s)", "right"), ("selection", "choosing (s)", "right"), ("training", "training (s)", "right"),
    ("evaluation", "evaluation (s)", "right"), ("pays_after", "pays off after", "right"),
)  # fmt: skip


def comparison_lead(found: Mapping[str, Any]) -> str:
    """What is shown, in a sentence or two; never a bare winner."""
    measure = MEASURES[found["metric"]]
    margin, sentences = f"within {found['margin']:g} {measure.loss_unit} of all of them{measure.every}", []
    for budget, steps in (("equal", "With as many training steps"), ("reduced", "With fewer steps")):
        rows = _of(found, budget)
        within = [row for row in rows if row["verdict"] is not None and row["verdict"]["within"]]
        tested = [row for row in rows if row["verdict"] is not None]
        if not tested:
            continue
        if within:
            least = min(row["kept"] for row in within)
            names = " or ".join(row["name"] for row in within if row["kept"] == least)
            said = f"{_share(least, found)} of the examples, chosen by {names}, are shown to be {margin}"
        else:
            least = max(row["kept"] for row in tested)
            said = f"no choice of examples is shown to be {margin}"
        sentences += [f"{steps}, {said}.", _beside(rows, least, found)]
    return " ".join(sentences)


def _beside(rows: Sequence[Row], kept: int, found: Mapping[str, Any]) -> str:
    """What the baselines lose at the same share and steps, in a sentence; the verb is repeated where it changes."""
    measure, said, before = MEASURES[found["metric"]], list[str](), None
    for row in rows:
        if row["kept"] == kept and row["name"] in _BASELINES:
            name, loses, gains = _BASELINES[row["name"]]
            gained = row["loss"]["mean"] < 0
            verb = "" if gained == before else f" {gains if gained else loses}"
            unit = "" if said else f" {measure.loss_unit}{measure.worst}"
            said.append(f"{name}{verb} {rounded(abs(row['loss']['mean']), found['margin'] / 20)}{unit}")
            before = gained
    return f"For comparison, at {_share(kept, found)}: {', '.join(said)}."


def comparison_card(found: Mapping[str, Any]) -> list[CardLine]:
    """The numbers that matter most."""
    full, measure = found["rows"][0], _measure(found)
    seeds, unit = len(found["seeds"]), MEASURES[found["metric"]].loss_unit
    mean = measure.text(_values(full)).partition(" ")[0]
    worse = sum(row["verdict"] is not None and row["verdict"]["worse"] for row in found["rows"])
    tested = sum(row["verdict"] is not None for row in found["rows"])
    within = sum(row["verdict"] is not None and row["verdict"]["within"] for row in found["rows"])
    return [
        ("Full data", f"{mean} {measure.unit}", f"{measure.name}, mean of {seeds} seeds, {full['steps']:,} steps"),
        (
            "Within the margin",
            f"{within} of {tested}",
            f"{found['margin']:g} {unit}, {found['methods']} methods tested",
        ),
        ("Worse", f"{worse} of {tested}", "than all the examples, beyond chance"),
        ("Training on all", f"{full['costs']['training']:.3g} s", "one seed"),
        ("Evaluated on", f"{found['examples']:,}", "held-out examples"),
    ]


def comparison_panels(found: Mapping[str, Any]) -> list[Panel]:
    """Both tables, the costs and what limits them, from `comparison.json`."""
    looks = _looks(found)
    panels = _screening(found)
    for budget, (heading, words) in _HEADINGS.items():
        rows = _of(found, budget)
        if rows:
            about = words.format(steps=found["rows"][0]["steps"], n=found["n"])
            body = [about, side_by_side(_chart(found, rows, looks), _matrix(found, rows, looks))]
            body.append(_certificate(found, rows, looks))
            panels.append(Panel(budget, heading, [dict(row) for row in rows], body))
    costs = [_cost(row, found) for row in found["rows"]]
    words = (
        "Mean seconds of one seed. Scoring counts the training up to the last epoch that the score reads, and its "
        "passes. " + PAYS_OFF
    )
    spent = sorted(found.get("seconds", {}).items(), key=lambda one: -one[1])
    parts = [{"part": part, "seconds": seconds} for part, seconds in spent]
    columns: list[TableColumn] = [("part", "part", "left"), ("seconds", "seconds", "right")]
    shown: list[str | Markup] = [html_table(costs, _COSTS, "Costs of each row"), words]
    shown += [html_table(parts, columns, "Where the time of the whole comparison went")] if parts else []
    panels.append(Panel("costs", "What does it cost?", {"rows": costs, "parts": parts}, shown))
    if found["notes"]:
        panels.append(Panel("cautions", "What limits this comparison?", found["notes"], found["notes"]))
    return panels


def _screening(found: Mapping[str, Any]) -> list[Panel]:
    """The short trainings by which the methods were found among more."""
    screening = found.get("screening")
    if screening is None:
        return []
    rungs = screening["rungs"]
    rows: list[dict[str, Any]] = [
        {"name": name, "kept": name in rungs[-1]["kept"]}
        | {str(rung["epochs"]): rung["losses"].get(name) for rung in rungs}
        for name in rungs[0]["losses"]
    ]
    rows.append({"name": "random", "kept": None} | {str(rung["epochs"]): rung["random"] for rung in rungs})
    heads: list[TableColumn] = [(str(rung["epochs"]), f"{rung['epochs']} epochs", "right") for rung in rungs]
    columns = [("name", "method", "left"), *heads, ("kept", "compared", "left")]
    caption = f"Mean loss beyond the full data after short trainings, in {screening['unit']}."
    tried, without = screening["tried"], screening["without"]
    words = (
        f"Nothing here is certified. The screening used {len(screening['seeds'])} other seeds and "
        f"{screening['examples']:,} other evaluation examples than the tables below; the better half of the methods "
        f"went on. It took {tried['trainings']} trainings and {tried['steps']:,} steps. To compare all methods without "
        f"it would have taken {without['trainings']} trainings and {without['steps']:,} steps."
    )
    return [Panel("screening", "Screening (uncertified)", screening, [html_table(rows, columns, caption), words])]


def _of(found: Mapping[str, Any], budget: str) -> list[Row]:
    return [row for row in found["rows"] if row["budget"] == budget]


def _measure(found: Mapping[str, Any]) -> Measure:
    """What `_values` are: the metric that was compared, but accuracies in files that older versions wrote."""
    return MEASURES[found["metric"] if "measured" in found["rows"][0] else "accuracy"]


def _values(row: Row) -> Sequence[float]:
    """Of each seed."""
    return list(row.get("measured", row["accuracy"]))


def _share(kept: int, found: Mapping[str, Any]) -> str:
    return f"{100 * kept / found['n']:.3g}\N{NO-BREAK SPACE}%"


def _looks(found: Mapping[str, Any]) -> dict[str, Look]:
    """How each method looks, in both tables: random is dashed like all baselines."""
    names = dict.fromkeys(row["name"] for row in found["rows"][1:] if row["name"] != "random")
    return {"random": BASELINE} | {name: look(place) for place, name in enumerate(names)}


def _chart(found: Mapping[str, Any], rows: Sequence[Row], looks: Mapping[str, Look]) -> Markup:
    full, measure, series = found["rows"][0], _measure(found), []
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = sorted((row for row in rows if row["name"] == name), key=lambda row: row["kept"])
        x = [100 * row["kept"] / found["n"] for row in mine]
        mean, spread = zip(*(_level(row, measure) for row in mine), strict=True)
        series.append(Series(name, x, mean, spread, look=looks[name]))
    chart = line_chart(
        series, title=f"{measure.name.capitalize()} by share", x_label="share of the examples per epoch (%)",
        y_label=measure.heading, x_percent=False, y_percent=False, width=NARROW,
        reference=Level("full data, all steps", *_level(full, measure)),
    )  # fmt: skip
    seeds = len(found["seeds"])
    return figure(chart, f"Mean of {seeds} seeds; bands are one standard deviation. The table has the same numbers.")


def _level(row: Row, measure: Measure) -> tuple[float, float]:
    """Mean and standard deviation of the seeds."""
    shown = measure.shown(_values(row))
    return float(shown.mean()), float(shown.std(ddof=1))


def _matrix(found: Mapping[str, Any], rows: Sequence[Row], looks: Mapping[str, Look]) -> Markup:
    shares = sorted({row["kept"] for row in rows})
    full, measure, methods = found["rows"][0], _measure(found), []
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = sorted((row for row in rows if row["name"] == name), key=lambda row: row["kept"])
        shown = ["" if row["verdict"] is None else _word(row["verdict"]) for row in mine]
        note = _NOTES.get(name) or f"+ {mine[0]['costs']['scoring'] + mine[0]['costs']['selection']:.3g} s to choose"
        methods.append(Method(name, looks[name], [measure.text(_values(row)) for row in mine], note, shown))
    steps = {row["kept"]: row["steps"] for row in rows}
    headings = [(_share(kept, found), f"{steps[kept]:,} steps") for kept in shares]
    caption = (
        f"{measure.name.capitalize()} in {measure.unit}, mean ± standard deviation of {len(found['seeds'])} seeds, "
        "by share of the examples per epoch; below it, what is shown"
    )
    heading = ("100\N{NO-BREAK SPACE}%", f"full data, {full['steps']:,} steps")
    beside = Beside(heading, measure.text(_values(full)))
    return matrix(methods, headings, caption, beside)


def _certificate(found: Mapping[str, Any], rows: Sequence[Row], looks: Mapping[str, Look]) -> Markup:
    unit = MEASURES[found["metric"]].loss_unit
    drawn = [
        Interval(
            f"{_share(row['kept'], found)}, {row['name']}", row["loss"]["mean"], row["loss"]["lower"],
            row["loss"]["upper"], looks[row["name"]], "baseline" if row["verdict"] is None else _word(row["verdict"]),
        )
        for row in rows
    ]  # fmt: skip
    chart = intervals(
        drawn, found["margin"], title="Loss beyond all the data", x_label=f"loss ({unit}); right is worse"
    )
    level = 100 * (1 - found["alpha"] / found["methods"])
    words = (
        f"Each limit is one-sided, at {level:.4g} %, over the seeds and the {found['examples']:,} evaluation examples. "
        "Within the margin: the right end is left of it, and so it is for all larger shares. Worse: the left end is "
        "right of zero, and so it is for all smaller shares. Not shown: neither. Baselines are not tested."
    )
    return tag("div", figure(chart, words), class_="certificate")


def _word(verdict: Mapping[str, bool]) -> str:
    return str(Verdict(**verdict))


def _cost(row: Row, found: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"name": row["name"], "table": row["budget"], "kept": _share(row["kept"], found), **row["costs"]}
    within = row["verdict"] is not None and row["verdict"]["within"]
    return shown | {"pays_after": row["pays_after"] if within else None}
