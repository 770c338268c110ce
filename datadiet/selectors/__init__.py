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
from datadiet.selectors.craig import craig
from datadiet.selectors.d2 import d2, d2_explained
from datadiet.selectors.d4 import d4, d4_explained, default_dedup
from datadiet.selectors.dbp import dbp, dbp_budgets, dbp_explained
from datadiet.selectors.decontaminate import decontaminate, decontaminate_explained, leaks
from datadiet.selectors.exact_dedup import exact_dedup, exact_dedup_explained
from datadiet.selectors.explained import Explained
from datadiet.selectors.facility_location import facility_location, facility_location_explained
from datadiet.selectors.graph_cut import graph_cut
from datadiet.selectors.herding import herding
from datadiet.selectors.k_center import k_center, k_center_explained
from datadiet.selectors.minhash import minhash, minhash_explained
from datadiet.selectors.prototypes_topk import prototypes_topk, prototypes_topk_explained
from datadiet.selectors.semdedup import semdedup, semdedup_explained, semdedup_sweep
from datadiet.selectors.sensitivity import sensitivity
from datadiet.selectors.top_k import top_k
from datadiet.selectors.uniform import random

__all__ = [
    "SELECTORS",
    "Column",
    "Explained",
    "SelectorSpec",
    "band",
    "beta",
    "ccs",
    "class_quota",
    "craig",
    "d2",
    "d4",
    "dbp",
    "dbp_budgets",
    "decontaminate",
    "exact_dedup",
    "facility_location",
    "graph_cut",
    "herding",
    "k_center",
    "leaks",
    "minhash",
    "prototypes_topk",
    "random",
    "semdedup",
    "semdedup_sweep",
    "sensitivity",
    "top_k",
]


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
        nested: a smaller budget is a prefix of a larger one,
        nested_unless: but not with these values of parameters.
        explain: like `fn`, but returns an `Explained`; the reasons are kept with the selection.
        sized_by: whether it takes a budget, or a budget or a threshold: then `fn(first, None, …)` with one.
        thresholds: the parameters that are thresholds.
        vectors: parameters that are further vectors, such as those of reference data.
        own_classes: whether by_class gives it `labels`, instead of running it within each class.
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
    nested_unless: Mapping[str, Any] = field(default_factory=dict)
    explain: Callable[..., Explained] | None = None
    sized_by: Literal["k", "k or threshold"] = "k"
    thresholds: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    own_classes: bool = False
    witness_in: Literal["data", "reference"] = "data"
    reference: str = ""


_LED = {"hardness": Column(optional=True)}
_STOCHASTIC = {"optimizer": "stochastic"}

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
    "semdedup": SelectorSpec(
        semdedup,
        first="embeddings",
        needs=_LED,
        explain=semdedup_explained,
        sized_by="k or threshold",
        thresholds=("epsilon",),
        reference="Abbas et al. 2023",
    ),
    "exact_dedup": SelectorSpec(
        exact_dedup,
        first="texts",
        needs=_LED,
        nested=True,
        explain=exact_dedup_explained,
        sized_by="k or threshold",
        reference="hashing",
    ),
    "minhash": SelectorSpec(
        minhash,
        first="texts",
        needs=_LED,
        nested=True,
        explain=minhash_explained,
        sized_by="k or threshold",
        reference="Broder 1997",
    ),
    "decontaminate": SelectorSpec(
        decontaminate,
        first="embeddings",
        nested=True,
        explain=decontaminate_explained,
        sized_by="k or threshold",
        thresholds=("epsilon",),
        vectors=("reference",),
        witness_in="reference",
        reference="Abbas et al. 2023 (their rule)",
    ),
    "dbp": SelectorSpec(dbp, first="embeddings", needs=_LED, explain=dbp_explained, reference="Abbas et al. 2024"),
    "prototypes_topk": SelectorSpec(
        prototypes_topk, first="embeddings", explain=prototypes_topk_explained, reference="Sorscher et al. 2022"
    ),
    "d4": SelectorSpec(
        d4,
        first="embeddings",
        defaults={"dedup": default_dedup},
        explain=d4_explained,
        reference="Tirumala et al. 2023",
    ),
    "k_center": SelectorSpec(
        k_center, first="embeddings", nested=True, explain=k_center_explained, reference="Sener and Savarese 2018"
    ),
    "herding": SelectorSpec(herding, first="embeddings", nested=True, reference="Welling 2009"),
    "facility_location": SelectorSpec(
        facility_location,
        first="embeddings",
        nested=True,
        nested_unless=_STOCHASTIC,
        explain=facility_location_explained,
        reference="Mirzasoleiman et al. 2013",
    ),
    "graph_cut": SelectorSpec(
        graph_cut, first="embeddings", nested=True, nested_unless=_STOCHASTIC, reference="Iyer et al. 2021"
    ),
    "d2": SelectorSpec(
        d2,
        first="embeddings",
        needs={"hardness": Column()},
        nested=True,
        explain=d2_explained,
        reference="Maharana et al. 2024",
    ),
    "craig": SelectorSpec(craig, first="embeddings", own_classes=True, reference="Mirzasoleiman et al. 2020"),
    "sensitivity": SelectorSpec(sensitivity, first="embeddings", needs=_LED, reference="Axiotis et al. 2024"),
}
