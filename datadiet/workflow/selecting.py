"""select: from scores and a budget to a selection. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datadiet.errors import DataError, OptionError, unknown_name
from datadiet.randomness import Keys
from datadiet.selectors import SELECTORS, SelectorSpec
from datadiet.selectors.budget import parse_keep
from datadiet.selectors.by_class import per_class
from datadiet.selectors.ccs import draw_evenly
from datadiet.table import Scores, Selection
from datadiet.workflow.requests import check_value, load_callable, parameters

__all__ = ["select"]


def select(
    scores: Scores | np.ndarray | str | Path,
    method: str | Callable[..., Any] = "ccs",
    *,
    keep: int | float | str,
    score: str | None = None,
    columns: Mapping[str, str] | None = None,
    by_class: bool = False,
    seed: int = 0,
    higher_is: Literal["harder", "easier"] = "harder",
    **params: Any,
) -> Selection:
    """Choose which examples to keep.

    Args:
        scores: a Scores, a run folder or file, or a bare (n,) array.
        method: a name from `datadiet.selectors.SELECTORS`, "py:module:function" or a function
            `fn(hardness, k, *, keys, …) -> positions`.
        keep: an int is a count, a float in (0, 1] or a text such as "30%" a fraction.
        score: the column to select by; may be left out if there is one, or if the method has one of its own.
        columns: parameter -> column, for methods that read a second one, such as {"cutoff_scores": "el2n"} for ccs.
        by_class: keep each class's share, running the method within each class.
        seed: of every draw and of ties.
        higher_is: what a high value of a bare array means.
        **params: parameters of the method.

    Returns:
        A Selection of exactly k examples.

    Raises:
        OptionError: an unknown method, column or parameter, an impossible budget, NaN scores, or scores all equal.

    >>> select(np.array([0.1, 0.9, 0.5, 0.2]), "top_k", keep=0.5, prefer="hardest").indices.tolist()
    [1, 2]
    """
    table = _as_scores(scores, higher_is)
    name, spec = _resolve(method)
    k = parse_keep(keep, len(table))
    used: dict[str, str] = {}
    first = _first(table, spec, score, used)
    arrays = {} if spec.first == "labels" else _further(table, spec, name, score, columns or {}, used)
    for parameter, fact in spec.facts.items():
        known = table.meta.get("facts", {})
        if parameter not in params and fact not in known:
            raise OptionError(
                f"{name} needs {parameter}: score with --eval DATA, which measures it, or pass -p {parameter}=[…]."
            )
        params.setdefault(parameter, known.get(fact))
    for parameter, default in spec.defaults.items():
        if params.get(parameter) is None:
            params[parameter] = default(k, len(table))
    _check(name, spec, params)
    whole = int(table.index[-1]) == len(table) - 1
    keys = Keys(seed, f"select.{name}", len(table), None if whole else table.index)
    labels = _labels(table) if by_class else None
    if spec.strata is not None and labels is None:
        stratum, weight = spec.strata(first, k, keys=keys, **arrays, **params), None
        chosen = draw_evenly(stratum, k, keys)
    else:
        stratum = None
        chosen, weight = _run(partial(spec.fn, **params), first, k, arrays, keys, labels)
    meta = {
        "data": table.meta.get("data", {"n": len(table)}),
        "method": name,
        "params": {**{p: v for p, v in parameters(spec.fn, 2).items() if p not in arrays}, **params},
        "columns": used,
        "keep": {"given": keep, "k": k, "n": len(table)},
        "by_class": by_class,
        "seed": seed,
        "nested": spec.nested and not by_class,
        "parents": {column: table.digest(column) for column in sorted(set(used.values()))},
    }
    return Selection(table.index, chosen, weight, stratum, table.ids, meta)


def _as_scores(scores: Scores | np.ndarray | str | Path, higher_is: Literal["harder", "easier"]) -> Scores:
    if isinstance(scores, Scores):
        return scores
    if isinstance(scores, (str, Path)):
        return Scores.read(scores, higher_is=higher_is)
    return Scores.from_arrays({"score": np.asarray(scores)}, higher_is=higher_is)


def _resolve(method: str | Callable[..., Any]) -> tuple[str, SelectorSpec]:
    if isinstance(method, str) and not method.startswith("py:"):
        if method not in SELECTORS:
            raise unknown_name("selection method", method, SELECTORS)
        return method, SELECTORS[method]
    fn = load_callable(method) if isinstance(method, str) else method
    return fn.__name__, SelectorSpec(fn)


def _check(name: str, spec: SelectorSpec, params: Mapping[str, Any]) -> None:
    known = parameters(spec.fn, 2)
    for given in params:
        if given not in known or given in spec.needs:
            raise unknown_name(f"parameter of {name}", given, [p for p in known if p not in spec.needs])
        check_value(name, given, spec.fn, params[given])
    for parameter, default in known.items():
        if default is inspect.Parameter.empty and parameter not in params and parameter not in spec.needs:
            raise OptionError(
                f"{name} needs {parameter}, which has no default: pass {parameter}=… (on the command line -p "
                f"{parameter}=…)."
            )


def _first(table: Scores, spec: SelectorSpec, score: str | None, used: dict[str, str]) -> Any:
    if spec.first == "n":
        return len(table)
    if spec.first == "labels":
        return _labels(table)
    column = score or (spec.score if spec.score in table.names else None)
    if column is None and len(table.names) != 1:
        raise OptionError(
            f"there are several scores ({', '.join(table.names)}): name one with score=… (--score on the command line)."
        )
    used["score"] = column or table.names[0]
    values = table.hardness(used["score"])
    if len(values) > 1 and not np.isnan(values).any() and values.min() == values.max():
        raise OptionError(
            f"all {len(values)} values of {used['score']!r} are {values[0]:g}, so they rank nothing: use method random."
        )
    return values


def _further(
    table: Scores, spec: SelectorSpec, name: str, score: str | None, columns: Mapping[str, str], used: dict[str, str]
) -> dict[str, np.ndarray]:
    for parameter in columns:
        if parameter not in spec.needs:
            raise unknown_name(f"further column of {name}", parameter, spec.needs)
    arrays = {}
    for parameter, need in spec.needs.items():
        column = columns.get(parameter, need.name)
        if column not in table.columns and parameter not in columns and len(table.names) == 1 and need.as_hardness:
            column = table.names[0]
        if column not in table.columns:
            raise OptionError(
                f"{name} reads {parameter} from the column {column!r}, which is not there "
                f"({', '.join(table.columns)}): score "
                f"with it, or name another with --column {parameter}=NAME."
            )
        used[parameter] = column
        arrays[parameter] = table.hardness(column) if need.as_hardness else table[column]
    return arrays


def _labels(table: Scores) -> np.ndarray:
    if table.labels is None:
        raise DataError(
            "there are no labels in these scores, and classes are asked for: score labelled data, or leave "
            "by_class out."
        )
    return table.labels


def _run(
    fn: Callable[..., Any], first: Any, k: int, arrays: dict[str, np.ndarray], keys: Keys, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    def call(members: np.ndarray | slice, size: int, quota: int) -> Any:
        part = size if isinstance(first, int) else first[members]
        inner = keys if isinstance(members, slice) else keys.of(members)
        return fn(part, quota, keys=inner, **{name: values[members] for name, values in arrays.items()})

    if labels is not None:
        return per_class(labels, k, lambda members, quota: call(members, len(members), quota)), None
    result = call(slice(None), keys.n, k)
    chosen, weight = result if isinstance(result, tuple) else (result, None)
    chosen = np.asarray(chosen, dtype=np.int64)
    distinct = np.zeros(keys.n, dtype=bool)
    distinct[chosen] = True
    if len(chosen) != k or np.count_nonzero(distinct) != k:
        raise OptionError(f"{fn.func.__name__} returned {len(chosen)} positions, not {k} different ones.")  # type: ignore[attr-defined]
    return chosen, None if weight is None else (np.asarray(weight) / np.mean(weight)).astype(np.float32)
