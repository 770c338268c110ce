"""From recorded signals to a score table: means and spreads over seeds, and how far the seeds agree. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from datadiet.attributes import user_code
from datadiet.errors import BadVector, OptionError
from datadiet.evaluate.ranks import average_ranks, correlation
from datadiet.files import plain
from datadiet.randomness import Keys
from datadiet.selectors.ordering import smallest
from datadiet.table import Scores, Signals
from datadiet.table.examples import as_ids
from datadiet.workflow.scoring.requests import Request
from datadiet.workflow.scoring.scorer_inputs import ScorerInputs, facts_for, load_inputs

__all__ = ["compute_scores", "rank_stability"]


def compute_scores(signals: Signals, requests: Sequence[Request], onto: Scores) -> Scores:
    """Add the requested columns to a table.

    Each scorer is called once with all seeds, and, if there are several, once per seed for the `.std` column and the
    rank stability.

    Raises:
        MissingSignal: a signal or epoch was not recorded.
        OptionError: a column of that name exists with other parameters.
        BadVector: a vector that a scorer cannot use; it names the example.
    """
    stability = dict(onto.meta.get("stability", {}))
    for request in requests:
        inputs = load_inputs(signals, request)
        params = {**facts_for(signals, request), **request.params}
        try:
            outputs = _outputs(request, inputs, params)
        except BadVector as error:
            if any(need.of == "reference" for need in request.spec.needs):
                raise  # the vector may belong to the reference data
            raise error.of_example(as_ids(onto.ids, onto.index)) from None
        columns = {_name(request.column, suffix): values for suffix, values in outputs.items()}
        if len(signals.seeds) > 1:
            each = [
                _outputs(request, {layer: one.of_seed(s) for layer, one in inputs.items()}, params)
                for s in range(len(signals.seeds))
            ]
            for suffix, values in outputs.items():
                runs = np.stack([run[suffix] for run in each])
                sign = request.spec.sign(suffix)
                if values.dtype != bool and sign:
                    name = _name(request.column, suffix)
                    columns[f"{name}.std"] = _spread(runs)
                    stability[name] = rank_stability(sign * runs)
        shown = {**request.spec.parameters, **params}
        about = {"scorer": request.scorer, "params": shown, "needs": inputs[""].about, "seeds": signals.seeds}
        onto = onto.with_columns(columns, _describe(request, columns, about))
    return replace(onto, meta={**onto.meta, "stability": stability}) if stability else onto


def _spread(runs: np.ndarray) -> np.ndarray:
    """The sample standard deviation over seeds; for infinite scores, 0 if they are infinite for all seeds, else inf."""
    infinite = np.isinf(runs)
    finite = np.where(infinite, 0, runs).std(axis=0, ddof=1, dtype=np.float64)
    return np.where(infinite.all(axis=0), 0, np.where(infinite.any(axis=0), np.inf, finite)).astype(np.float32)


def _name(column: str, suffix: str) -> str:
    return f"{column}.{suffix}" if suffix else column


def _outputs(request: Request, inputs: Mapping[str, ScorerInputs], params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """suffix -> (n,): what the scorer returns for its signals, and, if requested, for those of single layers."""
    found = {}
    for layer, one in inputs.items():
        for suffix, values in _call(request, one, params).items():
            found[".".join(word for word in (layer, suffix) if word)] = values
    return found


def _call(request: Request, given: ScorerInputs, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    spec, masks = request.spec, {}
    if not given.seen.all():
        if "seen" not in inspect.signature(spec.fn).parameters:
            raise OptionError(
                f"{request.column} needs every example in every epoch, but some were not presented: train on all "
                "the data."
            )
        masks["seen"] = given.seen
    with user_code(f"the scorer {spec.name} fails", spec.fn):
        each = [_as_columns(spec.name, spec.fn(*arrays, **masks, **params)) for arrays in given.arguments(spec.each)]
        found = {s: np.mean([one[s] for one in each], axis=0) if len(each) > 1 else v for s, v in each[0].items()}
        (arrays, *_) = given.arguments(spec.each)
        found |= {suffix: np.asarray(fn(*arrays, **masks)) for suffix, fn in spec.extras.items()}
    for suffix, values in found.items():
        _check(_name(request.column, suffix), values, given.seen.shape[-1])
    return {suffix: v if v.dtype == bool else v.astype(np.float32) for suffix, v in found.items()}


def _as_columns(name: str, outputs: Any) -> dict[str, np.ndarray]:
    """suffix -> array: what a scorer returned."""
    found = outputs if isinstance(outputs, dict) else {"": outputs}
    wrong = [suffix for suffix in found if not isinstance(suffix, str) or not _is_suffix(suffix)]
    if wrong or not found:
        raise OptionError(
            f"{name} returned a dict with {f'the key {wrong[0]!r}' if wrong else 'nothing in it'}: return an array, or "
            "arrays under suffixes such as 'mean', of letters, digits and _; 'std' is the spread over seeds."
        )
    return {suffix: np.asarray(values) for suffix, values in found.items()}


def _is_suffix(text: str) -> bool:
    return not text or (f"_{text}".replace(".", "_").isidentifier() and text.rpartition(".")[2] != "std")


def _check(name: str, values: np.ndarray, n: int) -> None:
    if values.shape != (n,) or values.dtype.kind not in "biuf":
        raise OptionError(
            f"{name} is an array of shape {values.shape}: a scorer returns one number for each of the {n} examples."
        )
    nan = np.isnan(values)
    if nan.any():
        raise OptionError(
            f"{name} is NaN for {int(nan.sum())} examples, the first in row {int(nan.argmax())}: a scorer returns a "
            "number for each."
        )


def _describe(request: Request, columns: Iterable[str], about: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name in columns:
        suffix = name[len(request.column) :].removeprefix(".")
        sign = 0 if name.endswith(".std") else request.spec.sign(suffix)
        described[name] = plain({**about, **({"hardness": sign} if sign else {})})
    return described


def rank_stability(runs: np.ndarray) -> dict[str, float]:
    """How far single seeds agree: means over all pairs of seeds.

    Args:
        runs: (seeds, n), the scores of each seed alone, higher = harder.

    Returns:
        "spearman": rank correlation in [-1, 1]; "overlap_10", "overlap_30": share of the top 10 % and 30 % of one seed
        that is also in the top of the other; ties are broken separately for each seed, so that runs that rank nothing
        agree only by chance. The correlation with a constant run is 0.
    """
    ranks = np.stack([average_ranks(run) for run in runs])
    pairs = list(combinations(range(len(runs)), 2))
    varies = np.ptp(ranks, axis=1) > 0
    agreement = [float(correlation(ranks[a], ranks[b])) if varies[a] and varies[b] else 0.0 for a, b in pairs]
    out = {"spearman": float(np.mean(agreement))}
    for percent in (10, 30):
        k = max(1, runs.shape[1] * percent // 100)
        tops = [set(smallest(-run, k, Keys(number, "stability", len(run))).tolist()) for number, run in enumerate(runs)]
        out[f"overlap_{percent}"] = float(np.mean([len(tops[a] & tops[b]) / k for a, b in pairs]))
    return {name: round(value, 6) for name, value in out.items()}
