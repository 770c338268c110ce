"""Sparse networks: which weights to prune, how many of each layer, and when during training.

`PRUNING` holds the record of each method under its name. Modules that need torch are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy
from datadiet.registry import specs_in
from datadiet.sparsity.global_magnitude import global_magnitude as global_magnitude
from datadiet.sparsity.layer_magnitude import layer_magnitude as layer_magnitude
from datadiet.sparsity.n_m import n_m as n_m
from datadiet.sparsity.pace import Pace as Pace
from datadiet.sparsity.random_weights import random_weights as random_weights
from datadiet.sparsity.spec import PruningSpec as PruningSpec

if TYPE_CHECKING:
    from datadiet.sparsity.masks import Masks
    from datadiet.sparsity.one_shot import sparsify

__all__ = ["PRUNING", "Masks", "Pace", "PruningSpec", "sparsify"]

__getattr__ = lazy(__name__, {"masks": ("Masks",), "one_shot": ("sparsify",)})

PRUNING = specs_in(__name__, PruningSpec, globals())
