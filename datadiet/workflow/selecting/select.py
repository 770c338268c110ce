"""select: from scores or vectors and a budget to a selection. No torch, except for methods that cluster."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from datadiet.data.labels import refuse_unlabelled
from datadiet.errors import BadVector, DataError, OptionError
from datadiet.files import plain
from datadiet.geometry import Clusters, Matrix
from datadiet.parameters import check_parameters
from datadiet.randomness import Keys
from datadiet.registry import find_spec
from datadiet.selectors import SELECTORS, ByClass, Concepts, Fact, FromBudget, FurtherVectors, SelectorSpec
from datadiet.selectors.budget import parse_keep
from datadiet.selectors.explained import Explained
from datadiet.table import Scores, Selection
from datadiet.table.classes import ClassCounts
from datadiet.table.examples import as_ids
from datadiet.workflow.selecting.methods import run_method
from datadiet.workflow.selecting.pool import Pool, identity_of_vectors, open_pool, vectors_of
from datadiet.workflow.selecting.score_columns import concept_codes, further_columns, known_values, led_by, score_column
from datadiet.workflow.selecting.texts import identity_of_texts
from datadiet.workflow.selecting.vector_runs import VectorRun

__all__ = ["select"]


def select(
    scores: Scores | np.ndarray | str | Path,
    method: str | Callable[..., Any] | None = None,
    *,
    keep: int | float | str | None = None,
    score: str | None = None,
    columns: Mapping[str, str] | None = None,
    embeddings: np.ndarray | str | Path | None = None,
    text: str | None = None,
    texts: Sequence[str] | Any = None,
    by_class: bool | None = None,
    seed: int = 0,
    higher_is: Literal["harder", "easier"] = "harder",
    **params: Any,
) -> Selection:
    """Choose which examples to keep.

    Args:
        scores: a Scores, a run folder or file, a bare (n,) array of scores, or (n, d) vectors in memory or in a .npy
            file; for methods that compare texts, a list of them, data and its column `text`, or data opened with one.
        method: a name from `datadiet.selectors.SELECTORS`, "py:module:function" or a function
            `fn(hardness, k, *, keys, …) -> positions`. None = "ccs", within each class if all examples have labels.
        keep: an int is a count, a float in (0, 1] or a string such as "30%" is a fraction; leave it out if a threshold
            of the method decides.
        score: the column to select by; may be left out if there is only one, or if the method has its own.
        columns: parameter -> column, for methods that read a second one, such as {"cutoff_scores": "el2n"} for ccs.
        embeddings: vectors of the same examples, for methods that also read scores: (n, d), a .npy file, a folder of
            parts or a run. If `scores` is a run, its own vectors are the default.
        text: the column of the texts, if `scores` or `texts` is data: a data spec or a data set.
        texts: for methods that compare texts and prefer by a score: the texts of the same examples, or the data that
            was scored, as a spec or opened.
        by_class: keep each class's share, and at least one example if k allows, by running the method within each
            class; None = only where the method is left out, since a published method is what its paper says.
        seed: of every draw and of ties.
        higher_is: what a high value of a bare array means.
        **params: parameters of the method.

    Returns:
        A Selection of exactly k examples.

    Raises:
        OptionError: an unknown method, column or parameter, an impossible budget, NaN scores, or scores all equal.
        DataError: vectors that are damaged, not one per example, not finite or all zeros.

    >>> select(np.array([0.1, 0.9, 0.5, 0.2]), "top_k", keep=0.5, prefer="hardest").indices.tolist()
    [1, 2]
    """
    spec = find_spec(method or "ccs", SELECTORS, "selection method", SelectorSpec)
    if texts is not None and spec.first != "texts":
        raise OptionError(f"{spec.name} does not read texts: leave texts out, or choose exact_dedup or minhash.")
    pool = open_pool(scores, higher_is, embeddings, text, texts)
    table, used = pool.table, dict[str, str]()
    by_class = method is None and _is_labelled(table) if by_class is None else by_class
    k = _budget(keep, spec, params, by_class, len(table))
    score, params = led_by(spec, params, score, columns, pool)
    try:
        first = _first(pool, spec, score, used)
    except BadVector as error:
        raise pool.named(error) from None
    arrays = further_columns(table, spec, columns, score, used)
    params = _completed(params, spec, table, k)
    arrays |= concept_codes(table, spec, params, used)
    whole = int(table.index[-1]) == len(table) - 1
    keys = Keys(seed, f"select.{spec.name}", len(table), None if whole else table.index)
    labels = _labels(table) if by_class else None
    within = spec.reading(ByClass)  # the method itself keeps the shares of the classes
    if within and labels is not None:
        arrays, labels = {**arrays, **dict.fromkeys(within, labels)}, None
    called = _called(params, spec, pool, arrays)
    with ThreadPoolExecutor(1) as beside:  # hashing runs outside the interpreter lock
        parents = {column: beside.submit(table.digest, column) for column in sorted(set(used.values()))}
        try:
            found = run_method(spec, first, k, arrays, called, keys, labels)
        except BadVector as error:
            raise pool.named(error) from None
    meta = {
        "data": table.meta.get("data", {"n": len(table)}),
        "method": spec.name,
        "params": spec.parameters | params,
        "columns": used,
        "keep": {"given": keep, "k": len(found.chosen), "n": len(table)},
        "by_class": by_class,
        "seed": seed,
        "nested": spec.is_nested(params) and not by_class and k is not None,
        "parents": {column: found.result() for column, found in parents.items()},
    }
    meta |= _class_counts(table, found.chosen, by_class, keep is None)
    _add_identities(meta, pool, first, params | called, spec)
    witness = _witness_ids(found, table, params)
    return Selection(
        table.index, found.chosen, found.weight, found.stratum, table.ids, plain(meta), witness, found.similarity
    )


def _is_labelled(table: Scores) -> bool:
    return table.labels is not None and bool((table.labels >= 0).all())


def _class_counts(table: Scores, chosen: np.ndarray, by_class: bool, by_threshold: bool) -> dict[str, Any]:
    """Examples per class before and after, if there are labels; a note names the classes that keep nothing."""
    if table.labels is None:
        return {}
    counts = ClassCounts.of(table.labels, chosen, table.meta.get("class_names", ()))
    if by_threshold:
        counts.warn("choose a milder threshold if they matter")
    elif by_class:
        counts.warn(f"keep at least {len(counts.names)} examples, one for each class")
    else:
        counts.warn("--by-class (by_class=True) keeps each class's share")
    return {"classes": counts.as_dict()}


def _add_identities(
    meta: dict[str, Any], pool: Pool, first: Any, called: Mapping[str, Any], spec: SelectorSpec
) -> None:
    """Record the identity of the vectors and texts that were read, and which end of each score is hard."""
    described = pool.table.meta.get("columns", {})
    meta["hardness"] = {name: described[name]["hardness"] for name in meta["parents"] if name in pool.table.names}
    vectors = first.rows if isinstance(first, Matrix) else first
    if len(getattr(vectors, "shape", ())) == 2:
        meta["parents"]["embeddings"] = identity_of_vectors(vectors)
    if name := getattr(vectors, "name", ""):
        meta["vectors"] = name
    if pool.texts is not None and first is pool.texts:
        meta["parents"]["texts"] = identity_of_texts(pool.texts)
    for parameter, value in called.items():
        if isinstance(value, Clusters):
            meta["params"][parameter] = {"number": len(value.centroids), "hash": identity_of_vectors(value.centroids)}
        elif parameter in spec.reading(FurtherVectors) and value is not None:
            meta["params"][parameter] = identity_of_vectors(value.rows)
        elif parameter in spec.reading(Concepts) and value is not None:
            meta["params"][parameter] = identity_of_vectors(np.asarray(value))


def _budget(
    keep: int | float | str | None, spec: SelectorSpec, params: Mapping[str, Any], by_class: bool, n: int
) -> int | None:
    threshold = params.get(spec.threshold)
    if keep is not None:
        if threshold is not None:
            raise OptionError(
                f"keep={keep!r} and {spec.threshold}={threshold!r} both decide how much is kept: give one."
            )
        return parse_keep(keep, n)
    if spec.needs_size:
        raise OptionError(
            f"{spec.name} needs to know how much to keep: give keep=0.3 or a count (on the command line exactly one of "
            "--keep 30% (or n=500) and --prune 70%)."
        )
    if spec.threshold and threshold is None:
        raise OptionError(
            f"{spec.name} needs to know how much to keep: give a size, keep=0.3 (--keep 30%), or {spec.threshold}=… "
            f"(-p {spec.threshold}=…)."
        )
    if by_class:
        raise OptionError("by_class divides a size among the classes: give keep=… (--keep 30%), or leave it out.")
    return None


def _called(
    params: Mapping[str, Any], spec: SelectorSpec, pool: Pool, arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The parameters as the method takes them: further vectors opened, without those that are among the arrays."""
    found = {p: value for p, value in params.items() if p not in arrays}
    further = [p for p in spec.reading(FurtherVectors) if found.get(p) is not None]
    return found | {p: _further_vectors(p, found[p], pool) for p in further}


def _further_vectors(parameter: str, value: Any, pool: Pool) -> Matrix:
    """Vectors of examples other than those to select from; an error about a bad one says so."""
    ours, theirs = pool.run or VectorRun.of(pool.source), VectorRun.of(value)
    if ours is not None and theirs is not None:
        ours.check_network(theirs, parameter)
    try:
        return Matrix.open(vectors_of(value), unit=True)
    except BadVector as error:
        raise BadVector(error.row, error.problem, f"row {error.row} of {parameter}") from None


def _witness_ids(found: Explained, table: Scores, params: Mapping[str, Any]) -> pa.Array | None:
    """The ids of the witnesses; for a reference that is not a run, its row numbers."""
    if found.witness is None:
        return None
    none = found.witness < 0
    run = VectorRun.of(params.get("reference")) if found.witness_in == "reference" else None
    if found.witness_in == "reference" and run is None:
        return pa.array(found.witness.astype(str), mask=none)
    examples = table if run is None else run.examples
    ids = as_ids(examples.ids, examples.index)
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    return ids.take(pa.array(found.witness, mask=none))


def _completed(params: Mapping[str, Any], spec: SelectorSpec, table: Scores, k: int | None) -> dict[str, Any]:
    """The checked parameters, completed by what the run knows and what follows from the size."""
    out, known = dict(params), table.meta.get("facts", {})
    for parameter, fact in spec.reading(Fact).items():
        if parameter not in out and fact.name not in known:
            raise OptionError(
                f"{spec.name} needs {parameter}: score with eval= (--eval DATA), which measures it, or give "
                f"{parameter}=[…] (-p {parameter}=[…])."
            )
        out.setdefault(parameter, known.get(fact.name))
    for parameter, sized in spec.reading(FromBudget).items():
        if out.get(parameter) is None and k is not None:
            out[parameter] = sized.default(k, len(table))
    check_parameters(spec, out)
    for parameter, default in spec.parameters.items():
        if default is inspect.Parameter.empty and parameter not in out:
            raise OptionError(
                f"{spec.name} needs {parameter}, which has no default: pass {parameter}=… (on the command line -p "
                f"{parameter}=…)."
            )
    return out


def _first(pool: Pool, spec: SelectorSpec, score: str | None, used: dict[str, str]) -> Any:
    table = pool.table
    if score is not None:
        table.hardness(score)  # a missing score is a mistake even if the method needs none
    if spec.first == "n":
        return len(table)
    if spec.first == "labels":
        return _labels(table)
    if spec.first == "texts":
        return pool.contents(spec.name)
    if spec.first == "embeddings":
        return Matrix.open(pool.embeddings(spec.name))
    used["score"] = score_column(table, spec, score)
    values = known_values(table, used["score"])
    if len(values) > 1 and values.min() == values.max():
        raise OptionError(
            f"all {len(values)} values of {used['score']!r} are {values[0]:g} in float32, so they rank nothing: use "
            "method random."
        )
    return values


def _labels(table: Scores) -> np.ndarray:
    if table.labels is None:
        raise DataError(
            "these scores have no labels, but classes are needed: score labelled data, or leave by_class out."
        )
    if (table.labels < 0).any():  # only then are the ids needed
        refuse_unlabelled(table.labels, as_ids(table.ids, table.index), "these scores")
    return table.labels
