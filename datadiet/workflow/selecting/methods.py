"""Calling a selection method, on all examples or within each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from datadiet.attributes import user_code
from datadiet.errors import BadVector, OptionError
from datadiet.geometry import Matrix
from datadiet.parameters import parameter_names
from datadiet.randomness import Keys
from datadiet.selectors import SelectorSpec
from datadiet.selectors.by_class import per_class
from datadiet.selectors.explained import Explained

__all__ = ["run_method"]

_NONE = {"stratum": np.int32(-1), "witness": np.int64(-1), "similarity": np.float32(np.nan)}


def run_method(
    spec: SelectorSpec,
    first: Any,
    k: int | None,
    arrays: Mapping[str, np.ndarray],
    params: Mapping[str, Any],
    keys: Keys,
    labels: np.ndarray | None,
) -> Explained:
    """Call a method and check what it returns.

    Args:
        spec: the method.
        first: its first argument: (n,) hardness or labels, (n, d) vectors, n texts, or n.
        k: how many to keep; None if a threshold decides.
        arrays: further columns, (n,) each.
        params: its parameters.
        keys: of the n rows.
        labels: (n,), to run it within each class; None = on all.

    Raises:
        OptionError: it did not return k different positions, or its weights are invalid.
    """
    if labels is None:
        return _call(spec, first, k, arrays, params, keys)
    assert k is not None, "refused earlier"
    reasons: dict[str, Any] = {}

    def reason(name: str) -> np.ndarray:
        found: np.ndarray = reasons.setdefault(name, np.full(keys.n, _NONE[name]))
        return found

    def within(members: np.ndarray, quota: int) -> np.ndarray:
        inner = {name: values[members] for name, values in arrays.items()}
        found = _call(spec, _part(first, members), quota, inner, params, keys.of(members), members)
        if found.weight is not None:
            raise OptionError(
                f"{spec.name} gives weights, which hold for one draw from all the data: leave by_class out."
            )
        if found.stratum is not None and spec.first == "embeddings":
            reason("stratum")[members] = found.stratum + reason("stratum").max() + 1
        if found.witness is not None:
            reasons["witness_in"] = found.witness_in
            named = members[found.witness] if found.witness_in == "data" else found.witness
            reason("witness")[members] = np.where(found.witness < 0, -1, named)
        if found.similarity is not None:
            reason("similarity")[members] = found.similarity
        return found.chosen

    return Explained(per_class(labels, k, within), **reasons)


def _part(first: Any, members: np.ndarray) -> Any:
    if isinstance(first, int):
        return len(members)
    if isinstance(first, Matrix):
        return first.part(members)
    return first[members] if hasattr(first, "shape") else [first[row] for row in members.tolist()]


def _call(
    spec: SelectorSpec,
    first: Any,
    k: int | None,
    arrays: Mapping[str, np.ndarray],
    params: Mapping[str, Any],
    keys: Keys,
    members: np.ndarray | None = None,
) -> Explained:
    fn = spec.explain or spec.fn
    draws = {"keys": keys} if "keys" in parameter_names(fn) else {}
    try:
        with user_code(f"the selection method {spec.name} fails", fn):
            result = fn(first, k, **draws, **arrays, **params)
            return _check_result(_explained(result, spec), k, keys.n, spec)
    except BadVector as error:
        raise error if members is None else BadVector(int(members[error.row]), error.problem) from None


def _explained(result: Any, spec: SelectorSpec) -> Explained:
    if isinstance(result, Explained):
        return result
    if isinstance(result, tuple) and len(result) != 2:
        raise OptionError(f"{spec.name} returned a tuple of {len(result)}: return positions, or (positions, weights).")
    return Explained(*result) if isinstance(result, tuple) else Explained(result)


def _check_result(found: Explained, k: int | None, n: int, spec: SelectorSpec) -> Explained:
    """What a method returned, if it is k distinct rows of n, with weights of mean 1."""
    chosen = np.asarray(found.chosen)
    if k is None and chosen.shape == (0,):
        raise OptionError(
            f"{spec.name} keeps none of the {n} examples at this threshold: give a stricter one, or keep=."
        )
    k = len(chosen) if k is None and chosen.ndim == 1 else k
    distinct = np.zeros(n, dtype=bool)
    if k and chosen.shape == (k,) and chosen.dtype.kind in "iu" and 0 <= chosen.min() <= chosen.max() < n:
        distinct[chosen] = True
    if not k or np.count_nonzero(distinct) != k:
        raise OptionError(f"{spec.name} did not return {k} different positions below {n}, as a selection method must.")
    weight = None
    if found.weight is not None:
        weight = np.asarray(found.weight, dtype=np.float64)
        if weight.shape != (k,) or not (weight >= 0).all() or not 0 < weight.mean() < np.inf:
            raise OptionError(f"{spec.name} did not return {k} finite weights of at least 0 with its positions.")
        weight = (weight / weight.mean()).astype(np.float32)
    for name in _NONE:
        reason = getattr(found, name)
        if reason is not None and np.shape(reason) != (n,):
            raise OptionError(
                f"{spec.name} gives {name} of shape {np.shape(reason)}: give one for each of the {n} rows."
            )
    return replace(found, chosen=chosen.astype(np.int64, copy=False), weight=weight)
