"""Training: the recipe, the loop and its parts, and resuming. Modules that need torch are loaded on first use.

`OBJECTIVES` holds the record of each objective that has a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy
from datadiet.registry import specs_in
from datadiet.training.objective_spec import ObjectiveSpec as ObjectiveSpec
from datadiet.training.selective_backprop import SelectiveBackprop as SelectiveBackprop

if TYPE_CHECKING:
    from datadiet.training.clock import Clock
    from datadiet.training.loop import Trainer
    from datadiet.training.recipe import Recipe, lr_factor

__all__ = ["OBJECTIVES", "Clock", "ObjectiveSpec", "Recipe", "SelectiveBackprop", "Trainer", "lr_factor"]

__getattr__ = lazy(__name__, {"clock": ("Clock",), "loop": ("Trainer",), "recipe": ("Recipe", "lr_factor")})

OBJECTIVES = specs_in(__name__, ObjectiveSpec, globals())
