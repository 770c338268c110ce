"""select: from scores and a budget to a selection. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datadiet.errors import DataError, OptionError, unknown_name
from datadiet.files import plain
from datadiet.randomness import Keys
from datadiet.selectors import SELECTORS, SelectorSpec
from datadiet.selectors.budget import parse_keep
from datadiet.selectors.by_class import per_class
from datadiet.selectors.ccs import draw_evenly
from datadiet.table import Scores, Selection
from datadiet.workflow.requests import check_value, load_callable, name_of, parameters

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
    arrays = _further(table, spec, name, columns or {}, used)
    params = _completed(params, spec, name, table, k)
    whole = int(table.index[-1]) == len(table) - 1
    keys = Keys(seed, f"select.{name}", len(table), None if whole else table.index)
    labels = _labels(table) if by_class else None
    with ThreadPoolExecutor(1) as beside:  # hashing runs outside the interpreter lock
        parents = {column: beside.submit(table.digest, column) for column in sorted(set(used.values()))}
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
        "parents": {column: found.result() for column, found in parents.items()},
    }
    return Selection(table.index, chosen, weight, stratum, table.ids, plain(meta))


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
    return name_of(fn), SelectorSpec(fn)


def _completed(params: Mapping[str, Any], spec: SelectorSpec, name: str, table: Scores, k: int) -> dict[str, Any]:
    """The parameters, with what the run knows and what follows from the budget; checked."""
    out, known = dict(params), table.meta.get("facts", {})
    for parameter, fact in spec.facts.items():
        if parameter not in out and fact not in known:
            raise OptionError(
                f"{name} needs {parameter}: score with --eval DATA, which measures it, or pass -p {parameter}=[…]."
            )
        out.setdefault(parameter, known.get(fact))
    for parameter, default in spec.defaults.items():
        if out.get(parameter) is None:
            out[parameter] = default(k, len(table))
    _check(name, spec, out)
    return out


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
    if score is not None:
        table.hardness(score)  # also where the method needs none, a score that is not there is a mistake
    if spec.first == "n":
        return len(table)
    if spec.first == "labels":
        return _labels(table)
    column = score or (spec.score if spec.score in table.names else None)
    if column is None:
        described = table.meta.get("columns", {})
        main = [name for name in table.names if described[name].get("scorer") in (name, "imported")] or table.names
        if len(main) != 1:
            raise OptionError(f"there are several scores ({', '.join(main)}): name one with score=NAME (--score NAME).")
        column = main[0]
    used["score"] = column
    values = table.hardness(used["score"])
    if len(values) > 1 and values.min() == values.max():  # never with a NaN, which the method itself refuses
        raise OptionError(
            f"all {len(values)} values of {used['score']!r} are {values[0]:g}, so they rank nothing: use method random."
        )
    return values


def _further(
    table: Scores, spec: SelectorSpec, name: str, columns: Mapping[str, str], used: dict[str, str]
) -> dict[str, np.ndarray]:
    for parameter in columns:
        if parameter not in spec.needs:
            raise unknown_name(f"further column of {name}", parameter, spec.needs)
    arrays = {}
    for parameter, need in spec.needs.items():
        column = columns.get(parameter, need.name)
        if column not in table.columns and parameter not in columns and need.as_hardness:
            column = used["score"]  # what the plain function does; the selection says so
        if column not in table.columns:
            raise OptionError(
                f"{name} reads {parameter} from the column {column!r}, which is not there "
                f"({', '.join(table.columns)}): score with it, or name another with --column {parameter}=NAME."
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
    takes_keys = "keys" in inspect.signature(fn).parameters
    if labels is None:
        draws = {"keys": keys} if takes_keys else {}
        return _checked(fn(first, k, **draws, **arrays), k, keys.n, fn)

    def within(members: np.ndarray, quota: int) -> np.ndarray:
        part = len(members) if isinstance(first, int) else first[members]
        inner = {name: values[members] for name, values in arrays.items()}
        draws = {"keys": keys.of(members)} if takes_keys else {}
        chosen, weight = _checked(fn(part, quota, **draws, **inner), quota, len(members), fn)
        if weight is not None:
            raise OptionError(
                f"{name_of(fn)} gives weights, which hold for one draw from all the data: leave by_class out."
            )
        return chosen

    return per_class(labels, k, within), None


def _checked(result: Any, k: int, n: int, fn: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions and weights as a method returned them, if they are k distinct rows of n."""
    chosen, weight = result if isinstance(result, tuple) else (result, None)
    chosen = np.asarray(chosen)
    distinct = np.zeros(n, dtype=bool)
    if chosen.ndim == 1 and chosen.dtype.kind in "iu" and len(chosen) == k and 0 <= chosen.min() <= chosen.max() < n:
        distinct[chosen] = True
    if np.count_nonzero(distinct) != k:
        raise OptionError(
            f"{name_of(fn)} did not return {k} different positions below {n}, as a selection method must."
        )
    if weight is None:
        return chosen.astype(np.int64, copy=False), None
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != (k,) or not (weight >= 0).all() or not 0 < weight.mean() < np.inf:
        raise OptionError(f"{name_of(fn)} did not return {k} finite weights of at least 0 with its positions.")
    return chosen.astype(np.int64, copy=False), (weight / weight.mean()).astype(np.float32)
