"""Selectors: from scores and a budget to the examples to keep.

Each is a plain function of numpy arrays. `SELECTORS` is what the names of `dd.select` and `--method` mean. A function
whose first argument is called `n` or `labels` needs no scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from datadiet.selectors.band import band
from datadiet.selectors.beta import beta
from datadiet.selectors.ccs import ccs, ccs_explained, default_beta
from datadiet.selectors.class_quota import class_quota
from datadiet.selectors.explained import Explained
from datadiet.selectors.top_k import top_k
from datadiet.selectors.uniform import random

__all__ = ["SELECTORS", "Column", "Explained", "SelectorSpec", "band", "beta", "ccs", "class_quota", "random", "top_k"]


@dataclass(frozen=True)
class Column:
    """A further score column that a selector reads: as hardness, or as published.

    Without a name it is the score that is selected by; one that is optional is left out where none is named.
    """

    name: str = ""
    as_hardness: bool = True
    optional: bool = False


@dataclass(frozen=True)
class SelectorSpec:
    """What the workflow must know to call a selector.

    Attributes:
        fn: `fn(first, k, *, keys, …) -> positions`.
        first: what the first argument is: "hardness" (the score column), "embeddings" (a `geometry.Matrix`), "texts",
            "n" or "labels".
        score: the score column used when none is named and the file has it.
        needs: parameter -> further column.
        facts: parameter -> what a run's manifest knows, used when the parameter is not given.
        defaults: parameter -> function of (k, n), for defaults that depend on the budget.
        nested: a smaller budget is a prefix of a larger one.
        explain: like `fn`, but returns an `Explained`; the reasons are kept with the selection.
        sized_by: whether it takes a budget, or a budget or a threshold: then `fn(first, None, …)` with one.
        thresholds: the parameters that are thresholds.
        vectors: parameters that are further vectors, such as those of reference data.
        witness_in: what the witnesses of the method number: rows of the data, or of the reference.
        reference: where the method comes from.
    """

    fn: Callable[..., Any]
    first: Literal["hardness", "embeddings", "texts", "n", "labels"] = "hardness"
    score: str | None = None
    needs: Mapping[str, Column] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Callable[[int, int], Any]] = field(default_factory=dict)
    nested: bool = False
    explain: Callable[..., Explained] | None = None
    sized_by: Literal["k", "k or threshold"] = "k"
    thresholds: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    witness_in: Literal["data", "reference"] = "data"
    reference: str = ""


SELECTORS: dict[str, SelectorSpec] = {
    "random": SelectorSpec(random, first="n", nested=True, reference="baseline"),
    "top_k": SelectorSpec(top_k, nested=True, reference="Paul et al. 2021; Toneva et al. 2019"),
    "band": SelectorSpec(band, reference="Paul et al. 2021; Xia et al. 2023"),
    "ccs": SelectorSpec(
        ccs,
        score="aum",
        needs={"cutoff_scores": Column("aum")},
        defaults={"beta": default_beta},
        explain=ccs_explained,
        reference="Zheng et al. 2023",
    ),
    "beta": SelectorSpec(
        beta, score="dual", needs={"p_mean": Column("dual.p_mean", as_hardness=False)}, reference="Cho et al. 2025"
    ),
    "class_quota": SelectorSpec(
        class_quota, first="labels", facts={"recall": "class_recall"}, reference="Vysogorets et al. 2025"
    ),
}
