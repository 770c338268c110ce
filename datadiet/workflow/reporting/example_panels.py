"""Examples of a report: hard and easy ones, kept and left out; duplicates beside what they repeat; doubtful labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from datadiet.errors import DataError, OptionError, one_line
from datadiet.randomness import generator
from datadiet.report.canvas import number_of
from datadiet.report.images import grid
from datadiet.report.tables import TableColumn, html_table
from datadiet.selectors import SELECTORS
from datadiet.table.examples import as_ids
from datadiet.workflow.reporting.examples import about, as_shown
from datadiet.workflow.reporting.panel import Panel
from datadiet.workflow.reporting.subject import Subject
from datadiet.workflow.selecting.suspected import Suspects

__all__ = ["duplicate_panels", "example_panels", "suspect_panels"]

_EACH, _PAIRS, _SUSPECTS = 6, 6, 12
_LITTLE = 0.5  # below this, no value separates what is kept well, so there is no cut to show

Group = tuple[str, str, np.ndarray]
"""Name, what it is, and its rows."""


def example_panels(subject: Subject) -> list[Panel]:
    """Some examples of each kind."""
    groups, words = _selected(subject) if subject.selection is not None else _ranked(subject)
    groups = [group for group in groups if len(group[2])]
    if not groups:
        return []
    if subject.source is None:
        subject.note("The examples themselves: name the data, data= (--data DATA).")
    return [Panel("examples", "Which examples are these?", *_drawn(subject, groups, words))]


def _drawn(subject: Subject, groups: Sequence[Group], words: str) -> tuple[dict[str, Any], list[str | Markup]]:
    predicted = subject.predicted(np.concatenate([rows for *_, rows in groups]))
    values: dict[str, Any] = {}
    drawn = []
    for name, what, rows in groups:
        values[name] = about(subject, rows, predicted)
        drawn.append((name, what, as_shown(subject, rows, values[name])))
    return values, [words, grid(drawn)]


def _ranked(subject: Subject) -> tuple[list[Group], str]:
    """The hardest, the middle and the easiest of all."""
    hardness = subject.hardness
    if hardness is None:
        return [], ""
    order = _hardest_first(hardness, np.flatnonzero(~np.isnan(hardness)))
    middle = max(0, (len(order) - _EACH) // 2)
    groups = [
        ("Hardest", f"by {subject.main}", order[:_EACH]),
        ("In the middle", "", order[middle : middle + _EACH]),
        ("Easiest", "", order[-_EACH:][::-1]),
    ]
    return (
        groups,
        f"Ranked by {subject.main}. Among the hardest, look for wrong labels; among the easiest, for repeats.",
    )


def _selected(subject: Subject) -> tuple[list[Group], str]:
    """Kept examples beside those that are left out."""
    assert subject.kept is not None, "there is a selection"
    kept, hardness = subject.kept, subject.hardness
    rng = generator(0, "report")
    typical = [
        (name, "at random", np.sort(rng.choice(rows, min(_EACH, len(rows)), replace=False)))
        for name, rows in (("Kept", np.flatnonzero(kept)), ("Left out", np.flatnonzero(~kept)))
    ]
    if hardness is None or np.isnan(hardness).any():
        return typical, "A random few of the examples that are kept, and of those that are not."
    groups: list[Group] = []
    for name, rows in (("kept", np.flatnonzero(kept)), ("left out", np.flatnonzero(~kept))):
        order = _hardest_first(hardness, rows)
        groups += [(f"Hardest {name}", "", order[:_EACH]), (f"Easiest {name}", "", order[-_EACH:][::-1])]
    decided, border = _border(hardness, kept)
    further = border if decided >= _LITTLE else typical
    words = f"Ranked by {subject.main}." + ("" if kept.all() else f" {_separates(subject.main, decided)}")
    said = {frozenset(rows.tolist()): what for _, what, rows in further}
    groups = [(name, said.get(frozenset(rows.tolist()), ""), rows) for name, _, rows in groups]
    return [*groups, *(group for group in further if not _shown(group, groups))], words


def _separates(name: str | None, decided: float) -> str:
    """How well a single value of the score separates what is kept."""
    if round(100 * decided) == 100:
        return f"A single value of {name} separates the kept examples from the rest."
    return (
        f"No single value of {name} separates the kept examples from the rest: the best one reaches "
        f"{100 * decided:.0f} % (100 % = completely, 0 % = not at all)."
    )


def _shown(group: Group, others: Sequence[Group]) -> bool:
    """Whether another group has all the examples of this one."""
    return any(np.isin(group[2], rows).all() for *_, rows in others)


def _hardest_first(hardness: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return rows[np.argsort(-hardness[rows], kind="stable")]


def _border(hardness: np.ndarray, kept: np.ndarray) -> tuple[float, list[Group]]:
    """How well one value separates kept from left out, and the examples on both sides of the best such value.

    The first is the Kolmogorov-Smirnov distance between the scores of both, in [0, 1].
    """
    if kept.all() or not kept.any():
        return 0.0, []
    order = _hardest_first(hardness, np.arange(len(kept)))
    inside = kept[order]
    gap = np.cumsum(inside) / inside.sum() - np.cumsum(~inside) / (~inside).sum()
    ranked = hardness[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # ties lie on one side
    cut = int(ends[np.argmax(np.abs(gap[ends]))])
    before, after = order[: cut + 1], order[cut + 1 :]
    hard_is_kept = gap[cut] > 0
    sides = ("Borderline, kept", "just on the kept side"), ("Borderline, left out", "just left out")
    harder, easier = sides if hard_is_kept else sides[::-1]
    groups = [
        (*harder, before[kept[before] == hard_is_kept][-_EACH:]),
        (*easier, after[kept[after] != hard_is_kept][:_EACH]),
    ]
    return float(abs(gap[cut])), groups


def duplicate_panels(subject: Subject) -> list[Panel]:
    """Examples that were left out beside what is like them, the least similar pairs first."""
    selection = subject.selection
    if selection is None or selection.witness is None:
        return []
    left = np.flatnonzero(np.asarray(selection.witness.is_valid()))
    similarity = np.full(len(selection.index), np.nan) if selection.similarity is None else selection.similarity
    first = left[np.argsort(similarity[left], kind="stable")][:_PAIRS]
    witnesses = selection.witness.take(pa.array(first)).cast(pa.string())
    pairs: list[dict[str, Any]] = [
        {"id": name, "like": witness, "similarity": value if np.isfinite(value) else None}
        for name, witness, value in zip(
            subject.ids(first), witnesses.to_pylist(), similarity[first].tolist(), strict=True
        )
    ]
    of_reference = selection.meta.get("params", {}).get("reference") is not None
    alike = bool((np.isnan(similarity[left]) | (np.round(similarity[left], 3) == 1)).all())  # none more than another
    body: list[str | Markup] = [_pair_words(selection.meta.get("method"), len(left), of_reference, alike)]
    if subject.source is None:
        caption = "Pairs" if alike else "Pairs, the least alike first"
        body += [html_table(pairs, _PAIR_COLUMNS[: 2 if alike else 3], caption)] if pairs else []
    else:
        ours = pc.index_in(witnesses, as_ids(selection.ids, selection.index)).to_pylist()
        groups = []
        for pair, row, other in zip(pairs, first.tolist(), ours, strict=True):
            rows = [row] if of_reference or other is None else [row, other]
            what = "" if alike or pair["similarity"] is None else f"similarity {pair['similarity']:.3f}"
            name = f"{one_line(pair['id'], 60)} is like {one_line(pair['like'], 60)}"
            name += " of the reference data" if of_reference else ""
            groups.append((name, what, as_shown(subject, rows, about(subject, rows, {}))))
        body.append(grid(groups))
    values = {"left_out": len(left), "of_reference": of_reference, "pairs": pairs}
    copies = _by_threshold(selection.meta.get("method"))
    heading = "Which examples are copies of which?" if copies else "What is kept in place of those left out?"
    return [Panel("duplicates", heading, values, body)]


def _by_threshold(method: str | None) -> bool:
    """Whether a method leaves out what is too much alike, however many these are."""
    return method in SELECTORS and not SELECTORS[method].needs_size


def _pair_words(method: str | None, left: int, of_reference: bool, alike: bool) -> str:
    """Why a method names an example beside each that it leaves out."""
    if _by_threshold(method):
        what = "one of the reference data" if of_reference else "another one"
        why = f"{number_of(left)} {'is' if left == 1 else 'are'} left out for being much like {what}."
        doubt = "if these are not repeats, too much is left out"
    else:
        why = f"Beside each of {number_of(left)} left out stands the one that {method} keeps in its place."
        doubt = "if these have little in common, more should be kept"
    return why if alike else f"{why} The pairs shown are those that are least alike: {doubt}."


def suspect_panels(subject: Subject) -> list[Panel]:
    """The examples whose labels are most likely wrong."""
    if subject.run is None or subject.labels is None or (subject.labels < 0).any():
        return []
    top = min(_SUSPECTS, len(subject))
    found = _suspects(subject, top)
    if found is None:
        return []
    values = found.as_dict()
    words = (
        f"Ranked by {found.score}. These are suspects, not errors: rare, ambiguous and simply hard examples look the "
        "same to a network. To list more: dd.suspects(RUN) (datadiet suspects RUN)."
    )
    rows = np.searchsorted(subject.index, np.asarray([row["index"] for row in values["suspects"]]))
    if subject.source is None:
        present = values["suspects"][0] if values["suspects"] else {}
        columns: list[TableColumn] = [column for column in _SUSPECT_COLUMNS if column[0] in present]
        body: list[str | Markup] = [words, html_table(values["suspects"], columns, f"The {top} most suspicious labels")]
    else:
        said = [_as_said(row, found.score) for row in values["suspects"]]
        body = [words, grid([("Most suspicious", "given label and prediction", as_shown(subject, rows, said))])]
    return [Panel("suspects", "Which labels may be wrong?", values, body)]


def _suspects(subject: Subject, top: int) -> Suspects | None:
    """By the last checkpoint if there is data, else by what was recorded; None, with a note, if by neither."""
    from datadiet.workflow.selecting.suspects import suspects

    assert subject.run is not None, "asked for before"
    given = {} if subject.source is None else {"data": subject.source, "model": subject.model, "device": subject.device}
    try:
        return suspects(subject.run, top, **given)
    except (DataError, OptionError):
        pass  # the network cannot be asked, or there is nothing to rank by
    try:
        return suspects(subject.run, top)
    except (DataError, OptionError) as error:
        subject.note(f"Suspected wrong labels: {error}")
    return None


def _as_said(row: Mapping[str, Any], score: str) -> dict[str, Any]:
    entry = {"index": row["index"], "id": row["id"], "label": row["given"], "predicted": row.get("predicted")}
    known = {key: value for key, value in entry.items() if value is not None}
    return known | {"score": score, "value": row["score"]}


_PAIR_COLUMNS: tuple[TableColumn, ...] = (
    ("id", "left out", "left"), ("like", "is like", "left"), ("similarity", "similarity", "right"),
)  # fmt: skip
_SUSPECT_COLUMNS: tuple[TableColumn, ...] = (
    ("id", "id", "left"), ("given", "given", "left"), ("predicted", "predicted", "left"),
    ("p_given", "p given", "right"), ("p_predicted", "p predicted", "right"), ("score", "score", "right"),
)  # fmt: skip
