"""Selectors: from scores or vectors and a budget to the examples to keep.

Each selector is a plain function of numpy arrays, in a file of its own together with its `SPEC`. `SELECTORS` maps the
names that `dd.select` and `--method` accept to these records; an import line below adds a method to it.
"""

from __future__ import annotations

from typing import Any

from datadiet.registry import specs_in
from datadiet.selectors.band import band as band
from datadiet.selectors.beta import beta as beta
from datadiet.selectors.ccs import ccs as ccs
from datadiet.selectors.class_quota import class_quota as class_quota
from datadiet.selectors.craig import craig as craig
from datadiet.selectors.d2 import d2 as d2
from datadiet.selectors.d4 import d4 as d4
from datadiet.selectors.dbp import dbp as dbp
from datadiet.selectors.dbp import dbp_budgets as dbp_budgets
from datadiet.selectors.decontaminate import decontaminate as decontaminate
from datadiet.selectors.decontaminate import leaks as leaks
from datadiet.selectors.exact_dedup import exact_dedup as exact_dedup
from datadiet.selectors.explained import Explained as Explained
from datadiet.selectors.explained import explained as explained
from datadiet.selectors.facility_location import facility_location as facility_location
from datadiet.selectors.graph_cut import graph_cut as graph_cut
from datadiet.selectors.herding import herding as herding
from datadiet.selectors.k_center import k_center as k_center
from datadiet.selectors.minhash import minhash as minhash
from datadiet.selectors.paser import paser as paser
from datadiet.selectors.paser import paser_budgets as paser_budgets
from datadiet.selectors.prototypes_topk import prototypes_topk as prototypes_topk
from datadiet.selectors.semdedup import semdedup as semdedup
from datadiet.selectors.semdedup import semdedup_sweep as semdedup_sweep
from datadiet.selectors.sensitivity import sensitivity as sensitivity
from datadiet.selectors.spec import ByClass as ByClass
from datadiet.selectors.spec import Column as Column
from datadiet.selectors.spec import Concepts as Concepts
from datadiet.selectors.spec import Fact as Fact
from datadiet.selectors.spec import FromBudget as FromBudget
from datadiet.selectors.spec import FurtherVectors as FurtherVectors
from datadiet.selectors.spec import SelectorSpec as SelectorSpec
from datadiet.selectors.top_k import top_k as top_k
from datadiet.selectors.uniform import random as random

SELECTORS = specs_in(__name__, SelectorSpec, globals())


def __getattr__(name: str) -> Any:
    """`ccs_explained` and the like: the names of `ccs.explain` in version 0.1."""
    method = SELECTORS.get(name.removesuffix("_explained"))
    if method is None or method.explain is None or name == method.name:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from datadiet.deprecation import renamed

    renamed(f"datadiet.selectors.{name}", f"datadiet.selectors.{method.name}.explain")
    return method.explain
