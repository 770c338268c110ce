"""make_report: one page about a run, a score file, a selection or a comparison."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.errors import DataError, OptionError
from datadiet.files import parquet_identity, read_json
from datadiet.report.canvas import number_of
from datadiet.report.page import CardLine
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_history, read_manifest, read_record
from datadiet.table import Scores, Selection
from datadiet.table.incoming import FOREIGN, form_of
from datadiet.table.orientation import HigherIs
from datadiet.workflow.artefacts import kind_of
from datadiet.workflow.reporting.class_panels import class_counts, class_panels
from datadiet.workflow.reporting.commands import (
    compare_command,
    known_commands,
    score_command,
    select_command,
    train_command,
)
from datadiet.workflow.reporting.comparison_panels import comparison_card, comparison_lead, comparison_panels
from datadiet.workflow.reporting.example_panels import duplicate_panels, example_panels, suspect_panels
from datadiet.workflow.reporting.panel import Panel, Report
from datadiet.workflow.reporting.score_panels import score_panels
from datadiet.workflow.reporting.subject import Subject
from datadiet.workflow.reporting.training_panels import history_panel, recall_panel

__all__ = ["make_report"]

_LEARNED = 0.1  # of the way from chance to all right


def make_report(
    what: str | Path | Scores | Selection,
    *,
    data: Any = None,
    scores: str | Path | Scores | None = None,
    scores_id: str | None = None,
    score: str | None = None,
    model: Any = None,
    device: Any = "auto",
    higher_is: HigherIs = "harder",
) -> Report:
    """Say what a run, a score file, a selection or a comparison holds, on one page.

    Args:
        what: the folder of a run of `score` or `train` or of a comparison, a score file, a selection file, or `Scores`
            or a `Selection` in memory.
        data: the data, for its examples: a spec, a data set or a `Source`.
        scores: for a selection, what it was made from: a run folder, a score file or `Scores`.
        scores_id: the column of ids in a table of scores from another program; None = `id`, if there is one. Its rows
            may have any order.
        score: the column to rank examples by; None = the one that the selection was made by, or the first.
        model: what the checkpoint of a run belongs to, if it is not a network that the run may name.
        device: "auto" or a torch device, to evaluate that network on the examples shown.
        higher_is: what a high value means in a score file that does not say, "harder" or "easier"; a selection knows
            it of the scores that it was made by.

    Returns:
        The report; `write` makes the page and `as_dict` gives all its numbers.

    Raises:
        DataError: missing, damaged, or nothing that can be reported on.
        FingerprintMismatch: data or scores that do not belong to it.
        OptionError: options that do not fit what is reported on.
    """
    if not isinstance(what, (str, Path, Scores, Selection)):
        raise OptionError(
            f"a report on something of type {type(what).__name__}: give a path, Scores (such as "
            "dd.Scores.from_arrays(values)) or a Selection."
        )
    kind = {Scores: "scores", Selection: "selection"}.get(type(what)) or kind_of(Path(str(what)))
    if scores is not None and kind != "selection":
        raise OptionError(f"scores= (--scores) is for a selection, and this is a {kind}: leave it out.")
    options = {"score": score, "data": data, "model": model, "device": device}
    if kind == "selection":
        selection = what if isinstance(what, Selection) else Selection.read(str(what))
        table, run = _scores_of(scores, higher_is, scores_id)
        return _on_selection(Subject.of(table, selection, run, **options))
    if kind in ("run", "scores"):
        table, run = _scores_of(what, higher_is, scores_id)
        return _on_scores(kind, Subject.of(table, None, run, **options))
    if kind == "training":
        _refuse_for_training(data=data, score=score, model=model, scores_id=scores_id)
        return _on_training(Layout(Path(str(what))))
    if kind == "comparison":
        _refuse_scores_id(scores_id)
        return _on_comparison(Layout(Path(str(what))), options)
    if "not finished" in kind:
        raise DataError(f"{what} is {kind}: run the command that made it again, and it continues.")
    raise DataError(
        f"{what} is {kind}: report takes a run of score, train or compare, a score file or a selection, so give one of "
        "these."
    )


def _scores_of(given: Any, higher_is: HigherIs = "harder", id: str | None = None) -> tuple[Scores | None, Path | None]:
    """The scores, and the run that they are in."""
    if given is None or isinstance(given, Scores):
        _refuse_scores_id(id)
        return given, None
    path = Path(given)
    if id is not None:
        if os.path.isdir(path) or (form_of(path) not in FOREIGN and parquet_identity(path)[0] is not None):
            _refuse_scores_id(id)
        return Scores.from_table(path, higher_is=higher_is, id=id), None
    return Scores.read(path, higher_is=higher_is), path if os.path.isdir(path) else None


def _refuse_scores_id(given: str | None) -> None:
    if given is not None:
        raise OptionError(
            f"scores_id={given!r} (--scores-id) names a column in a table of scores from another program, and there is "
            "no such table here: leave it out."
        )


def _on_selection(subject: Subject) -> Report:
    selection = subject.selection
    assert selection is not None, "of this kind"
    k, n, meta = len(selection), len(subject), selection.meta
    method, counts = meta.get("method", "an unknown method"), class_counts(subject)
    by = f" ({meta['columns']['score']})" if "score" in meta.get("columns", {}) else ""
    by += " within each class" if meta.get("by_class") else ""
    are = "is" if k == 1 else "are"
    lead = f"{k:,} of {number_of(n)} ({100 * k / n:.4g} %) {are} kept by {method}{by}."
    card: list[CardLine] = [("Kept", f"{k:,}", f"of {number_of(n)}, {100 * k / n:.4g} %")]
    if counts is not None:
        shares = np.array(counts.after) / np.array(counts.before)
        low, high = 100 * float(shares.min()), 100 * float(shares.max())
        lost = counts.vanished
        vanished = f" {len(lost)} of {len(shares)} classes keep{'s' if len(lost) == 1 else ''} nothing." if lost else ""
        spread = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
        lead += f" Classes keep {spread} % of their examples.{vanished}" if len(shares) > 1 else ""
        names = ", ".join(lost[:5]) + (" …" if len(lost) > 5 else "")
        card.append(("Classes", f"{len(shares) - len(lost)} of {len(shares)}", "still have examples"))
        card.append(("Vanished", str(len(lost)), names or "no class lost all its examples"))
    card += _scoring_cost(subject)
    if subject.scores is None and (meta.get("columns") or not meta.get("parents")):  # not of vectors or texts alone
        subject.note("Scores, and what the selection keeps of them: name the run, scores= (--scores RUN).")
    panels = [*score_panels(subject), *class_panels(subject), *example_panels(subject), *duplicate_panels(subject)]
    panels += suspect_panels(subject)
    scored = None if subject.scores is None else subject.scores.meta
    lead += _weak({} if scored is None else scored.get("facts", {}))
    commands = [None if scored is None else score_command(scored), select_command(meta)]
    provenance = {"selection": dict(meta)} | ({} if scored is None else {"scores": dict(scored)})
    return _report(
        "selection", "What is kept, and what is not", lead, card, panels, subject.notes, commands, provenance
    )


def _on_scores(kind: str, subject: Subject) -> Report:
    scores = subject.scores
    assert scores is not None, "of this kind"
    if subject.main is None:
        raise DataError("there is no score to report on: score first (datadiet score, or datadiet rescore RUN).")
    facts, n = scores.meta.get("facts", {}), len(subject)
    labels = subject.labels
    classes = 0 if labels is None else len(np.unique(labels[labels >= 0]))
    of = f" of {number_of(classes, 'class')}" if classes else ""
    have = "has" if n == 1 else "have"
    lead = f"{number_of(n)}{of} {have} {number_of(len(scores.names), 'score')}."
    agreement = scores.meta.get("stability", {}).get(subject.main, {})
    if "spearman" in agreement:
        lead += (
            f" By {subject.main}, two seeds rank them with a correlation of {agreement['spearman']:.2f} and share "
            f"{100 * agreement['overlap_30']:.0f} % of their hardest 30 %."
        )
    card: list[CardLine] = [("Examples", f"{n:,}", number_of(classes, "class") if classes else "without labels")]
    if "accuracy" in facts:
        card.append(("Accuracy", f"{100 * facts['accuracy']:.1f} %", "of the scoring network, on held-out data"))
    lead += _weak(facts)
    card += _scoring_cost(subject)
    panels = [*score_panels(subject), *class_panels(subject), *suspect_panels(subject), *example_panels(subject)]
    history = _histories(subject.log)
    panels += [history_panel(history)] if history else []
    return _report(
        kind, "How hard is each example?", lead, card, panels, subject.notes, [score_command(scores.meta)],
        {"scores": dict(scores.meta)},
    )  # fmt: skip


def _on_training(layout: Layout) -> Report:
    manifest, log = read_manifest(layout.path), read_record(layout.log)
    if "steps" not in log:
        raise DataError(f"{layout.path} is not finished: run the command that made it again, and it continues.")
    plan, kept = manifest["plan"], int(log["kept"])
    lead = f"The network was trained for {log['steps']:,} steps on {number_of(kept)} an epoch."
    card: list[CardLine] = [("Examples", f"{kept:,}", "in an epoch"), ("Steps", f"{log['steps']:,}", plan["model"])]
    card.append(("Training", f"{log['seconds']:.3g} s", "without evaluation"))
    if "accuracy" in log:
        lead += f" It gets {100 * log['accuracy']:.1f} % of the held-out examples right."
        card.insert(0, ("Accuracy", f"{100 * log['accuracy']:.1f} %", "on held-out data"))
    panels = [history_panel({int(plan.get("seed", 0)): read_history(layout)})]
    panels += [recall_panel(log["class_recall"], plan.get("class_names", ()))] if "class_recall" in log else []
    command = train_command(plan)
    notes = [] if command is not None else ["The command: only plain trainings have theirs here; see Provenance."]
    return _report("training", "How did the training go?", lead, card, panels, notes, [command], {"plan": plan})


def _refuse_for_training(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise OptionError(
                f"{name}= (--{name.replace('_', '-')}) is about scores, and a run of train has none: leave it out, or "
                "report on a run of score."
            )


def _on_comparison(layout: Layout, options: Mapping[str, Any]) -> Report:
    found = read_json(layout.comparison)
    panels, notes = comparison_panels(found), []
    if Layout(layout.scored).is_run:
        table, run = _scores_of(layout.scored)
        subject = Subject.of(table, None, run, **options)
        panels += [*score_panels(subject), *class_panels(subject), *suspect_panels(subject), *example_panels(subject)]
        notes += subject.notes
    else:
        notes.append("Scores: this comparison took them from another run; report on that run.")
    plan = read_manifest(layout.trainings)["plan"]
    title = "How much of the data does a network need?"
    commands = [compare_command(found, plan, reused=not Layout(layout.scored).is_run)]
    lead, card = comparison_lead(found), comparison_card(found)
    return _report("comparison", title, lead, card, panels, notes, commands, {"plan": plan})


def _report(
    kind: str, title: str, lead: str, card: list[CardLine], panels: list[Panel], notes: list[str],
    commands: list[str | None], provenance: Mapping[str, Any],
) -> Report:  # fmt: skip
    return Report(kind, title, lead, card, panels, notes, known_commands(commands), provenance)


def _weak(facts: Mapping[str, Any]) -> str:
    """A warning if the network that scored has hardly learned anything; its scores are then those of its start."""
    accuracy, classes = facts.get("accuracy"), facts.get("num_classes", 0)
    if accuracy is None or classes < 2:
        return ""
    chance = 1 / classes
    if accuracy - chance > _LEARNED * (1 - chance):
        return ""
    return (
        f" But the network that scored gets only {100 * accuracy:.3g} % of the held-out examples right, where guessing "
        f"among {classes} classes gets {100 * chance:.3g} %: train it for longer, or its scores say little."
    )


def _scoring_cost(subject: Subject) -> list[CardLine]:
    """Seconds of scoring, as the run counted them."""
    seconds = [
        float(entry["seconds"])
        for name, entry in subject.log.items()
        if isinstance(entry, dict) and "seconds" in entry and not name.startswith("#")
    ]
    if not seconds:
        return []
    seeds = sum(name.startswith("train seed") for name in subject.log)
    return [("Scoring", f"{sum(seconds):.3g} s", number_of(seeds, "training") if seeds else "without training")]


def _histories(log: Mapping[str, Any]) -> dict[int, Any]:
    return {
        int(name.rpartition(" ")[2]): entry["history"]
        for name, entry in log.items()
        if name.startswith("train seed ") and entry.get("history")
    }
