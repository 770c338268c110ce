"""From recorded signals to a score table: means and spreads over seeds, and how far the seeds agree. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.files import plain
from datadiet.randomness import Keys
from datadiet.selectors.ordering import smallest
from datadiet.table import Scores, Signals
from datadiet.workflow.requests import Request, epochs_at, parameters

__all__ = ["compute_scores", "rank_stability"]


def compute_scores(signals: Signals, requests: Sequence[Request], onto: Scores) -> Scores:
    """Add the requested columns to a table.

    Each scorer is called once with all seeds, and, if there are several, once per seed for the `.std` column and the
    rank stability.

    Raises:
        MissingSignal: a signal or epoch was not recorded.
        OptionError: a column of that name exists with other parameters.
    """
    stability = dict(onto.meta.get("stability", {}))
    for request in requests:
        arrays, seen, needs = _read(signals, request)
        params = {**_facts(request, signals), **request.params}
        outputs = _call(request, arrays, seen, params)
        columns = {_name(request.column, suffix): values for suffix, values in outputs.items()}
        if len(signals.seeds) > 1:
            each = [
                _call(request, [a[s : s + 1] for a in arrays], seen[s : s + 1], params)
                for s in range(len(signals.seeds))
            ]
            for suffix, values in outputs.items():
                runs = np.stack([run[suffix] for run in each])
                if values.dtype != bool:
                    name = _name(request.column, suffix)
                    columns[f"{name}.std"] = _spread(runs)
                    stability[name] = rank_stability(_sign(request, suffix) * runs)
        onto = onto.with_columns(columns, _describe(request, columns, params, needs, signals.seeds))
    return Scores(
        onto.index,
        onto.columns,
        onto.ids,
        onto.labels,
        {**onto.meta, **({"stability": stability} if stability else {})},
    )


def _spread(runs: np.ndarray) -> np.ndarray:
    """The sample standard deviation over seeds; where a score is infinite, 0 if it always is, else infinite."""
    infinite = np.isinf(runs)
    finite = np.where(infinite, 0, runs).std(axis=0, ddof=1, dtype=np.float64)
    return np.where(infinite.all(axis=0), 0, np.where(infinite.any(axis=0), np.inf, finite)).astype(np.float32)


def _name(column: str, suffix: str) -> str:
    return f"{column}.{suffix}" if suffix else column


def _read(signals: Signals, request: Request) -> tuple[list[np.ndarray], np.ndarray, list[dict[str, Any]]]:
    known = signals.meta.get("facts", {})
    total, checkpoints = int(known.get("epochs", 0)), bool(known.get("checkpoints"))
    compared = any(need.signal == "shift" for need in request.spec.needs)
    over_time = "seen" in inspect.signature(request.spec.fn).parameters  # such a scorer takes (seeds, epochs, n)
    arrays, masks, needs = [], [], []
    for need in request.spec.needs:
        epochs, single = epochs_at(need.at, total, request.scorer, checkpoints)
        if compared and epochs[0] == 1:
            epochs = epochs[1:]  # there is no epoch before the first to compare it with
            if not epochs:
                raise OptionError(
                    f"{request.column} compares an epoch with the one before: record at least two epochs."
                )
        values, seen = signals.array(need.signal, need.mode, epochs)
        arrays.append(values[:, 0] if single and not over_time else values)
        masks.append(seen[:, 0] if single and not over_time else seen)
        needs.append({"signal": need.signal, "mode": need.mode, "epochs": [epochs[0], epochs[-1]]})
    return arrays, np.logical_and.reduce(masks), needs


def _facts(request: Request, signals: Signals) -> dict[str, Any]:
    known = signals.meta.get("facts", {})
    return {name: known[fact] for name, fact in request.spec.facts.items() if fact in known}


def _call(
    request: Request, arrays: list[np.ndarray], seen: np.ndarray, params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    masks: dict[str, Any] = {}
    if not seen.all():
        if "seen" not in inspect.signature(request.spec.fn).parameters:
            raise OptionError(
                f"{request.column} needs every example in every epoch, and some were not presented: train on all "
                "the data."
            )
        masks["seen"] = seen
    outputs = request.spec.fn(*arrays, **masks, **params)
    extras = {suffix: fn(*arrays, **masks) for suffix, fn in request.spec.extras.items()}
    found = {s: np.asarray(v) for s, v in ((outputs if isinstance(outputs, dict) else {"": outputs}) | extras).items()}
    for suffix, values in found.items():
        if values.shape != seen.shape[-1:] or values.dtype.kind not in "biuf":
            raise OptionError(
                f"{_name(request.column, suffix)} came out as an array of shape {values.shape}: a scorer "
                f"returns one number for each of the {seen.shape[-1]} examples."
            )
        nan = np.isnan(values)
        if nan.any():
            raise OptionError(
                f"{_name(request.column, suffix)} is NaN for {int(nan.sum())} examples, the first in row "
                f"{int(nan.argmax())}: a scorer returns a number for each."
            )
    return {suffix: v if v.dtype == bool else v.astype(np.float32) for suffix, v in found.items()}


def _describe(
    request: Request,
    columns: Mapping[str, Any],
    params: Mapping[str, Any],
    needs: list[dict[str, Any]],
    seeds: list[int],
) -> dict[str, Any]:
    shown = {**parameters(request.spec.fn, len(needs)), **params}
    described: dict[str, Any] = {}
    for name in columns:
        suffix = name[len(request.column) :].removeprefix(".")
        about: dict[str, Any] = {"scorer": request.scorer, "params": shown, "needs": needs, "seeds": seeds}
        if not name.endswith(".std"):
            about["hardness"] = _sign(request, suffix)
        described[name] = plain(about)
    return described


def _sign(request: Request, suffix: str) -> int:
    hardness = request.spec.hardness
    return hardness if isinstance(hardness, int) else hardness[suffix]


def rank_stability(runs: np.ndarray) -> dict[str, float]:
    """How far single seeds agree: means over all pairs of seeds.

    Args:
        runs: (seeds, n), the scores of each seed alone, higher = harder.

    Returns:
        "spearman": rank correlation in [-1, 1]; "overlap_10", "overlap_30": share of the top 10 % and 30 % of one seed
        that is also in the top of the other; ties are drawn for each seed alone, so that runs which rank nothing agree
        by chance only. The correlation with a constant run is 0.
    """
    ranks = np.stack([_average_ranks(run) for run in runs])
    pairs = list(combinations(range(len(runs)), 2))
    out = {"spearman": float(np.mean([_correlation(ranks[a], ranks[b]) for a, b in pairs]))}
    for percent in (10, 30):
        k = max(1, runs.shape[1] * percent // 100)
        tops = [set(smallest(-run, k, Keys(number, "stability", len(run))).tolist()) for number, run in enumerate(runs)]
        out[f"overlap_{percent}"] = float(np.mean([len(tops[a] & tops[b]) / k for a, b in pairs]))
    return {name: round(value, 6) for name, value in out.items()}


def _average_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else 0.0
