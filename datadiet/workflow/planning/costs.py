"""plan: what selecting or scoring will cost, before it runs. Nothing is written.

Passes, operations, memory and disk follow from the formulas of the methods; times are estimates from rates that are
measured here in a fraction of a second, and hold if the machine stays as busy as it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.errors import OptionError, unknown_name
from datadiet.parameters import check_arguments, check_parameters
from datadiet.runtime.vectors import open_vectors
from datadiet.scorers import SCORERS, ScorerSpec
from datadiet.selectors import SELECTORS, FurtherVectors, SelectorSpec
from datadiet.selectors.budget import parse_keep
from datadiet.workflow.planning.estimate import WITH_TORCH, WITHOUT_TORCH, Estimate, Line, Machine
from datadiet.workflow.selecting.pool import vectors_of

__all__ = ["plan"]

_COUNTS = ("clusters", "neighbours", "draws", "dims", "k", "block")


def plan(
    data: Any = None,
    *,
    n: int | None = None,
    dim: int | None = None,
    method: str | None = None,
    keep: int | float | str | None = None,
    model: Any = None,
    scorers: str | Callable[..., Any] | ScorerSpec | Iterable[Any] | None = None,
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> Estimate:
    """What a selection by vectors, or scoring, will cost.

    Args:
        data: vectors (an array, a .npy file, a folder of parts, a run) for `method`; what `score` takes for `scorers`.
        n, dim: the number of vectors and of their dimensions, if there are no vectors yet.
        method: a selection method or a scorer of vectors.
        keep: as in `select`.
        model, scorers: as in `score`.
        params: of the method; or scorer -> parameter -> value.
        **options: of scoring: epochs, seeds, eval, reference, against, against_model, recipe, device, head, fallback,
            and actors, the number of workers that Ray would spread it over.

    Returns:
        The estimate.

    Raises:
        OptionError: neither a method nor scorers, both, or options that do not apply.

    >>> plan(n=10_000, dim=64, method="top_k", keep=0.3).total.flops
    0
    """
    check_arguments(plan, locals())
    if (method is None) == (scorers is None):
        raise OptionError(
            "say what to plan: give exactly one of a selection method (method=, --method) and scorers (scorers=, "
            "--scorer)."
        )
    if scorers is not None:
        if data is None or model is None or not (n is dim is keep is None):
            raise OptionError(
                "planning to score needs a data set and a model: give data and model= (--model), not n, dim or keep."
            )
        from datadiet.workflow.planning.scoring_cost import plan_scoring

        return plan_scoring(data, model, scorers, params=params, **options)
    if model is not None or options:
        raise OptionError(
            f"{', '.join(sorted(options)) or 'model'}: options for scoring; with method={method!r} leave them out."
        )
    return _selection(*_size(data, n, dim), str(method), keep, dict(params or {}))


def _size(data: Any, n: int | None, dim: int | None) -> tuple[int, int, int]:
    """n, d, and bytes per number."""
    if data is not None:
        if n is not None or dim is not None:
            raise OptionError("the data says how many vectors there are: leave out either n and dim or the data.")
        vectors = open_vectors(data) if isinstance(data, (str, Path)) else data
        shape = tuple(np.shape(vectors)) if not hasattr(vectors, "shape") else tuple(vectors.shape)
        if len(shape) != 2:
            raise OptionError(f"an array of shape {shape}: a plan needs vectors of shape (n, d), or n= and dim=.")
        return int(shape[0]), int(shape[1]), int(np.dtype(getattr(vectors, "dtype", "float64")).itemsize)
    if n is None or dim is None or n < 1 or dim < 1:
        raise OptionError(
            "a plan needs vectors, or their number and size: give a .npy file, or n=1000000, dim=384 (--n and --dim)."
        )
    return n, dim, 2


def _selection(n: int, d: int, width: int, method: str, keep: Any, params: dict[str, Any]) -> Estimate:
    methods: dict[str, Any] = {**SELECTORS, **SCORERS}
    costs = [name for name, spec in methods.items() if spec.cost is not None]
    if method not in methods:
        raise unknown_name("method", method, costs)
    if method not in costs:
        raise OptionError(f"{method} has no cost formula: methods with one are {', '.join(costs)}.")
    spec = methods[method]
    params = _counted(spec, params, n, d)
    k = None if keep is None else parse_keep(keep, n)
    given = getattr(spec, "threshold", "")
    if k is not None and given and params.get(given) is not None:
        raise OptionError(f"keep={keep!r} and {given}={params[given]!r} both decide how much is kept: give one.")
    machine = Machine.measured()
    steps = spec.cost(n, d, k, **params)
    lines = [Line(step.name, step.passes, step.flops, step.memory, machine.seconds(step)) for step in steps]
    kept = "" if k is None else f", {k} kept"
    how = (
        f"measured here just now: {machine.flops / 1e9:.0f} GFLOP/s in matrix products, {machine.moved / 1e9:.1f} "
        f"billion numbers and {machine.calls / 1e6:.1f} million calls a second"
    )
    by_vectors = method in SCORERS or spec.first == "embeddings"
    what = f"{method} of {n} {f'vectors of {d} numbers' if by_vectors else 'scores'}{kept}"
    vectors = float(n * d * width) if by_vectors else 0.0
    disk = {"vectors": vectors} if vectors else {}
    disk |= {"selection": 10.0 * n} if method in SELECTORS else {"scores": 4.0 * n}
    loads_torch = any(step.torch for step in steps) or (by_vectors and width == 2)
    return Estimate(what, tuple(lines), disk, vectors, how, WITH_TORCH if loads_torch else WITHOUT_TORCH)


def _counted(spec: Any, params: dict[str, Any], n: int, d: int) -> dict[str, Any]:
    """The checked parameters, with further vectors replaced by their number."""
    check_parameters(spec, params)
    for name, value in params.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name in _COUNTS and not (whole and 1 <= value <= (n if name == "clusters" else value)):
            raise OptionError(f"{name}={value!r} for {n} vectors: give a whole number of at least 1 that fits them.")
    for name in spec.reading(FurtherVectors) if isinstance(spec, SelectorSpec) else ():
        if params.get(name) is None:
            raise OptionError(f"{spec.name} needs {name}: give vectors, {name}=PATH (-p {name}=PATH).")
        further = vectors_of(params[name])
        if further.shape[1] != d:
            raise OptionError(f"vectors of {d} numbers and {name} of {further.shape[1]}: embed both in the same way.")
        params = {**params, name: len(further)}
    return params
