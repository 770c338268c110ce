"""Loading recorded signals in the form that a scorer takes. No torch."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.table import Signals
from datadiet.workflow.scoring.needs import Input, epochs_there
from datadiet.workflow.scoring.requests import Request

__all__ = ["ScorerInputs", "facts_for", "load_inputs"]


@dataclass(frozen=True)
class ScorerInputs:
    """What a scorer reads.

    Attributes:
        arrays: one per need: (seeds, [epochs,] n), labels (n or m,), or vectors, per seed and epoch an array-like of
            shape (n or m, d) that may be on disk.
        of_seeds: for each array, whether its first axis is that of the seeds.
        seen: (seeds, [epochs,] n), whether the examples were presented.
        by_network: whether seeds and epochs are one axis for the scorer, that of the networks.
        about: descriptions of the needs.
    """

    arrays: tuple[Any, ...]
    of_seeds: tuple[bool, ...]
    seen: np.ndarray
    by_network: bool
    about: tuple[dict[str, Any], ...]

    def of_seed(self, number: int) -> ScorerInputs:
        """The same for a single seed."""
        one = slice(number, number + 1)
        arrays = tuple(a[one] if sliced else a for a, sliced in zip(self.arrays, self.of_seeds, strict=True))
        return replace(self, arrays=arrays, seen=self.seen[one])

    def arguments(self, each: bool) -> list[list[Any]]:
        """The arguments of the scorer; with `each`, of one call per network."""
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


def load_inputs(signals: Signals, request: Request) -> dict[str, ScorerInputs]:
    """What a scorer reads, under ""; if single layers were requested, the same for each, under its name.

    Args:
        signals: of the run.
        request: resolved.

    Raises:
        MissingSignal: an epoch or a signal was not recorded.
        OptionError: missing labels.
    """
    whole = {"": _load(signals, request)}
    layered = next((one for one in request.inputs if one.need.options.get("per_layer")), None)
    if layered is None:
        return whole
    names = signals.columns(layered.part, layered.epochs[0])
    layers = [name.partition("/")[2] for name in names if name.startswith(f"{layered.need.signal}/")]
    return whole | {layer: _load(signals, request, f"/{layer}") for layer in layers}


def facts_for(signals: Signals, request: Request) -> dict[str, Any]:
    """Parameters that the run knows; learning rates only for the epochs that are read."""
    known = signals.meta.get("facts", {})
    found = {name: known[fact] for name, fact in request.spec.facts.items() if fact in known}
    if "lr" in found:
        rates = dict(zip(epochs_there(known), known["lr"], strict=False))
        found["lr"] = [rates[epoch] for epoch in request.inputs[0].epochs]
    return found


def _load(signals: Signals, request: Request, layer: str = "") -> ScorerInputs:
    measured = [one for one in request.inputs if not one.is_labels]
    over_time = "seen" in inspect.signature(request.spec.fn).parameters  # such a scorer takes (seeds, epochs, n)
    by_network = any(one.kind.vectors for one in measured)
    arrays, masks = [], []
    for one in request.inputs:
        if one.is_labels:
            arrays.append(_labels(signals, one, request))
            continue
        values, seen = _values(signals, one, layer)
        if not by_network and ((one.single and not over_time) or one.kind.together):
            values, seen = values[:, 0], seen[:, 0]
        arrays.append(values)
        if one.need.of == "data":
            masks.append(seen if not by_network else seen.all(axis=1))
    about = tuple(one.described(signals.meta.get("facts", {})) for one in measured)
    of_seeds = tuple(not one.is_labels for one in request.inputs)
    return ScorerInputs(tuple(arrays), of_seeds, np.logical_and.reduce(masks), by_network, about)


def _values(signals: Signals, one: Input, layer: str) -> tuple[Any, np.ndarray]:
    """(seeds, epochs, n), or vectors of each, and where they were recorded, (seeds, epochs, n or m)."""
    at = one.epochs[-1:] if one.kind.together else one.epochs
    if not one.kind.vectors:
        return signals.array(one.need.signal + layer, one.part, at)
    values = signals.vectors(one.part, at)
    return values, np.ones((len(values), len(values[0]), len(values[0][0])), dtype=bool)


def _labels(signals: Signals, one: Input, request: Request) -> np.ndarray:
    labels = signals.labels if one.need.of == "data" else signals.reference_labels
    if labels is None:
        what = "labels" if one.need.of == "data" else "reference labels"
        raise OptionError(f"{request.column} reads {what}, but these signals have none: score labelled data.")
    return np.asarray(labels)
