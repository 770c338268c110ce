"""Training: the recipe, the loop and its parts, and resuming. Modules that need torch are loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.training.clock import Clock
    from datadiet.training.loop import Trainer
    from datadiet.training.recipe import Recipe, lr_factor

__all__ = ["Clock", "Recipe", "Trainer", "lr_factor"]

__getattr__ = lazy(__name__, {"clock": ("Clock",), "loop": ("Trainer",), "recipe": ("Recipe", "lr_factor")})
