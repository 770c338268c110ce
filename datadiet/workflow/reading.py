"""Reading recorded signals in the form in which a scorer takes them. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datadiet.errors import MissingSignal, OptionError
from datadiet.scorers import Need
from datadiet.table import Signals
from datadiet.table.passes import PASSES, filed_as
from datadiet.workflow.requests import Request, epochs_at, epochs_there

__all__ = ["Reading", "facts_for", "read"]


@dataclass(frozen=True)
class Reading:
    """What a scorer reads.

    Attributes:
        arrays: one per need: (seeds, [epochs,] n), labels (n or m,), or vectors, per seed and epoch an array-like of
            shape (n or m, d) that may be on disk.
        of_seeds: for each whether its first axis is that of the seeds.
        seen: (seeds, [epochs,] n), where the examples were presented.
        by_network: whether seeds and epochs are one axis for the scorer, that of the networks.
        about: descriptions of the needs.
    """

    arrays: tuple[Any, ...]
    of_seeds: tuple[bool, ...]
    seen: np.ndarray
    by_network: bool
    about: tuple[dict[str, Any], ...]

    def of_seed(self, number: int) -> Reading:
        """The same of a single seed."""
        one = slice(number, number + 1)
        arrays = tuple(a[one] if sliced else a for a, sliced in zip(self.arrays, self.of_seeds, strict=True))
        return replace(self, arrays=arrays, seen=self.seen[one])

    def arguments(self, each: bool) -> list[list[Any]]:
        """The arguments of the scorer; with `each` those of one call per network."""
        if not self.by_network:
            return [list(self.arrays)]
        flat = [
            [one for seed in a for one in seed] if sliced else a
            for a, sliced in zip(self.arrays, self.of_seeds, strict=True)
        ]
        if not each:
            return [[np.stack(a) if sliced else a for a, sliced in zip(flat, self.of_seeds, strict=True)]]
        networks = next(len(a) for a, sliced in zip(flat, self.of_seeds, strict=True) if sliced)
        return [[a[i] if s else a for a, s in zip(flat, self.of_seeds, strict=True)] for i in range(networks)]


def read(signals: Signals, request: Request) -> dict[str, Reading]:
    """What a scorer reads; under further names the same of single layers, where they were asked for.

    Raises:
        MissingSignal: an epoch or a signal was not recorded.
        OptionError: labels that are not there, or no epoch to compare with.
    """
    whole = _reading(signals, request)
    layered = next((need for need in request.spec.needs if need.options.get("per_layer")), None)
    if layered is None:
        return {"": whole}
    epochs, _ = _epochs(signals, layered, request)
    names = signals.columns(_filed(signals, layered, epochs), epochs[0])
    layers = [name.partition("/")[2] for name in names if name.startswith(f"{layered.signal}/")]
    return {"": whole} | {layer: _reading(signals, request, f"/{layer}") for layer in layers}


def facts_for(signals: Signals, request: Request) -> dict[str, Any]:
    """Parameters that the run knows; learning rates only of the epochs that are read."""
    known = signals.meta.get("facts", {})
    found = {name: known[fact] for name, fact in request.spec.facts.items() if fact in known}
    if "lr" in found:
        epochs, _ = _epochs(signals, request.spec.needs[0], request)
        rates = dict(zip(epochs_there(known), known["lr"], strict=False))
        found["lr"] = [rates[epoch] for epoch in epochs]
    return found


def _reading(signals: Signals, request: Request, of_layer: str = "") -> Reading:
    needs = request.spec.needs
    over_time = "seen" in inspect.signature(request.spec.fn).parameters  # such a scorer takes (seeds, epochs, n)
    by_network = any(PASSES[need.pass_name].wide and need.signal != "labels" for need in needs)
    arrays, masks, about = [], [], []
    for need in needs:
        if need.signal == "labels":
            arrays.append(_labels(signals, need, request))
            continue
        epochs, single = _epochs(signals, need, request)
        values, seen = _values(signals, need, need.signal + of_layer, epochs)
        if not by_network and ((single and not over_time) or PASSES[need.pass_name].together):
            values, seen = values[:, 0], seen[:, 0]
        arrays.append(values)
        if need.of == "data":
            masks.append(seen if not by_network else seen.all(axis=1))
        described = {"signal": need.signal, "mode": need.pass_name, "epochs": [epochs[0], epochs[-1]]}
        if _compares(need):
            described |= {"of": need.of, "reference": _reference(signals)}
        about.append(described | dict(need.options))
    of_seeds = tuple(need.signal != "labels" for need in needs)
    return Reading(tuple(arrays), of_seeds, np.logical_and.reduce(masks), by_network, tuple(about))


def _epochs(signals: Signals, need: Need, request: Request) -> tuple[list[int], bool]:
    known = signals.meta.get("facts", {})
    epochs, single = epochs_at(need.at, known, request.scorer)
    needs = request.spec.needs  # arguments of one function have the same epochs
    first = max(PASSES[other.pass_name].begins.get(other.signal, 1) for other in needs)
    if epochs[0] < first:
        epochs = [epoch for epoch in epochs if epoch >= first]
        if not epochs:
            raise OptionError(f"{request.column} compares an epoch with the one before: record at least two epochs.")
    return epochs, single


def _compares(need: Need) -> bool:
    return PASSES[need.pass_name].against or need.of == "reference"


def _reference(signals: Signals) -> str:
    found = signals.meta.get("facts", {}).get("reference")
    if found is None:
        raise MissingSignal("this run has no reference data: run datadiet score with this scorer and --reference DATA.")
    return str(found)


def _filed(signals: Signals, need: Need, epochs: Sequence[int]) -> str:
    return filed_as(need.pass_name, epochs, _reference(signals) if _compares(need) else "", need.options)


def _values(signals: Signals, need: Need, signal: str, epochs: list[int]) -> tuple[Any, np.ndarray]:
    """(seeds, epochs, n), or vectors of each, and where they were recorded, (seeds, epochs, n or m)."""
    kind, mode = PASSES[need.pass_name], _filed(signals, need, epochs)
    at = epochs[-1:] if kind.together else epochs
    if not kind.wide:
        return signals.array(signal, mode, at)
    values = signals.vectors(mode, at)
    return values, np.ones((len(values), len(values[0]), len(values[0][0])), dtype=bool)


def _labels(signals: Signals, need: Need, request: Request) -> np.ndarray:
    labels = signals.labels if need.of == "data" else signals.reference_labels
    if labels is None:
        what = "labels" if need.of == "data" else "reference labels"
        raise OptionError(f"{request.column} reads {what}, and these signals have none: score labelled data.")
    return np.asarray(labels)
